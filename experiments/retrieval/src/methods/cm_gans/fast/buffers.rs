//! Everything between the layers, made once (identity 6).

use super::layers::{self, Piece};
use crate::{
    methods::cm_gans::settings::Sizes,
    nn::{
        gemm::{SimdLevel, simd_level, threads},
        norm::Statistics,
        pieces::Workers,
        real::Real,
    },
};

/// The threads' scratch space and what they need to know.
#[derive(Debug)]
pub(super) struct Crew<T> {
    pub(super) level: SimdLevel,
    /// Slope of the activation below zero.
    pub(super) slope: T,
    /// Each with space for a block of a gradient.
    pub(super) workers: Workers<Vec<T>>,
    desk_size: usize,
}

impl<T: Real> Crew<T> {
    pub(super) fn new(slope: T, desk_size: usize) -> Self {
        let workers = Workers::new(|| zeros(desk_size));
        Self { level: simd_level(), slope, workers, desk_size }
    }

    /// Follows the settings of the process for threads and SIMD level.
    pub(super) fn follow_settings(&mut self) {
        self.level = simd_level();
        if self.workers.count() != threads() {
            self.workers = Workers::new(|| zeros(self.desk_size));
        }
    }
}

/// What a normed layer leaves of a forward pass (features x batch).
#[derive(Debug)]
pub(super) struct Output<T> {
    /// Before gamma and beta.
    pub(super) normalised: Vec<T>,
    /// After the activation.
    pub(super) out: Vec<T>,
    pub(super) statistics: Vec<Statistics<T>>,
}

impl<T: Real> Output<T> {
    pub(super) fn new(features: usize, n: usize) -> Self {
        let nothing = Statistics { mean: T::zero(), variance: T::zero(), scale: T::zero() };
        Self { normalised: zeros(features * n), out: zeros(features * n), statistics: vec![nothing; features] }
    }
}

/// Gradients at a normed layer.
#[derive(Debug)]
pub(super) struct Gradient<T> {
    /// Of its linear output, features x batch: for the layer below.
    pub(super) linear: Vec<T>,
    /// The same, batch x features: for its weight.
    pub(super) linear_t: Vec<T>,
    pub(super) gamma: Vec<T>,
    pub(super) beta: Vec<T>,
}

impl<T: Real> Gradient<T> {
    pub(super) fn new(features: usize, n: usize) -> Self {
        let (linear, linear_t) = (zeros(features * n), zeros(features * n));
        Self { linear, linear_t, gamma: zeros(features), beta: zeros(features) }
    }

    /// The pieces of the transpose.
    pub(super) fn transpose(&mut self, n: usize) -> impl Iterator<Item = Piece<'_, T>> + Send {
        layers::transpose(&self.linear, n, &mut self.linear_t)
    }
}

/// The decoder's explicit output and its gradient, where a reconstruction error asks for them.
#[derive(Debug)]
pub(super) struct Reconstruction<T> {
    /// dims x batch.
    pub(super) r: Vec<T>,
    /// dims x batch.
    pub(super) gradient: Vec<T>,
    /// batch x dims.
    pub(super) gradient_t: Vec<T>,
}

/// Buffers of one modality's generator.
#[derive(Debug)]
pub(super) struct SideBuffers<T> {
    /// Originals of the matched and of the mismatched batch, dims x batch.
    pub(super) h: Vec<T>,
    pub(super) mismatched_h: Vec<T>,
    pub(super) enc1: Output<T>,
    pub(super) enc2: Output<T>,
    pub(super) dec1: Output<T>,
    pub(super) mismatched_enc1: Output<T>,
    pub(super) mismatched_enc2: Output<T>,
    pub(super) of_enc1: Gradient<T>,
    pub(super) of_enc2: Gradient<T>,
    pub(super) of_dec1: Gradient<T>,
    /// Hidden layer of the inter discriminator that judges this generator.
    pub(super) judge: Output<T>,
    pub(super) of_judge: Gradient<T>,
    /// W_h h of that discriminator: the same in all generator steps of an iteration (identity 2).
    pub(super) bracket: Vec<T>,
    /// W2 w of decoder and intra discriminator (identity 3); always of their present weights.
    pub(super) seen_by_judge: Vec<T>,
    /// classes x batch, and its transpose.
    pub(super) scores: Vec<T>,
    pub(super) scores_t: Vec<T>,
    pub(super) reconstruction: Option<Reconstruction<T>>,
}

/// Buffers of an inter discriminator's own update; its three groups are real, other, mismatched.
#[derive(Debug)]
pub(super) struct InterBuffers<T> {
    /// W_h h of the matched and of the mismatched originals.
    pub(super) matched: Vec<T>,
    pub(super) mismatched: Vec<T>,
    pub(super) groups: [Output<T>; 3],
    pub(super) of_groups: [Gradient<T>; 3],
    /// Gradients of the groups that share an original, added (identity 2), batch x features.
    pub(super) shared_t: Vec<T>,
}

/// Small vectors over the batch.
#[derive(Debug)]
pub(super) struct Small<T> {
    pub(super) logits: Vec<T>,
    /// A sum over the batch for every feature.
    pub(super) hidden: Vec<T>,
    /// Gradients of up to three groups of logits.
    pub(super) of: [Vec<T>; 3],
}

/// All buffers.
#[derive(Debug)]
pub(super) struct Buffers<T> {
    pub(super) sides: [SideBuffers<T>; 2],
    pub(super) inter: [InterBuffers<T>; 2],
    pub(super) small: Small<T>,
    /// A gradient vector as long as the widest layer.
    pub(super) wide: Vec<T>,
}

fn zeros<T: Real>(count: usize) -> Vec<T> {
    vec![T::zero(); count]
}

fn side<T: Real>(dims: usize, sizes: Sizes, n: usize, explicit: bool) -> SideBuffers<T> {
    let Sizes { hidden, inter_hidden, classes, .. } = sizes;
    SideBuffers {
        h: zeros(dims * n),
        mismatched_h: zeros(dims * n),
        enc1: Output::new(hidden, n),
        enc2: Output::new(hidden, n),
        dec1: Output::new(hidden, n),
        mismatched_enc1: Output::new(hidden, n),
        mismatched_enc2: Output::new(hidden, n),
        of_enc1: Gradient::new(hidden, n),
        of_enc2: Gradient::new(hidden, n),
        of_dec1: Gradient::new(hidden, n),
        judge: Output::new(inter_hidden, n),
        of_judge: Gradient::new(inter_hidden, n),
        bracket: zeros(inter_hidden * n),
        seen_by_judge: zeros(hidden),
        scores: zeros(classes * n),
        scores_t: zeros(classes * n),
        reconstruction: explicit.then(|| Reconstruction {
            r: zeros(dims * n),
            gradient: zeros(dims * n),
            gradient_t: zeros(dims * n),
        }),
    }
}

impl<T: Real> Buffers<T> {
    /// Buffers for batches of `n`; `explicit` reconstructions only where they are needed.
    pub(super) fn new(sizes: Sizes, n: usize, explicit: bool) -> Self {
        let inter = || InterBuffers {
            matched: zeros(sizes.inter_hidden * n),
            mismatched: zeros(sizes.inter_hidden * n),
            groups: [(); 3].map(|()| Output::new(sizes.inter_hidden, n)),
            of_groups: [(); 3].map(|()| Gradient::new(sizes.inter_hidden, n)),
            shared_t: zeros(sizes.inter_hidden * n),
        };
        let widest = sizes.image.max(sizes.text).max(sizes.hidden).max(sizes.inter_hidden).max(sizes.classes);
        Self {
            sides: [side(sizes.image, sizes, n, explicit), side(sizes.text, sizes, n, explicit)],
            inter: [inter(), inter()],
            small: Small { logits: zeros(n), hidden: zeros(sizes.hidden), of: [(); 3].map(|()| zeros(n)) },
            wide: zeros(widest),
        }
    }
}
