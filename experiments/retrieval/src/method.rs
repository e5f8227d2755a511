//! The contract of a method: given the features of a training split it is fitted, and a fitted method
//! maps images and texts into one common space. Scoring is nobody's business but the protocol's.

use std::collections::BTreeMap;

use experiment_spec::{
    catalog::{MethodEntry, Parameters},
    scores::{Scores, Tuning},
};

use crate::{
    checkpoint::Checkpoint,
    error::Result,
    features::{Pairs, Rows},
};

/// What a method may learn from: training pairs, and validation pairs to choose with. No test pair
/// ever reaches a method.
#[derive(Clone, Copy, Debug)]
pub struct TrainingData<'a> {
    /// Training pairs.
    pub train: Pairs<'a>,
    /// Validation pairs; `rows()` is 0 when the split has none and nothing is chosen.
    pub validation: Pairs<'a>,
    /// What may be learnt from once everything is chosen: the training pairs, with those that the protocol
    /// carved off for validation where the split has none of its own.
    pub all: Pairs<'a>,
    /// Number of classes; labels are in `0..classes`.
    pub classes: usize,
}

impl<'a> TrainingData<'a> {
    /// Training pairs, and validation pairs that are no part of them.
    #[must_use]
    pub fn new(train: Pairs<'a>, validation: Pairs<'a>, classes: usize) -> Self {
        Self { train, validation, all: train, classes }
    }

    /// Whether the validation pairs were carved off the training pairs.
    #[must_use]
    pub fn is_carved(&self) -> bool {
        self.all.rows() > self.train.rows()
    }
}

/// Everything `fit` is given besides the data.
pub struct FitContext<'a> {
    /// Every parameter of the method, defaults included, checked against its entry.
    pub parameters: &'a Parameters,
    /// Seed of the run: all randomness is drawn from its named streams.
    pub seed: u64,
    /// Told about every iteration; keeps checkpoints; may ask to stop.
    pub observer: &'a mut dyn Observer,
    /// Where to go on from, when an earlier attempt left a checkpoint.
    pub resume: Option<Checkpoint>,
    /// Features of the test pairs without their labels: only for a method that says it is transductive.
    pub unlabelled: Option<Unlabelled<'a>>,
}

/// Image and text features without labels.
#[derive(Clone, Copy, Debug)]
pub struct Unlabelled<'a> {
    /// Image features.
    pub image: Rows<'a>,
    /// Text features.
    pub text: Rows<'a>,
}

impl std::fmt::Debug for FitContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FitContext").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Told what a fit does while it does it.
pub trait Observer {
    /// After each iteration (from 1 to `iterations`), with the quantities to record at this point, by
    /// name; `loss` is the one shown to people.
    ///
    /// # Errors
    /// [`crate::error::Error::Stopped`] when the attempt was told to stop: the fit passes it on.
    fn iteration(&mut self, iteration: u64, iterations: u64, loss: f64, metrics: &[(&str, f64)]) -> Result<()>;

    /// Whether a checkpoint is wanted after this iteration.
    fn wants_checkpoint(&self, iteration: u64) -> bool;

    /// Keeps a checkpoint, durably, in place of the one before.
    ///
    /// # Errors
    /// When it cannot be written; the one before is still whole.
    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<()>;

    /// A line for the run's log.
    fn log(&mut self, line: &str);

    /// A line that a program of the user's own has printed, on its standard error or its standard output.
    fn printed(&mut self, _on_error: bool, line: &str) {
        self.log(line);
    }

    /// Whether the attempt was told to stop, for a fit that is not done in iterations.
    fn wants_stop(&self) -> bool {
        false
    }
}

/// An observer that records nothing, for tests and benchmarks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn iteration(&mut self, _: u64, _: u64, _: f64, _: &[(&str, f64)]) -> Result<()> {
        Ok(())
    }
    fn wants_checkpoint(&self, _: u64) -> bool {
        false
    }
    fn checkpoint(&mut self, _: &Checkpoint) -> Result<()> {
        Ok(())
    }
    fn log(&mut self, _: &str) {}
}

/// One line of the registry.
pub trait Method: Sync {
    /// Key, label, parameters, departures.
    fn entry(&self) -> MethodEntry;

    /// Whether a fit with these parameters chooses anything on validation pairs. Only then does the protocol
    /// carve some off where the split has none.
    fn chooses(&self, parameters: &Parameters) -> bool;

    /// Whether a fit with these parameters learns from the features of the test pairs, without their labels
    /// (as the released code of JRL does). It is said under the table.
    fn transductive(&self, _parameters: &Parameters) -> bool {
        false
    }

    /// Whether `fit` computes on the GPU when the process has taken one (see [`crate::nn::device`]).
    fn runs_on_gpu(&self) -> bool {
        false
    }

    /// Fits on the training pairs.
    ///
    /// # Errors
    /// By kind: unusable data, a value that is not a number (named, with its iteration), a stop.
    fn fit(&self, data: TrainingData<'_>, context: FitContext<'_>) -> Result<Box<dyn Fitted>>;
}

/// Rows of an embedding, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Number of rows.
    pub rows: usize,
    /// Columns of each row.
    pub dims: usize,
    /// `rows * dims` values. f32 embeddings are scored by an f32 product, f64 ones by an f64 product.
    pub values: EmbeddingValues,
}

/// Element type of an embedding: what the method computes in.
#[derive(Clone, Debug, PartialEq)]
pub enum EmbeddingValues {
    /// Methods trained in f32.
    F32(Vec<f32>),
    /// Linear algebra in f64.
    F64(Vec<f64>),
}

/// A fitted method: embeds, and can be kept.
pub trait Fitted {
    /// Embeds rows of image features.
    ///
    /// # Errors
    /// When an operation fails; never silently NaN.
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding>;
    /// Embeds rows of text features, in the same space.
    ///
    /// # Errors
    /// As [`Fitted::embed_image`].
    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding>;
    /// Tensors of the model by name, to be kept as `model.safetensors`.
    ///
    /// # Errors
    /// When they cannot be read back from their device.
    fn tensors(&self) -> Result<Vec<crate::checkpoint::NamedTensor>>;
    /// Iteration whose weights are used (0 for closed forms).
    fn selected_iteration(&self) -> u64;
    /// What was tried and chosen, and what a reader of the scores has to know.
    fn record(&self) -> FitRecord {
        FitRecord::default()
    }
}

/// What a fit leaves in the run's record beside its scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FitRecord {
    /// Every candidate that was tried on validation, and the choice; none when nothing was chosen.
    pub tuning: Option<Tuning>,
    /// Sentences: a rank that was too low, a fit that did not converge, pairs that were not learnt from.
    pub notes: Vec<String>,
    /// Numbers worth keeping (canonical correlations, objective, updates), by name.
    pub facts: BTreeMap<String, f64>,
}

/// Scores with what else a run leaves: its embeddings of the test split and its model.
#[derive(Debug)]
pub struct Outcome {
    /// Scores and facts.
    pub scores: Scores,
    /// Test images in the common space.
    pub image: Embedding,
    /// Test texts in the common space.
    pub text: Embedding,
    /// The model.
    pub model: Vec<crate::checkpoint::NamedTensor>,
}
