//! The contract between the training loop and a form of the training step. There are two: `plain`, on
//! candle's autograd (the reference, and what a GPU runs), and `fast`, hand-written for the CPU on the
//! identities of the spec's `fast.md`. Both start from, and can be read out as, the same [`State`].

use super::{
    settings::Settings,
    state::{Player, State, Tensors},
};
use crate::error::Result;

/// One batch (spec A.11), row-major; `n` rows each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch<T> {
    /// Matched images, n x image dims.
    pub h_i: Vec<T>,
    /// Matched texts, n x text dims.
    pub h_t: Vec<T>,
    /// Mismatched images: instances of another class, both sides from one pair.
    pub mismatched_h_i: Vec<T>,
    /// Mismatched texts.
    pub mismatched_h_t: Vec<T>,
    /// Classes of the matched pairs.
    pub labels: Vec<u32>,
}

/// What one update of one player did.
#[derive(Debug)]
pub struct Update<'a, T> {
    /// Whose update it was.
    pub player: Player,
    /// Its loss before the step.
    pub loss: f64,
    /// The loss's weighted terms by name (they add up to it), as in the traces: `reconstruction`,
    /// `original` (`d_i`, `d_t`); `other`, `real`, `mismatched` (`d_ci`, `d_ct`); of `inter`, `intra`,
    /// `class`, `reconstruction` those that the settings have (generators).
    pub terms: &'a [(&'static str, f64)],
    /// Gradient of every tensor the player owns; only when [`Watcher::wants_gradients`].
    pub gradients: Option<Tensors<T>>,
}

/// Told about every update of an iteration, in order.
pub trait Watcher<T> {
    /// Whether gradients are to be handed over (tests; it costs copies).
    fn wants_gradients(&self) -> bool {
        false
    }
    /// One update was made.
    fn update(&mut self, update: Update<'_, T>);
    /// Mean logit of a discriminator on one group in this iteration's discriminator phase:
    /// `real`, `paired`, `mismatched` (`d_ci`, `d_ct`), `real`, `reconstruction` (`d_i`, `d_t`).
    fn mean_logit(&mut self, player: Player, group: &'static str, value: f64) {
        let _ = (player, group, value);
    }
}

/// One of the two generators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Modality {
    /// Image generator and its features.
    Image,
    /// Text generator and its features.
    Text,
}

impl Modality {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Image => Self::Text,
            Self::Text => Self::Image,
        }
    }

    /// Its generator.
    #[must_use]
    pub fn generator(self) -> Player {
        match self {
            Self::Image => Player::GI,
            Self::Text => Player::GT,
        }
    }

    /// The intra-modality discriminator that judges its reconstructions.
    #[must_use]
    pub fn intra_judge(self) -> Player {
        match self {
            Self::Image => Player::DI,
            Self::Text => Player::DT,
        }
    }

    /// The inter-modality discriminator of its pathway. It judges the *other* modality's generator.
    #[must_use]
    pub fn inter_judge(self) -> Player {
        match self {
            Self::Image => Player::DCi,
            Self::Text => Player::DCt,
        }
    }

    /// Prefix of its tensors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Text => "text",
        }
    }
}

/// What moves the running statistics of a modality's encoder in the discriminator phase, in order: a
/// batch (matched or mismatched) and how many times (spec A.8, running statistics of G). Each
/// discriminator's update makes its own pass, so without D_I and D_T there is one matched pass less.
#[must_use]
pub fn discriminator_phase_passes(settings: &Settings, modality: Modality) -> Vec<(Group, i32)> {
    let intra = i32::from(settings.judges_reconstructions());
    match modality {
        // D_I, D_CT: matched; D_CI: matched, then mismatched.
        Modality::Image => vec![(Group::Matched, 2 + intra), (Group::Mismatched, 1)],
        // D_T: matched; D_CT: matched, then mismatched; D_CI: matched.
        Modality::Text => vec![(Group::Matched, 1 + intra), (Group::Mismatched, 1), (Group::Matched, 1)],
    }
}

/// Which of the two batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The pairs themselves.
    Matched,
    /// The instances of another class.
    Mismatched,
}

/// A form of the training step.
pub trait Form<T> {
    /// One whole iteration (spec A.8): the discriminators once, then the generators K times.
    ///
    /// # Errors
    /// When an operation of the tensor library fails. Losses that are not numbers are the watcher's to see.
    fn iteration(&mut self, batch: &Batch<T>, learning_rate: f64, watcher: &mut dyn Watcher<T>) -> Result<()>;

    /// Everything that training has changed, as plain numbers.
    ///
    /// # Errors
    /// When tensors cannot be read back from the device.
    fn state(&self) -> Result<State<T>>;
}
