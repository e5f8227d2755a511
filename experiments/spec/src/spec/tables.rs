//! The tables that a submission asks for.

use serde::{Deserialize, Serialize};

use crate::scores::Normalisation;

/// One table of a submission. Its columns follow from its kind, its groups from the data sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableSpec {
    /// Which tasks it shows.
    pub kind: TableKind,
    /// Printed above it.
    pub title: String,
    /// Labels of its rows, in order; each is a label of the submission.
    pub rows: Vec<String>,
    /// Which of the two stored scores it shows.
    pub normalisation: Normalisation,
    /// Digits after the point of a mean, 1 to 6.
    pub digits: u8,
    /// Which spread its deviations show where the encoders have several seeds.
    #[serde(default)]
    pub spread: Spread,
}

/// What a deviation is over, where both the methods and the encoders have seeds. With one encoder seed all are the
/// deviation over the methods' seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// All scores of the cell together.
    #[default]
    Both,
    /// The methods' seeds within one encoder seed, pooled over the encoder seeds.
    MethodSeeds,
    /// The encoder seeds: the deviation of their means.
    EncoderSeeds,
}

impl Spread {
    /// Every spread.
    pub const ALL: [Self; 3] = [Self::Both, Self::MethodSeeds, Self::EncoderSeeds];

    /// Kebab-case name, as in YAML.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::MethodSeeds => "method-seeds",
            Self::EncoderSeeds => "encoder-seeds",
        }
    }
}

/// Kind of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableKind {
    /// image->text, text->image and their average.
    Ablation,
    /// The same, and image->all, text->all and their average.
    Main,
}

impl TableKind {
    /// Both, in the order they are documented.
    pub const ALL: [Self; 2] = [Self::Ablation, Self::Main];

    /// Kebab-case name, as in YAML.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ablation => "ablation",
            Self::Main => "main",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}
