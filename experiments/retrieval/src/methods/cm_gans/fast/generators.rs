//! One step of G_I or G_T (spec A.7; B.2 without discriminators).

use super::{
    discriminators::logits_of_reconstructions,
    layers::{self, Upstream, backward, linear, normed, run},
    losses,
    nets::BOTH,
    step::{FastForm, Ready, Stepping},
    updates::{self, Judged, of_judged, of_products},
};
use crate::{
    methods::cm_gans::{
        form::{Modality, Watcher},
        settings::ReconstructionNorm,
    },
    nn::{
        gemm::Mat,
        real::Real,
        vector::{add_scaled, at_level, set_scaled, sum_of},
    },
};

impl<T: Real> FastForm<T> {
    /// Forward, losses, backward, and the step. What is `ready` is not run again.
    pub(super) fn generator_step(
        &mut self,
        modality: Modality,
        ready: Ready,
        labels: &[u32],
        rate: f64,
        watcher: &mut dyn Watcher<T>,
    ) {
        let side = modality as usize;
        let stepping = self.begin_step(modality.generator(), rate, watcher);
        self.encode(side, ready);
        self.decode_and_judge(side, ready);
        self.move_running_of_generator_step(side);
        let (terms, count) = self.losses(side, labels);
        self.back_to_codes(side);
        self.back_to_inputs(side);
        self.step_matrices(side, stepping);
        self.step_vectors(side, stepping);
        self.report(stepping.player, &terms[..count], watcher);
    }

    fn encode(&mut self, side: usize, ready: Ready) {
        let n = self.n();
        let (own, enc2) = (&self.nets.sides[side], &self.nets.enc2[self.nets.enc2_of(side)]);
        let b = &mut self.buffers.sides[side];
        let dims = self.nets.sizes.original(BOTH[side]);
        if !ready.enc1 {
            let h = Mat::new(&b.h, dims, n);
            run(&mut self.crew, normed(&own.enc1, own.enc1.weight.matrix(), h, None, &mut b.enc1));
        }
        if !ready.enc2 {
            let first = Mat::new(&b.enc1.out, self.nets.sizes.hidden, n);
            run(&mut self.crew, normed(enc2, enc2.weight.matrix(), first, None, &mut b.enc2));
        }
    }

    /// Decoder, inter discriminator and head on the code.
    fn decode_and_judge(&mut self, side: usize, ready: Ready) {
        let (n, hidden) = (self.n(), self.nets.sizes.hidden);
        let nets = &self.nets;
        let own = &nets.sides[side];
        let b = &mut self.buffers.sides[side];
        let code = Mat::new(&b.enc2.out, hidden, n);
        let decoded = (nets.settings.decodes() && !ready.dec1)
            .then(|| normed(&own.dec1, own.dec1.weight.matrix(), code, None, &mut b.dec1));
        let judged = nets.inter.get(1 - side).map(|judge| {
            let of_code = judge.hidden.weight.matrix().row_range(0..hidden);
            normed(&judge.hidden, of_code, code, Some(&b.bracket), &mut b.judge)
        });
        let scored = nets.settings.semantic_constraint.then(|| {
            let head = &nets.heads[nets.head_of(side)];
            linear(head.weight.matrix(), code, Some(&head.bias.value), &mut b.scores)
        });
        let pieces = decoded.into_iter().flatten().chain(judged.into_iter().flatten());
        run(&mut self.crew, pieces.chain(scored.into_iter().flatten()));
        if let Some(explicit) = &mut b.reconstruction {
            let d = Mat::new(&b.dec1.out, hidden, n);
            run(&mut self.crew, linear(own.dec2.weight.matrix(), d, Some(&own.dec2.bias.value), &mut explicit.r));
        }
    }

    /// The terms of the loss; gradients of the logits are left in `small.of` (inter, intra) and in
    /// `scores`, that of an explicit reconstruction in its place.
    fn losses(&mut self, side: usize, labels: &[u32]) -> ([(&'static str, f64); 4], usize) {
        let mut terms = [("", 0.0); 4];
        let mut count = 0;
        let mut term = |name, value| {
            terms[count] = (name, value);
            count += 1;
        };
        let level = self.crew.level;
        let settings = &self.nets.settings;
        if let Some(judge) = self.nets.inter.get(1 - side) {
            let small = &mut self.buffers.small;
            let judged = &self.buffers.sides[side].judge.out;
            at_level!(level, {
                layers::logits(&judge.out.weight.value, judged, judge.out.bias.value[0], &mut small.logits);
            });
            term("inter", losses::real(&small.logits, 1.0, &mut small.of[0]));
        }
        if settings.judges_reconstructions() {
            let small = &mut self.buffers.small;
            logits_of_reconstructions(level, &self.nets, &self.buffers.sides[side], side, &mut small.logits);
            term("intra", losses::real(&small.logits, 1.0, &mut small.of[1]));
        }
        let b = &mut self.buffers.sides[side];
        if let Some(explicit) = &mut b.reconstruction {
            let squares = settings.reconstruction_norm == ReconstructionNorm::L2;
            let weight = settings.reconstruction_weight();
            let error =
                at_level!(level, losses::reconstruction(squares, weight, &explicit.r, &b.h, &mut explicit.gradient));
            if let Some(judge) = self.nets.intra.get(side) {
                let (n, of_logits) = (settings.batch_size, &self.buffers.small.of[1]);
                at_level!(level, {
                    for (row, &w) in explicit.gradient.chunks_exact_mut(n).zip(&judge.weight.value) {
                        add_scaled(row, w, of_logits);
                    }
                });
            }
            term("reconstruction", error);
        }
        if settings.semantic_constraint {
            term("class", losses::class(&mut b.scores, labels));
        }
        (terms, count)
    }

    /// Back through decoder and inter discriminator.
    fn back_to_codes(&mut self, side: usize) {
        let n = self.n();
        let nets = &self.nets;
        let own = &nets.sides[side];
        let b = &mut self.buffers.sides[side];
        let small = &self.buffers.small;
        let of_explicit = b.reconstruction.as_ref().map(|explicit| {
            let of_r = Mat::new(&explicit.gradient, explicit.gradient.len() / n, n);
            [Some((own.dec2.weight.matrix(), of_r))]
        });
        let decoded = nets.settings.decodes().then(|| {
            let upstream = match &of_explicit {
                Some(products) => Upstream::Products(products),
                None => Upstream::Outer(&b.seen_by_judge, &small.of[1]),
            };
            backward(&own.dec1, upstream, &b.dec1, &mut b.of_dec1)
        });
        let judged = nets.inter.get(1 - side).map(|judge| {
            let upstream = Upstream::Outer(&judge.out.weight.value, &small.of[0]);
            backward(&judge.hidden, upstream, &b.judge, &mut b.of_judge)
        });
        run(&mut self.crew, decoded.into_iter().flatten().chain(judged.into_iter().flatten()));
    }

    /// Back through the encoder, and the transposes that the weights' gradients want.
    fn back_to_inputs(&mut self, side: usize) {
        let (n, sizes) = (self.n(), self.nets.sizes);
        let nets = &self.nets;
        let (own, enc2) = (&nets.sides[side], &nets.enc2[nets.enc2_of(side)]);
        let b = &mut self.buffers.sides[side];
        let (decodes, classifies) = (nets.settings.decodes(), nets.settings.semantic_constraint);
        let of_code = [
            nets.inter.get(1 - side).map(|judge| {
                let of_code = judge.hidden.weight.matrix().row_range(0..sizes.hidden);
                (of_code, Mat::new(&b.of_judge.linear, sizes.inter_hidden, n))
            }),
            decodes.then(|| (own.dec1.weight.matrix(), Mat::new(&b.of_dec1.linear, sizes.hidden, n))),
            classifies.then(|| (nets.heads[nets.head_of(side)].weight.matrix(), Mat::new(&b.scores, sizes.classes, n))),
        ];
        run(&mut self.crew, backward(enc2, Upstream::Products(&of_code), &b.enc2, &mut b.of_enc2));
        let of_first = [Some((enc2.weight.matrix(), Mat::new(&b.of_enc2.linear, sizes.hidden, n)))];
        run(&mut self.crew, backward(&own.enc1, Upstream::Products(&of_first), &b.enc1, &mut b.of_enc1));
        let explicit = b.reconstruction.as_mut();
        let pieces = b.of_enc1.transpose(n).chain(b.of_enc2.transpose(n));
        let pieces = pieces.chain(decodes.then(|| b.of_dec1.transpose(n)).into_iter().flatten());
        let pieces = pieces.chain(layers::transpose(&b.scores, n, &mut b.scores_t));
        let pieces =
            pieces.chain(explicit.into_iter().flat_map(|e| layers::transpose(&e.gradient, n, &mut e.gradient_t)));
        run(&mut self.crew, pieces);
    }

    fn step_matrices(&mut self, side: usize, stepping: Stepping<T>) {
        let (n, sizes) = (self.n(), self.nets.sizes);
        let dims = sizes.original(BOTH[side]);
        let (enc2, head) = (self.nets.enc2_of(side), self.nets.head_of(side));
        let nets = &mut self.nets;
        let (own, b) = (&mut nets.sides[side], &mut self.buffers.sides[side]);
        let Stepping { player, adam, watched } = stepping;
        let by = |x, inputs, g, outputs| [Some((Mat::new(x, inputs, n), Mat::new(g, n, outputs)))];
        let (code, hidden) = (&b.enc2.out, sizes.hidden);
        let of_enc1 = by(&b.h, dims, &b.of_enc1.linear_t, hidden);
        let of_enc2 = by(&b.enc1.out, hidden, &b.of_enc2.linear_t, hidden);
        let of_dec1 = by(code, hidden, &b.of_dec1.linear_t, hidden);
        let of_head = by(code, hidden, &b.scores_t, sizes.classes);
        let of_dec2 = b.reconstruction.as_ref().map(|explicit| by(&b.dec1.out, hidden, &explicit.gradient_t, dims));

        let encoder = of_products(own.enc1.weight.step(player, watched), &of_enc1)
            .chain(of_products(nets.enc2[enc2].weight.step(player, watched), &of_enc2));
        let dec1 = own.dec1.weight.step_if_owned(player, watched).map(|rows| of_products(rows, &of_dec1));
        let head = nets.heads[head].weight.step_if_owned(player, watched).map(|rows| of_products(rows, &of_head));
        let (mut explicit, mut judged) = (None, None);
        if let Some(rows) = own.dec2.weight.step_if_owned(player, watched) {
            if let Some(products) = &of_dec2 {
                explicit = Some(of_products(rows, products));
            } else {
                let (of_logits, judge) = (&self.buffers.small.of[1], &nets.intra[side].weight.value);
                let seen = &mut b.seen_by_judge;
                judged = Some(of_judged(rows, Judged { input: &b.dec1.out, of_logits, judge, seen }));
            }
        }
        let decoder = dec1.into_iter().chain(explicit).flatten().chain(judged.into_iter().flatten());
        let pieces = encoder.chain(decoder).chain(head.into_iter().flatten());
        updates::run(&mut self.crew, adam, pieces);
        if b.reconstruction.is_some() && nets.settings.judges_reconstructions() {
            self.see_reconstructions(side);
        }
    }

    fn step_vectors(&mut self, side: usize, stepping: Stepping<T>) {
        let n = self.n();
        let (enc2, head) = (self.nets.enc2_of(side), self.nets.head_of(side));
        let level = self.crew.level;
        let nets = &mut self.nets;
        let (own, b) = (&mut nets.sides[side], &self.buffers.sides[side]);
        own.enc1.step_norm(level, stepping, &b.of_enc1);
        nets.enc2[enc2].step_norm(level, stepping, &b.of_enc2);
        let wide = &mut self.buffers.wide;
        if nets.settings.decodes() {
            own.dec1.step_norm(level, stepping, &b.of_dec1);
            let gradient = &mut wide[..own.dec2.bias.value.len()];
            match &b.reconstruction {
                Some(explicit) => at_level!(level, {
                    for (g, row) in gradient.iter_mut().zip(explicit.gradient.chunks_exact(n)) {
                        *g = sum_of(row, |x| x);
                    }
                }),
                None => at_level!(level, {
                    let total = sum_of(&self.buffers.small.of[1], |x| x);
                    set_scaled(gradient, total, &nets.intra[side].weight.value);
                }),
            }
            own.dec2.bias.step(stepping.player, stepping.watched).apply(level, stepping.adam, gradient);
        }
        if nets.settings.semantic_constraint {
            let bias = &mut nets.heads[head].bias;
            let gradient = &mut wide[..bias.value.len()];
            for (g, row) in gradient.iter_mut().zip(b.scores.chunks_exact(n)) {
                *g = sum_of(row, |x| x);
            }
            bias.step(stepping.player, stepping.watched).apply(level, stepping.adam, gradient);
        }
    }
}
