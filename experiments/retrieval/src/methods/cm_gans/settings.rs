//! Settings of CM-GANs: the spec's switches as types, and the sizes of the networks.

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

/// Everything that decides the arithmetic of a training step.
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
