//! State of CM-GANs training as plain numbers, named as in the spec's traces: what both forms of the
//! training step start from, and what a checkpoint holds.
//!
//! Matrices are (in, out): y = x W + b with row vectors.

use std::collections::BTreeMap;

/// The six players, each with its own optimiser (spec A.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Player {
    /// Image generator.
    GI,
    /// Text generator.
    GT,
    /// Intra-modality discriminator of images.
    DI,
    /// Intra-modality discriminator of texts.
    DT,
    /// Inter-modality discriminator, image pathway.
    DCi,
    /// Inter-modality discriminator, text pathway.
    DCt,
}

impl Player {
    /// Every player, in the order of the traces.
    pub const ALL: [Self; 6] = [Self::GI, Self::GT, Self::DI, Self::DT, Self::DCi, Self::DCt];

    /// Name as in the traces, the metrics and the checkpoints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GI => "g_i",
            Self::GT => "g_t",
            Self::DI => "d_i",
            Self::DT => "d_t",
            Self::DCi => "d_ci",
            Self::DCt => "d_ct",
        }
    }
}

/// One tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// Sizes, outermost first: `[in, out]` or `[n]`.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: Vec<T>,
}

/// Tensors by name: `image.enc1.weight`, `enc2.gamma` (tied) or `text.enc2.gamma`, `d_ci.hidden.weight`, ...
pub type Tensors<T> = BTreeMap<String, Array<T>>;

/// Adam's state of one player.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adam<T> {
    /// Steps taken.
    pub step: u64,
    /// First moments of every tensor the player owns.
    pub m: Tensors<T>,
    /// Second moments.
    pub v: Tensors<T>,
}

/// Everything that training changes.
#[derive(Clone, Debug, PartialEq)]
pub struct State<T> {
    /// Weights of all players; a shared tensor stands once.
    pub weights: Tensors<T>,
    /// Running statistics of the encoders, `image.enc1.mean`, `text.enc2.var`, ..., one pair per modality
    /// also where the layer is tied.
    pub running: Tensors<T>,
    /// One Adam state a player. A tensor owned by two players has moments in both.
    pub adam: BTreeMap<Player, Adam<T>>,
}
