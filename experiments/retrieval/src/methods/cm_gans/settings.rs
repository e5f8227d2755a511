//! Settings of CM-GANs: the spec's switches as types, and the sizes of the networks.

use super::form::Modality;

/// Activation of encoders, decoders and inter discriminators (spec section 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// max(x, 0) + 0.2 min(x, 0).
    LeakyRelu,
}

/// How the second encoder layer is shared (spec A.9).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightSharing {
    /// One set of weights, gamma and beta.
    Tied,
    /// Two sets that start equal.
    InitOnly,
    /// Two sets, initialised independently.
    None,
}

/// Softmax head of the semantic constraint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SoftmaxHead {
    /// One head on both pathways.
    Shared,
    /// One head a modality.
    PerModality,
}

/// What the mismatched common representation is joined with (spec A.6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MismatchConcat {
    /// Its own original.
    Own,
    /// The anchor's original.
    Anchor,
}

/// Reconstruction error of CAE (spec B.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReconstructionNorm {
    /// Mean squared error.
    L2,
    /// Mean absolute error.
    L1,
}

/// What stands for an item once training is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Embedded {
    /// The common representation s (spec A.12).
    Code,
    /// The class probabilities that the softmax head gives s: a row of its own, not the paper's.
    Posterior,
}

/// Everything that decides the arithmetic of a training step and of an embedding.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // the three are independent switches of the paper's ablations
pub struct Settings {
    /// Activation.
    pub activation: Activation,
    /// Sharing of the second encoder layer.
    pub weight_sharing: WeightSharing,
    /// Softmax head.
    pub softmax_head: SoftmaxHead,
    /// Partner of the mismatched common representation.
    pub mismatch_concat: MismatchConcat,
    /// Weight of an explicit reconstruction error in the generator losses; 0 in the paper's GAN variants.
    pub recon_loss_weight: f64,
    /// Norm of that error.
    pub reconstruction_norm: ReconstructionNorm,
    /// Class term in the generator losses.
    pub semantic_constraint: bool,
    /// D_I and D_T (without them and without reconstruction error the decoders are unused).
    pub intra_discriminators: bool,
    /// Any discriminators at all; false is CAE: the generators alone, reconstruction weight at least 1.
    pub adversarial: bool,
    /// K, generator steps an iteration.
    pub generator_steps: usize,
    /// N, rows of a batch; at least 2.
    pub batch_size: usize,
    /// What a fitted model gives; no part of the training.
    pub embedded: Embedded,
}

impl Settings {
    /// Preset `paper`: the paper's words (spec section 0).
    #[must_use]
    pub fn paper() -> Self {
        Self {
            activation: Activation::Relu,
            weight_sharing: WeightSharing::Tied,
            softmax_head: SoftmaxHead::Shared,
            mismatch_concat: MismatchConcat::Own,
            recon_loss_weight: 0.0,
            reconstruction_norm: ReconstructionNorm::L2,
            semantic_constraint: true,
            intra_discriminators: true,
            adversarial: true,
            generator_steps: 5,
            batch_size: 64,
            embedded: Embedded::Code,
        }
    }

    /// Preset `released`: what the authors' code does (spec section 0).
    #[must_use]
    pub fn released() -> Self {
        Self {
            activation: Activation::LeakyRelu,
            weight_sharing: WeightSharing::InitOnly,
            softmax_head: SoftmaxHead::PerModality,
            ..Self::paper()
        }
    }

    /// Whether D_I and D_T play.
    #[must_use]
    pub fn judges_reconstructions(&self) -> bool {
        self.adversarial && self.intra_discriminators
    }

    /// Weight of the reconstruction error in each generator's loss: as set, but at least 1 in CAE, which
    /// has nothing else to train its decoders (spec B.2).
    #[must_use]
    pub fn reconstruction_weight(&self) -> f64 {
        if self.adversarial { self.recon_loss_weight } else { self.recon_loss_weight.max(1.0) }
    }

    /// Whether anything trains the decoders; when nothing does, they are not run (spec B.1, only inter).
    #[must_use]
    pub fn decodes(&self) -> bool {
        self.judges_reconstructions() || self.reconstruction_weight() > 0.0
    }
}

/// Sizes of the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Columns of h_i.
    pub image: usize,
    /// Columns of h_t.
    pub text: usize,
    /// Columns of the common representation.
    pub hidden: usize,
    /// Hidden units of D_CI and D_CT.
    pub inter_hidden: usize,
    /// Classes.
    pub classes: usize,
}

impl Sizes {
    /// Columns of the original representation of a modality.
    #[must_use]
    pub fn original(&self, modality: Modality) -> usize {
        match modality {
            Modality::Image => self.image,
            Modality::Text => self.text,
        }
    }
}
