//! One iteration: the order of the updates, and what is carried from one to the next.

use super::{
    buffers::{Buffers, Crew},
    nets::{BOTH, Nets, Normed, Running},
    updates::block_size,
};
use crate::{
    error::{Error, Result},
    methods::cm_gans::{
        form::{Batch, Form, Group, Modality, Update, Watcher, discriminator_phase_passes},
        settings::{Settings, Sizes},
        state::{Player, State},
    },
    nn::{norm::Statistics, real::Real, vector::AdamStep},
};

/// Part of the batch in a running statistic (spec A.4).
const MOMENTUM: f64 = 0.1;

/// CM-GANs training on the CPU, see the head of this module's folder.
///
/// Threads and SIMD level are those of [`crate::nn::gemm`]; the results depend on the level only.
#[derive(Debug)]
pub struct FastForm<T> {
    pub(super) nets: Nets<T>,
    pub(super) buffers: Buffers<T>,
    pub(super) crew: Crew<T>,
}

/// What a player's step needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stepping<T> {
    pub(super) player: Player,
    pub(super) adam: AdamStep<T>,
    /// Whether gradients are kept for the watcher.
    pub(super) watched: bool,
}

/// Which layers of a generator have been run with their present weights on the present batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ready {
    pub(super) enc1: bool,
    pub(super) enc2: bool,
    pub(super) dec1: bool,
}

impl<T: Real> FastForm<T> {
    /// Takes up training from `state`.
    ///
    /// # Errors
    /// [`Error::Data`] when `state` lacks a tensor of these settings and sizes.
    pub fn new(settings: &Settings, sizes: Sizes, state: &State<T>) -> Result<Self> {
        let nets = Nets::load(settings, sizes, state)?;
        let explicit = settings.reconstruction_weight() > 0.0;
        let widest = [sizes.image, sizes.text, sizes.hidden, sizes.inter_hidden, sizes.classes];
        let desk_size = block_size(widest.into_iter().fold(1, usize::max));
        let crew = Crew::new(nets.slope(), desk_size);
        let mut form = Self { nets, buffers: Buffers::new(sizes, settings.batch_size, explicit), crew };
        for side in 0..form.nets.intra.len() {
            form.see_reconstructions(side);
        }
        Ok(form)
    }

    /// Rows of a batch.
    pub(super) fn n(&self) -> usize {
        self.nets.settings.batch_size
    }

    pub(super) fn begin_step(&mut self, player: Player, rate: f64, watcher: &dyn Watcher<T>) -> Stepping<T> {
        let adam = AdamStep::new(rate, self.nets.next_step(player));
        Stepping { player, adam, watched: watcher.wants_gradients() }
    }

    pub(super) fn report(&self, player: Player, terms: &[(&'static str, f64)], watcher: &mut dyn Watcher<T>) {
        let gradients = watcher.wants_gradients().then(|| self.nets.gradients(player));
        let loss = terms.iter().map(|(_, value)| value).sum();
        watcher.update(Update { player, loss, terms, gradients });
    }

    fn check(&self, batch: &Batch<T>) -> Result<()> {
        let (n, sizes) = (self.n(), self.nets.sizes);
        let widths = [sizes.image, sizes.text, sizes.image, sizes.text];
        let parts = [&batch.h_i, &batch.h_t, &batch.mismatched_h_i, &batch.mismatched_h_t];
        if n < 2 || batch.labels.len() != n || parts.iter().zip(widths).any(|(part, width)| part.len() != n * width) {
            return Err(Error::Data(format!("a batch does not have {n} (at least 2) rows of {widths:?} columns each")));
        }
        match batch.labels.iter().find(|&&label| label as usize >= sizes.classes) {
            Some(label) => Err(Error::Data(format!("a batch has class {label}, there are {}", sizes.classes))),
            None => Ok(()),
        }
    }

    /// Moves running statistics in the discriminator phase (identity 1).
    pub(super) fn move_running_of_discriminator_phase(&mut self, side: usize) {
        for (group, times) in discriminator_phase_passes(&self.nets.settings, BOTH[side]) {
            let buffers = &self.buffers.sides[side];
            let outputs = match group {
                Group::Matched => [&buffers.enc1, &buffers.enc2],
                Group::Mismatched => [&buffers.mismatched_enc1, &buffers.mismatched_enc2],
            };
            let enc2 = &self.nets.enc2[self.nets.enc2_of(side)];
            let own = &mut self.nets.sides[side];
            let [first, second] = &mut own.running;
            let n = self.nets.settings.batch_size;
            move_running(first, &own.enc1, &outputs[0].statistics, n, times);
            move_running(second, enc2, &outputs[1].statistics, n, times);
        }
    }

    /// Moves running statistics by a generator's own forward pass.
    pub(super) fn move_running_of_generator_step(&mut self, side: usize) {
        let enc2 = &self.nets.enc2[self.nets.enc2_of(side)];
        let own = &mut self.nets.sides[side];
        let [first, second] = &mut own.running;
        let n = self.nets.settings.batch_size;
        move_running(first, &own.enc1, &self.buffers.sides[side].enc1.statistics, n, 1);
        move_running(second, enc2, &self.buffers.sides[side].enc2.statistics, n, 1);
    }
}

/// `times` updates with the same batch are one: 0.9^k old + (1 - 0.9^k) batch. The layer's bias, which
/// the norm takes away, is part of the mean.
fn move_running<T: Real>(running: &mut Running<T>, layer: &Normed<T>, batch: &[Statistics<T>], n: usize, times: i32) {
    let kept = libm::pow(1.0 - MOMENTUM, f64::from(times));
    #[allow(clippy::cast_precision_loss)] // a batch is far smaller than 2^53
    let unbiased = T::of((1.0 - kept) * n as f64 / (n as f64 - 1.0));
    let (kept, moved) = (T::of(kept), T::of(1.0 - kept));
    let layers = running.mean.iter_mut().zip(&mut running.variance).zip(&layer.bias.value);
    for (((mean, variance), &bias), batch) in layers.zip(batch) {
        *mean = kept * *mean + moved * (batch.mean + bias);
        *variance = kept * *variance + unbiased * batch.variance;
    }
}

impl<T: Real> Form<T> for FastForm<T> {
    fn iteration(&mut self, batch: &Batch<T>, learning_rate: f64, watcher: &mut dyn Watcher<T>) -> Result<()> {
        self.check(batch)?;
        self.crew.follow_settings();
        self.take_batch(batch);
        let mut ready = [Ready::default(); 2];
        if self.nets.settings.adversarial {
            ready = self.discriminator_phase(learning_rate, watcher);
        }
        for _ in 0..self.nets.settings.generator_steps {
            for modality in [Modality::Image, Modality::Text] {
                let side = modality as usize;
                self.generator_step(modality, ready[side], &batch.labels, learning_rate, watcher);
                ready[side] = Ready::default();
                // A tied second layer has just been moved under the other generator too.
                let other = &mut ready[1 - side];
                if self.nets.enc2.len() == 1 {
                    *other = Ready { enc2: false, dec1: false, ..*other };
                }
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<State<T>> {
        Ok(self.nets.state())
    }
}
