//! The discriminator phase (spec A.6): the generators run once for all four updates (identity 1).

use super::{
    buffers::SideBuffers,
    layers::{self, Upstream, backward, linear, normed, run},
    losses,
    nets::{BOTH, Nets},
    step::{FastForm, Ready, Stepping},
    updates::{self, of_products},
};
use crate::{
    methods::cm_gans::{
        form::{Batch, Modality, Watcher},
        settings::MismatchConcat,
    },
    nn::{
        gemm::{Mat, SimdLevel},
        real::Real,
        vector::{add_scaled, at_level, dot, sum_of},
    },
};

/// Columns of a matrix that one piece sums over all rows.
const COLUMNS: usize = 512;
/// Rows of a matrix that one piece multiplies by a vector.
const ROWS: usize = 32;
/// Weights of the groups' losses: real, other, mismatched (spec A.6).
const WEIGHTS: [f64; 3] = [1.0, 0.5, 0.5];

/// The intra discriminator's logits of the reconstructions, w'r + b = (W2 w)'d + (w'b2 + b).
pub(super) fn logits_of_reconstructions<T: Real>(
    level: SimdLevel,
    nets: &Nets<T>,
    b: &SideBuffers<T>,
    side: usize,
    logits: &mut [T],
) {
    let (judge, bias) = (&nets.intra[side], &nets.sides[side].dec2.bias.value);
    at_level!(level, {
        let shift = dot(&judge.weight.value, bias) + judge.bias.value[0];
        layers::logits(&b.seen_by_judge, &b.dec1.out, shift, logits);
    });
}

impl<T: Real> FastForm<T> {
    /// Turns the batch's originals feature by feature.
    pub(super) fn take_batch(&mut self, batch: &Batch<T>) {
        let sizes = self.nets.sizes;
        let [image, text] = &mut self.buffers.sides;
        let pieces = layers::transpose(&batch.h_i, sizes.image, &mut image.h).chain(layers::transpose(
            &batch.h_t,
            sizes.text,
            &mut text.h,
        ));
        let mismatched = self.nets.settings.adversarial.then(|| {
            layers::transpose(&batch.mismatched_h_i, sizes.image, &mut image.mismatched_h).chain(layers::transpose(
                &batch.mismatched_h_t,
                sizes.text,
                &mut text.mismatched_h,
            ))
        });
        run(&mut self.crew, pieces.chain(mismatched.into_iter().flatten()));
    }

    /// One step each of D_T, D_I, D_CT, D_CI; tells what is left of the generators' forward passes.
    pub(super) fn discriminator_phase(&mut self, rate: f64, watcher: &mut dyn Watcher<T>) -> [Ready; 2] {
        self.run_generators();
        let judges = self.nets.settings.judges_reconstructions();
        let order = [Modality::Text, Modality::Image];
        for side in 0..2 {
            self.move_running_of_discriminator_phase(side);
        }
        for modality in order.into_iter().filter(|_| judges) {
            self.intra_step(modality, rate, watcher);
        }
        for modality in order {
            self.inter_step(modality, rate, watcher);
        }
        self.make_brackets();
        [Ready { enc1: true, enc2: true, dec1: judges }; 2]
    }

    fn run_generators(&mut self) {
        let (n, hidden) = (self.n(), self.nets.sizes.hidden);
        let nets = &self.nets;
        for (side, b) in self.buffers.sides.iter_mut().enumerate() {
            let own = &nets.sides[side];
            let dims = nets.sizes.original(BOTH[side]);
            let weight = own.enc1.weight.matrix();
            let matched = normed(&own.enc1, weight, Mat::new(&b.h, dims, n), None, &mut b.enc1);
            let h = Mat::new(&b.mismatched_h, dims, n);
            run(&mut self.crew, matched.chain(normed(&own.enc1, weight, h, None, &mut b.mismatched_enc1)));
            let enc2 = &nets.enc2[nets.enc2_of(side)];
            let weight = enc2.weight.matrix();
            let matched = normed(enc2, weight, Mat::new(&b.enc1.out, hidden, n), None, &mut b.enc2);
            let first = Mat::new(&b.mismatched_enc1.out, hidden, n);
            run(&mut self.crew, matched.chain(normed(enc2, weight, first, None, &mut b.mismatched_enc2)));
            if nets.settings.judges_reconstructions() {
                let code = Mat::new(&b.enc2.out, hidden, n);
                run(&mut self.crew, normed(&own.dec1, own.dec1.weight.matrix(), code, None, &mut b.dec1));
            }
        }
    }

    /// Makes W2 w anew, after the discriminator's step (identity 3).
    pub(super) fn see_reconstructions(&mut self, side: usize) {
        let level = self.crew.level;
        let judge = &self.nets.intra[side].weight.value;
        let weight = &self.nets.sides[side].dec2.weight.value;
        let seen = self.buffers.sides[side].seen_by_judge.chunks_mut(ROWS);
        self.crew.workers.for_each(seen.zip(weight.chunks(ROWS * judge.len())), |(seen, rows), _| {
            at_level!(level, {
                for (seen, row) in seen.iter_mut().zip(rows.chunks_exact(judge.len())) {
                    *seen = dot(row, judge);
                }
            });
        });
    }

    /// One step of D_I or D_T. Its gradient is W2'(sum_n g_n d_n) + b2 sum_n g_n for the
    /// reconstructions, which are never made, and h'g for the originals.
    fn intra_step(&mut self, modality: Modality, rate: f64, watcher: &mut dyn Watcher<T>) {
        let side = modality as usize;
        let stepping = self.begin_step(modality.intra_judge(), rate, watcher);
        let level = self.crew.level;
        let small = &mut self.buffers.small;
        logits_of_reconstructions(level, &self.nets, &self.buffers.sides[side], side, &mut small.logits);
        let fake = losses::fake(&small.logits, 1.0, &mut small.of[0]);
        watcher.mean_logit(stepping.player, "reconstruction", losses::mean(&small.logits));
        let (b, judge) = (&self.buffers.sides[side], &mut self.nets.intra[side]);
        at_level!(level, layers::logits(&judge.weight.value, &b.h, judge.bias.value[0], &mut small.logits));
        let real = losses::real(&small.logits, 1.0, &mut small.of[1]);
        watcher.mean_logit(stepping.player, "real", losses::mean(&small.logits));

        let [of_fake, of_real, _] = &small.of;
        let n = of_fake.len();
        let sums = &mut small.hidden;
        at_level!(level, {
            for (sum, d) in sums.iter_mut().zip(b.dec1.out.chunks_exact(n)) {
                *sum = dot(d, of_fake);
            }
        });
        let (total_fake, total_real) = (sum_of(of_fake, |g| g), sum_of(of_real, |g| g));
        let dec2 = &self.nets.sides[side].dec2;
        let dims = dec2.bias.value.len();
        let gradient = &mut self.buffers.wide[..dims];
        self.crew.workers.for_each(gradient.chunks_mut(COLUMNS).enumerate(), |(index, part), _| {
            let columns = index * COLUMNS..index * COLUMNS + part.len();
            at_level!(level, {
                let h = b.h[columns.start * n..columns.end * n].chunks_exact(n);
                for ((g, h), &bias) in part.iter_mut().zip(h).zip(&dec2.bias.value[columns.clone()]) {
                    *g = dot(h, of_real) + bias * total_fake;
                }
                for (&sum, row) in sums.iter().zip(dec2.weight.value.chunks_exact(dims)) {
                    add_scaled(part, sum, &row[columns.clone()]);
                }
            });
        });
        judge.weight.step(stepping.player, stepping.watched).apply(level, stepping.adam, gradient);
        let of_bias = [total_fake + total_real];
        judge.bias.step(stepping.player, stepping.watched).apply(level, stepping.adam, &of_bias);
        self.see_reconstructions(side);
        self.report(stepping.player, &[("reconstruction", fake), ("original", real)], watcher);
    }

    /// One step of D_CI or D_CT.
    fn inter_step(&mut self, modality: Modality, rate: f64, watcher: &mut dyn Watcher<T>) {
        let side = modality as usize;
        let stepping = self.begin_step(modality.inter_judge(), rate, watcher);
        self.judge_groups(side);
        let [real, other, mismatched] = self.lose_groups(side, stepping, watcher);
        self.back_through_groups(side);
        self.step_inter_matrices(side, stepping);
        self.step_inter_vectors(side, stepping);
        let terms = [("other", other), ("real", real), ("mismatched", mismatched)];
        self.report(stepping.player, &terms, watcher);
    }

    /// Whether the mismatched code is joined with an original of its own.
    fn own_original(&self) -> bool {
        self.nets.settings.mismatch_concat == MismatchConcat::Own
    }

    /// The hidden layer on the three groups; W_h h is shared by those on one original (identity 2).
    fn judge_groups(&mut self, side: usize) {
        let (n, hidden, own_original) = (self.n(), self.nets.sizes.hidden, self.own_original());
        let layer = &self.nets.inter[side].hidden;
        let (b, inter) = (&self.buffers.sides, &mut self.buffers.inter[side]);
        let dims = self.nets.sizes.original(BOTH[side]);
        let weight = layer.weight.matrix();
        let (of_code, of_original) = (weight.row_range(0..hidden), weight.row_range(hidden..hidden + dims));
        let matched = linear(of_original, Mat::new(&b[side].h, dims, n), None, &mut inter.matched);
        let mismatched = own_original
            .then(|| linear(of_original, Mat::new(&b[side].mismatched_h, dims, n), None, &mut inter.mismatched));
        run(&mut self.crew, matched.chain(mismatched.into_iter().flatten()));
        let third = if own_original { &inter.mismatched } else { &inter.matched };
        let codes = [&b[side].enc2.out, &b[1 - side].enc2.out, &b[side].mismatched_enc2.out];
        let bases = [&inter.matched, &inter.matched, third];
        let groups = inter.groups.iter_mut().zip(codes).zip(bases);
        run(
            &mut self.crew,
            groups
                .flat_map(|((group, code), base)| normed(layer, of_code, Mat::new(code, hidden, n), Some(base), group)),
        );
    }

    /// Losses of real, other, mismatched.
    fn lose_groups(&mut self, side: usize, stepping: Stepping<T>, watcher: &mut dyn Watcher<T>) -> [f64; 3] {
        let out = &self.nets.inter[side].out;
        let small = &mut self.buffers.small;
        let mut terms = [0.0; 3];
        for (index, name) in [(1, "paired"), (0, "real"), (2, "mismatched")] {
            let judged = &self.buffers.inter[side].groups[index].out;
            at_level!(self.crew.level, {
                layers::logits(&out.weight.value, judged, out.bias.value[0], &mut small.logits);
            });
            let loss = if index == 0 { losses::real::<T> } else { losses::fake::<T> };
            terms[index] = loss(&small.logits, WEIGHTS[index], &mut small.of[index]);
            watcher.mean_logit(stepping.player, name, losses::mean(&small.logits));
        }
        terms
    }

    fn back_through_groups(&mut self, side: usize) {
        let (n, own_original) = (self.n(), self.own_original());
        let judge = &self.nets.inter[side];
        let inter = &mut self.buffers.inter[side];
        let groups = inter.groups.iter().zip(&mut inter.of_groups).zip(&self.buffers.small.of);
        let pieces = groups.flat_map(|((group, gradient), of_logits)| {
            backward(&judge.hidden, Upstream::Outer(&judge.out.weight.value, of_logits), group, gradient)
        });
        run(&mut self.crew, pieces);
        run(&mut self.crew, inter.of_groups.iter_mut().flat_map(|gradient| gradient.transpose(n)));
        let [real, other, mismatched] = &inter.of_groups;
        inter.shared_t.copy_from_slice(&real.linear_t);
        at_level!(self.crew.level, {
            add_scaled(&mut inter.shared_t, T::one(), &other.linear_t);
            if !own_original {
                add_scaled(&mut inter.shared_t, T::one(), &mismatched.linear_t);
            }
        });
    }

    fn step_inter_matrices(&mut self, side: usize, stepping: Stepping<T>) {
        let (n, sizes, own_original) = (self.n(), self.nets.sizes, self.own_original());
        let dims = sizes.original(BOTH[side]);
        let (b, inter) = (&self.buffers.sides, &self.buffers.inter[side]);
        let [real, other, mismatched] = &inter.of_groups;
        let by = |x, inputs, g| (Mat::new(x, inputs, n), Mat::new(g, n, sizes.inter_hidden));
        let of_codes = [
            Some(by(&b[side].enc2.out, sizes.hidden, &real.linear_t)),
            Some(by(&b[1 - side].enc2.out, sizes.hidden, &other.linear_t)),
            Some(by(&b[side].mismatched_enc2.out, sizes.hidden, &mismatched.linear_t)),
        ];
        let of_originals = [
            Some(by(&b[side].h, dims, &inter.shared_t)),
            own_original.then(|| by(&b[side].mismatched_h, dims, &mismatched.linear_t)),
        ];
        let weight = &mut self.nets.inter[side].hidden.weight;
        let [codes, originals] = weight.step(stepping.player, stepping.watched).split(sizes.hidden);
        let pieces = of_products(codes, &of_codes).chain(of_products(originals, &of_originals));
        updates::run(&mut self.crew, stepping.adam, pieces);
    }

    fn step_inter_vectors(&mut self, side: usize, stepping: Stepping<T>) {
        let (n, level) = (self.n(), self.crew.level);
        let judge = &mut self.nets.inter[side];
        let inter = &mut self.buffers.inter[side];
        let of_logits = &self.buffers.small.of;
        let gradient = &mut self.buffers.wide[..judge.out.weight.value.len()];
        at_level!(level, {
            for (row, g) in gradient.iter_mut().enumerate() {
                *g = T::zero();
                for (group, of) in inter.groups.iter().zip(of_logits) {
                    *g += dot(&group.out[row * n..(row + 1) * n], of);
                }
            }
        });
        judge.out.weight.step(stepping.player, stepping.watched).apply(level, stepping.adam, gradient);
        let total: T = of_logits.iter().map(|of| sum_of(of, |g| g)).sum();
        judge.out.bias.step(stepping.player, stepping.watched).apply(level, stepping.adam, &[total]);
        let [real, rest @ ..] = &mut inter.of_groups;
        for group in rest {
            add_scaled(&mut real.gamma, T::one(), &group.gamma);
            add_scaled(&mut real.beta, T::one(), &group.beta);
        }
        judge.hidden.step_norm(level, stepping, real);
    }

    /// W_h h of the present discriminators, for the generator steps to come (identity 2).
    fn make_brackets(&mut self) {
        let (n, hidden) = (self.n(), self.nets.sizes.hidden);
        let [image, text] = &mut self.buffers.sides;
        let pathways = [(&image.h, &mut text.bracket), (&text.h, &mut image.bracket)];
        let nets = &self.nets;
        let pieces = pathways.into_iter().enumerate().flat_map(|(side, (h, bracket))| {
            let dims = nets.sizes.original(BOTH[side]);
            let of_original = nets.inter[side].hidden.weight.matrix().row_range(hidden..hidden + dims);
            linear(of_original, Mat::new(h, dims, n), None, bracket)
        });
        run(&mut self.crew, pieces);
    }
}
