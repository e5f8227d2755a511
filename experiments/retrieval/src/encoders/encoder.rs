//! The contract of an encoder pair: raw pairs in, two matrices of features out.

use std::collections::BTreeMap;

use experiment_spec::catalog::EncoderEntry;

use crate::{checkpoint::Checkpoint, datasets::data_set::RawPairs, error::Result, method::Observer};

/// Everything an extraction is given besides the data.
pub struct EncodeContext<'a> {
    /// Seed of the encoder's own training: all randomness is drawn from its named streams.
    pub seed: u64,
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

/// Features of all pairs, training, validation and test alike.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedPairs {
    /// `n x image_dims` of the entry, row-major.
    pub image: Vec<f32>,
    /// `n x text_dims` of the entry, row-major.
    pub text: Vec<f32>,
    /// Facts worth keeping: accuracy of each head on each part, by name.
    pub facts: BTreeMap<String, f64>,
}

/// One line of the list of encoders.
pub trait Encoder: Sync {
    /// Key, revision, dimensions.
    fn entry(&self) -> EncoderEntry;

    /// Trains on the labels of the training part alone, then encodes every pair. Labels of the other parts
    /// are used for nothing but the accuracies among the facts.
    ///
    /// # Errors
    /// By kind: unusable data, a value that is not a number (named, with its iteration), a stop.
    fn encode(&self, raw: &RawPairs, context: EncodeContext<'_>) -> Result<EncodedPairs>;
}
