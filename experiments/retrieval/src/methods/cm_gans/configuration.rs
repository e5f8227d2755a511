//! Parameters of a run as the types that the training loop works with. The tables here are also what
//! the registry entry lists as choices; the first of each is the default.

use experiment_spec::catalog::Parameters;

use super::{
    entry::entry,
    layout,
    settings::{Activation, Embedded, MismatchConcat, ReconstructionNorm, Settings, Sizes, SoftmaxHead, WeightSharing},
};
use crate::{
    error::{Error, Result},
    method::TrainingData,
    normalise::FeatureNorm,
    parameters::Reader,
};

/// Memory that one fit may ask for: weights, gradients, moments and a batch's activations.
const MEMORY_LIMIT_BYTES: u64 = 16 << 30;

/// Choices of `activation`.
pub const ACTIVATIONS: [(&str, Activation); 2] = [("relu", Activation::Relu), ("leaky-relu", Activation::LeakyRelu)];
/// Choices of `weight-sharing`.
pub const WEIGHT_SHARINGS: [(&str, WeightSharing); 3] =
    [("tied", WeightSharing::Tied), ("init-only", WeightSharing::InitOnly), ("none", WeightSharing::None)];
/// Choices of `softmax-head`.
pub const SOFTMAX_HEADS: [(&str, SoftmaxHead); 2] =
    [("shared", SoftmaxHead::Shared), ("per-modality", SoftmaxHead::PerModality)];
/// Choices of `mismatch-concat`.
pub const MISMATCH_CONCATS: [(&str, MismatchConcat); 2] =
    [("own", MismatchConcat::Own), ("anchor", MismatchConcat::Anchor)];
/// Choices of `cae-norm`.
pub const RECONSTRUCTION_NORMS: [(&str, ReconstructionNorm); 2] =
    [("l2", ReconstructionNorm::L2), ("l1", ReconstructionNorm::L1)];
/// Choices of `feat-norm`.
pub const FEATURE_NORMS: [(&str, FeatureNorm); 3] =
    [("raw", FeatureNorm::Raw), ("zscore", FeatureNorm::Zscore), ("l2", FeatureNorm::L2)];
/// Choices of `eval-norm`; only recorded, since every normalisation is scored.
pub const EVALUATION_NORMS: [(&str, ()); 2] = [("none", ()), ("authors", ())];
/// Choices of `embedding`.
pub const EMBEDDINGS: [(&str, Embedded); 2] = [("code", Embedded::Code), ("posterior", Embedded::Posterior)];
/// Choices of `selection`.
pub const SELECTIONS: [(&str, Selection); 2] =
    [("last", Selection::Last), ("best-on-validation", Selection::BestOnValidation)];

/// Which iteration's weights a fit keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The last one's.
    Last,
    /// Those with the highest bi-modal average on validation, the earliest of equals.
    BestOnValidation,
}

/// How long and how fast training goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Iterations in all.
    pub iterations: u64,
    /// Learning rate of the first iteration.
    pub learning_rate: f64,
    /// Iterations between two halvings; 0 is never.
    pub lr_decay_every: u64,
    /// Which weights are kept.
    pub selection: Selection,
    /// Iterations between two looks at validation.
    pub select_every: u64,
}

impl Schedule {
    /// Learning rate of an iteration, counted from 1 (spec A.8).
    #[must_use]
    pub fn rate(&self, iteration: u64) -> f64 {
        let halvings = (iteration - 1).checked_div(self.lr_decay_every).unwrap_or(0);
        self.learning_rate * 0.5f64.powi(i32::try_from(halvings).unwrap_or(i32::MAX))
    }

    /// Whether validation is looked at after an iteration: every so often, and at the end.
    #[must_use]
    pub fn looks(&self, iteration: u64) -> bool {
        self.selection == Selection::BestOnValidation
            && (iteration.is_multiple_of(self.select_every) || iteration == self.iterations)
    }
}

/// All of a run's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// Arithmetic of the training step.
    pub settings: Settings,
    /// Length and rate.
    pub schedule: Schedule,
    /// Columns of the common representation.
    pub hidden: usize,
    /// Hidden units of the inter discriminators.
    pub inter_hidden: usize,
    /// Normalisation of the features.
    pub feature_norm: FeatureNorm,
}

impl Configuration {
    /// Reads parameters; missing ones have their defaults.
    ///
    /// # Errors
    /// [`Error::User`] naming the key at fault.
    pub fn read(parameters: &Parameters) -> Result<Self> {
        let entry = entry();
        let read = Reader::new(&entry, parameters)?;
        if read.choice("embedding", &EMBEDDINGS) == Embedded::Posterior && !read.flag("semantic-constraint") {
            let why = "without the semantic constraint nothing trains the head whose probabilities would be embedded";
            return Err(Error::User(format!("`embedding` is posterior: {why}; take `embedding: code`")));
        }
        Ok(Self {
            settings: Settings {
                activation: read.choice("activation", &ACTIVATIONS),
                weight_sharing: read.choice("weight-sharing", &WEIGHT_SHARINGS),
                softmax_head: read.choice("softmax-head", &SOFTMAX_HEADS),
                mismatch_concat: read.choice("mismatch-concat", &MISMATCH_CONCATS),
                recon_loss_weight: read.float("recon-loss-weight"),
                reconstruction_norm: read.choice("cae-norm", &RECONSTRUCTION_NORMS),
                semantic_constraint: read.flag("semantic-constraint"),
                intra_discriminators: read.flag("intra-discriminators"),
                adversarial: read.flag("adversarial"),
                generator_steps: read.size("generator-steps"),
                batch_size: read.size("batch-size"),
                embedded: read.choice("embedding", &EMBEDDINGS),
            },
            schedule: Schedule {
                iterations: read.count("iterations"),
                learning_rate: read.float("learning-rate"),
                lr_decay_every: read.count("lr-decay-every"),
                selection: read.choice("selection", &SELECTIONS),
                select_every: read.count("select-every"),
            },
            hidden: read.size("hidden"),
            inter_hidden: read.size("inter-hidden"),
            feature_norm: read.choice("feat-norm", &FEATURE_NORMS),
        })
    }

    /// Sizes of the networks for some data.
    ///
    /// # Errors
    /// [`Error::User`] when training them would take more than 16 GiB, or when validation is to choose
    /// and there is none.
    pub fn sizes(&self, data: &TrainingData<'_>) -> Result<Sizes> {
        if self.schedule.selection == Selection::BestOnValidation && data.validation.rows() == 0 {
            let cure = "take `selection: last`, or a split with validation pairs";
            return Err(Error::User(format!("`selection` is best-on-validation, but there are no such pairs; {cure}")));
        }
        let sizes = Sizes {
            image: data.train.image.dims(),
            text: data.train.text.dims(),
            hidden: self.hidden,
            inter_hidden: self.inter_hidden,
            classes: data.classes,
        };
        let needed = memory_bytes(&self.settings, sizes);
        if needed > MEMORY_LIMIT_BYTES {
            let (needed, limit) = (needed >> 30, MEMORY_LIMIT_BYTES >> 30);
            let cure = "lower `hidden`, `inter-hidden` or `batch-size`";
            return Err(Error::User(format!("training would take about {needed} GiB, more than {limit}; {cure}")));
        }
        Ok(sizes)
    }
}

/// Rough need of a fit: each parameter with its gradient and two moments, and some 40 activations of the
/// widest kind a row of the batch.
fn memory_bytes(settings: &Settings, sizes: Sizes) -> u64 {
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let product = |shape: &Vec<usize>| shape.iter().fold(1u64, |product, &n| product.saturating_mul(wide(n)));
    let parameters = layout::shapes(settings, sizes).values().map(product).fold(0u64, u64::saturating_add);
    let row = wide(sizes.image).saturating_add(wide(sizes.text)).saturating_add(wide(sizes.hidden));
    let activations = row.saturating_mul(wide(settings.batch_size)).saturating_mul(40);
    parameters.saturating_mul(4).saturating_add(activations).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use experiment_spec::catalog::ParameterValue;

    use super::*;

    #[test]
    fn presets_are_the_settings_of_the_spec() {
        let paper = Configuration::read(&Parameters::new()).unwrap();
        assert_eq!(paper.settings, Settings::paper());
        assert_eq!((paper.hidden, paper.inter_hidden, paper.feature_norm), (1024, 512, FeatureNorm::Raw));
        assert_eq!((paper.schedule.iterations, paper.schedule.lr_decay_every), (26_000, 1300));
        let released = entry().presets[1].values.clone();
        assert_eq!(Configuration::read(&released).unwrap().settings, Settings::released());
        assert_eq!(released["eval-norm"], ParameterValue::Text("authors".into()));
    }

    #[test]
    fn the_rate_halves_after_each_stretch() {
        let mut schedule = Configuration::read(&Parameters::new()).unwrap().schedule;
        for (iteration, halvings) in [(1, 0), (1300, 0), (1301, 1), (2600, 1), (2601, 2)] {
            assert!((schedule.rate(iteration) - 1e-3 * 0.5f64.powi(halvings)).abs() < 1e-18, "{iteration}");
        }
        assert!(schedule.rate(u64::MAX) < f64::MIN_POSITIVE);
        schedule.lr_decay_every = 0;
        assert!((schedule.rate(1_000_000) - 1e-3).abs() < 1e-18);
    }

    #[test]
    fn every_switch_is_read() {
        let with = |key: &str, value: ParameterValue| {
            Configuration::read(&Parameters::from([(key.to_owned(), value)])).unwrap()
        };
        let text = |value: &str| ParameterValue::Text(value.into());
        assert_eq!(with("mismatch-concat", text("anchor")).settings.mismatch_concat, MismatchConcat::Anchor);
        assert_eq!(with("weight-sharing", text("none")).settings.weight_sharing, WeightSharing::None);
        assert_eq!(with("cae-norm", text("l1")).settings.reconstruction_norm, ReconstructionNorm::L1);
        assert_eq!(with("feat-norm", text("zscore")).feature_norm, FeatureNorm::Zscore);
        assert_eq!(with("embedding", text("posterior")).settings.embedded, Embedded::Posterior);
        assert_eq!(with("selection", text("best-on-validation")).schedule.selection, Selection::BestOnValidation);
        assert!(!with("semantic-constraint", ParameterValue::Bool(false)).settings.semantic_constraint);
        assert!(!with("intra-discriminators", ParameterValue::Bool(false)).settings.judges_reconstructions());
        let cae = with("adversarial", ParameterValue::Bool(false)).settings;
        assert!(cae.decodes() && (cae.reconstruction_weight() - 1.0).abs() < 1e-15);
        let headless = [
            ("embedding".to_owned(), text("posterior")),
            ("semantic-constraint".to_owned(), ParameterValue::Bool(false)),
        ];
        let error = Configuration::read(&Parameters::from(headless)).unwrap_err().to_string();
        assert!(error.contains("nothing trains the head"), "{error}");
        let error = Configuration::read(&Parameters::from([("batch-size".into(), ParameterValue::Integer(1))]));
        assert!(error.unwrap_err().to_string().contains("`batch-size` is 1; expected a whole number from 2"));
    }

    #[test]
    fn memory_grows_with_the_sizes_and_does_not_overflow() {
        let sizes = Sizes { image: 4096, text: 300, hidden: 1024, inter_hidden: 512, classes: 20 };
        let paper = memory_bytes(&Settings::paper(), sizes);
        assert!((200 << 20..600 << 20).contains(&paper), "{paper}");
        let absurd = Sizes { image: usize::MAX / 4, ..sizes };
        assert!(memory_bytes(&Settings::paper(), absurd) > MEMORY_LIMIT_BYTES);
        assert!(
            memory_bytes(&Settings::paper(), Sizes { hidden: 16_384, image: 100_000, ..sizes }) > MEMORY_LIMIT_BYTES
        );
    }
}
