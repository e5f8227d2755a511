//! The contract of an encoder pair: raw pairs in, two matrices of features out.

use std::collections::BTreeMap;

use experiment_spec::catalog::EncoderEntry;

use crate::{
    checkpoint::Checkpoint, datasets::data_set::LoadedPairs, error::Result, features::Reals, method::Observer,
};

/// Everything an extraction is given besides the data.
pub struct EncodeContext<'a> {
    /// Seed of the encoder's own training: all randomness is drawn from its named streams.
    pub seed: u64,
    /// Passes over the training pairs.
    pub epochs: u32,
    /// Whether patches and segments are wanted beside the wholes.
    pub patches: bool,
    /// Told about every iteration; keeps checkpoints; may ask to stop.
    pub observer: &'a mut dyn Observer,
    /// Where to go on from, when an earlier attempt left a checkpoint.
    pub resume: Option<Checkpoint>,
}

impl std::fmt::Debug for EncodeContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncodeContext").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Values of a matrix in the precision they are kept in.
#[derive(Clone, Debug, PartialEq)]
pub enum Matrix {
    /// What an encoder makes.
    F32(Vec<f32>),
    /// What a data set comes with.
    F64(Vec<f64>),
}

impl Matrix {
    /// The values.
    #[must_use]
    pub fn reals(&self) -> Reals<'_> {
        match self {
            Self::F32(values) => Reals::F32(values),
            Self::F64(values) => Reals::F64(values),
        }
    }
}

/// Features of the patches of all images, or of the segments of all texts.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedPatches {
    /// Row-major, pair by pair.
    pub values: Matrix,
    /// Those of pair n are the rows from entry n to before entry n + 1.
    pub starts: Vec<u32>,
}

/// Features of all pairs, training, validation and test alike.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedPairs {
    /// `n x image_dims`, row-major.
    pub image: Matrix,
    /// `n x text_dims`, row-major, in the precision of the image features.
    pub text: Matrix,
    /// Of the patches of every image and of the segments of every text, where they were asked for.
    pub patches: Option<[EncodedPatches; 2]>,
    /// Facts worth keeping: accuracy of each head on each part, by name.
    pub facts: BTreeMap<String, f64>,
}

/// One line of the list of encoders.
pub trait Encoder: Sync {
    /// Key, revision, dimensions.
    fn entry(&self) -> EncoderEntry;

    /// Trains on the labels of the training part alone, then encodes every pair, and its patches where they are asked
    /// for: they change nothing of the rest. Labels of the other parts
    /// are used for nothing but the accuracies among the facts.
    ///
    /// # Errors
    /// By kind: a data set that it cannot read, unusable data, a value that is not a number (named, with its iteration), a stop.
    fn encode(&self, pairs: &LoadedPairs, context: EncodeContext<'_>) -> Result<EncodedPairs>;
}
