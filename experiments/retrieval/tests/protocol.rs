//! The protocol, driven by a toy method: what it refuses, and that nothing of the test split reaches a fit.

use std::collections::BTreeMap;

use experiment_spec::{
    catalog::{MethodEntry, ParameterValue, Parameters},
    run::{ExtractionSpec, RunSpec},
    scores::{Normalisation, Task},
};
use retrieval::{
    checkpoint::{Checkpoint, NamedTensor, Values},
    error::{Error, Result},
    features::{Pairs, Rows},
    method::{Embedding, EmbeddingValues, FitContext, Fitted, Method, Observer, Outcome, Silent, TrainingData},
    metrics::map::evaluate,
    nn::stream::Stream,
    protocol::{REVISION, Splits, run},
};

const DIMS: [usize; 2] = [3, 2];
const COMMON: usize = 4;

/// Maps each side by seeded random weights, scaled by everything it was given to learn from.
#[derive(Default)]
struct Toy {
    fault: Fault,
}

/// What the toy does wrong.
#[derive(Clone, Copy, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    NotANumber,
    RowMissing,
    ValueMissing,
    OneSideWide,
    Constant,
    Stopped,
}

struct FittedToy {
    weights: [Vec<f32>; 2],
    fault: Fault,
}

impl Method for Toy {
    fn entry(&self) -> MethodEntry {
        MethodEntry {
            key: "toy".into(),
            label: "Toy".into(),
            revision: 3,
            objective: String::new(),
            reference: String::new(),
            parameters: vec![],
            presets: vec![],
            departures: vec![],
        }
    }

    fn chooses(&self, parameters: &Parameters) -> bool {
        parameters.contains_key("chooses")
    }

    fn fit(&self, data: TrainingData<'_>, context: FitContext<'_>) -> Result<Box<dyn Fitted>> {
        assert_eq!(context.parameters["scale"], ParameterValue::Float(2.0));
        if self.fault == Fault::Stopped {
            context.observer.iteration(1, 1, 0.0, &[])?;
        }
        let given = [data.train, data.validation];
        let sum: f64 = given.iter().flat_map(|pairs| pairs.image.to_f64()).sum();
        let labels: u32 = given.iter().flat_map(|pairs| pairs.labels).sum();
        let mut stream = Stream::new(context.seed, "toy", context.resume.map_or(0, |from| from.iteration));
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let mut weights = |dims: usize| {
            (0..dims * COMMON).map(|_| (stream.normal() * (sum + f64::from(labels))) as f32).collect::<Vec<_>>()
        };
        Ok(Box::new(FittedToy { weights: [weights(DIMS[0]), weights(DIMS[1])], fault: self.fault }))
    }
}

impl FittedToy {
    fn embed(&self, side: usize, rows: Rows<'_>) -> Embedding {
        #[allow(clippy::cast_possible_truncation)]
        let of_row = |row: Vec<f64>| -> Vec<f32> {
            let column =
                |c| row.iter().enumerate().map(|(k, value)| *value as f32 * self.weights[side][k * COMMON + c]).sum();
            (0..COMMON).map(column).collect()
        };
        let mut values: Vec<f32> = (0..rows.rows()).flat_map(|i| of_row(rows.row(i).to_f64())).collect();
        let mut count = rows.rows();
        match self.fault {
            Fault::NotANumber if side == 1 => values[2 * COMMON + 1] = f32::NAN,
            Fault::RowMissing => {
                count -= 1;
                values.truncate(count * COMMON);
            }
            Fault::ValueMissing => drop(values.pop()),
            Fault::Constant => values.fill(1.0),
            Fault::OneSideWide if side == 0 => {
                let values = EmbeddingValues::F64(values.iter().map(|&v| f64::from(v)).collect());
                return Embedding { rows: count, dims: COMMON, values };
            }
            _ => {}
        }
        Embedding { rows: count, dims: COMMON, values: EmbeddingValues::F32(values) }
    }
}

impl Fitted for FittedToy {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        Ok(self.embed(0, rows))
    }
    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        Ok(self.embed(1, rows))
    }
    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let tensor = |name: &str, side: usize| NamedTensor {
            name: name.into(),
            shape: vec![DIMS[side], COMMON],
            values: Values::F32(self.weights[side].clone()),
        };
        Ok(vec![tensor("image", 0), tensor("text", 1)])
    }
    fn selected_iteration(&self) -> u64 {
        12
    }
}

/// Forty random pairs in five classes: 20 train, 8 validation, 12 test.
struct Features {
    matrices: [Vec<f32>; 2],
    labels: Vec<u32>,
    rows: Vec<u32>,
}

impl Features {
    fn new() -> Self {
        let mut stream = Stream::new(5, "features", 0);
        #[allow(clippy::cast_possible_truncation)]
        let mut matrix = |dims: usize| (0..40 * dims).map(|_| stream.normal() as f32).collect();
        Self {
            matrices: [matrix(DIMS[0]), matrix(DIMS[1])],
            labels: (0..40).map(|i| i % 5).collect(),
            rows: (0..40).collect(),
        }
    }

    fn pairs(&self, from: usize, to: usize) -> Pairs<'_> {
        let rows = |side: usize| Rows::new(&self.matrices[side][..], DIMS[side], &self.rows[from..to]);
        Pairs::new(rows(0), rows(1), &self.labels[from..to])
    }

    fn splits(&self) -> Splits<'_> {
        let training = TrainingData::new(self.pairs(0, 20), self.pairs(20, 28), 5);
        Splits { training, test: self.pairs(28, 40) }
    }
}

fn specification() -> RunSpec {
    let features = ExtractionSpec {
        data_set: "random".into(),
        split: experiment_spec::run::SplitName::Official,
        data_set_version: "1".into(),
        encoder: "none".into(),
        encoder_revision: 1,
        epochs: 1,
        seed: 1,
        patches: false,
    };
    let parameters: Parameters = BTreeMap::from([("scale".into(), ParameterValue::Float(2.0))]);
    RunSpec {
        method: "toy".into(),
        method_revision: 3,
        program: None,
        parameters,
        features,
        seed: 9,
        protocol: REVISION,
    }
}

fn outcome(fault: Fault, spec: &RunSpec, splits: &Splits<'_>) -> Result<Outcome> {
    run(&Toy { fault }, spec, splits, "cpu/test/0".into(), &mut Silent, None)
}

fn refused(fault: Fault, spec: &RunSpec, splits: &Splits<'_>) -> Error {
    outcome(fault, spec, splits).map(|_| ()).expect_err("it must be refused")
}

#[test]
fn an_outcome_holds_scores_embeddings_and_model() {
    let features = Features::new();
    let done = outcome(Fault::None, &specification(), &features.splits()).expect("a run");
    let scores = &done.scores;
    assert_eq!(scores.scores, evaluate(&done.image, &done.text, &features.labels[28..], 5).expect("scores"));
    assert_eq!((scores.kind.as_str(), scores.selected_iteration), ("cpu/test/0", 12));
    assert_eq!((done.image.rows, done.text.rows, done.model.len()), (12, 12, 2));
    for (name, want) in
        [("train-pairs", 20.0), ("validation-pairs", 8.0), ("test-pairs", 12.0), ("embedding-dims", 4.0)]
    {
        assert!((scores.facts[name] - want).abs() < f64::EPSILON, "{name}");
    }
    for task in Task::ALL {
        for normalisation in Normalisation::ALL {
            let of_both = |s: &&_| -> bool {
                let s: &experiment_spec::scores::Score = s;
                s.task == task && s.normalisation == normalisation
            };
            assert_eq!(scores.scores.iter().filter(of_both).count(), 1);
        }
    }
    let from = Checkpoint { iteration: 4, tensors: vec![], facts: BTreeMap::new() };
    let resumed = run(&Toy::default(), &specification(), &features.splits(), String::new(), &mut Silent, Some(from));
    assert_ne!(resumed.expect("a run").model, done.model, "the checkpoint reaches the method");
}

#[test]
fn labels_of_the_test_split_reach_no_method() {
    let features = Features::new();
    let first = outcome(Fault::None, &specification(), &features.splits()).expect("a run");
    let mut permuted = Features::new();
    permuted.labels[28..].rotate_left(1);
    let second = outcome(Fault::None, &specification(), &permuted.splits()).expect("a run");
    assert_eq!((&first.model, &first.image, &first.text), (&second.model, &second.image, &second.text));
    assert_ne!(first.scores.scores, second.scores.scores, "the labels do count in the scores");
    // The same change in the training labels is seen, so the comparison above can fail.
    permuted.labels[0] += 1;
    let third = outcome(Fault::None, &specification(), &permuted.splits()).expect("a run");
    assert_ne!(first.model, third.model);
}

#[test]
fn features_of_the_test_split_reach_no_fit() {
    let first = outcome(Fault::None, &specification(), &Features::new().splits()).expect("a run");
    let mut changed = Features::new();
    changed.matrices[0][28 * DIMS[0]..].iter_mut().for_each(|value| *value += 1.0);
    let second = outcome(Fault::None, &specification(), &changed.splits()).expect("a run");
    assert_eq!(first.model, second.model);
    assert_ne!(first.image, second.image);
}

#[test]
fn a_tenth_is_carved_off_only_for_a_method_that_chooses_on_a_split_without_validation() {
    let features = Features::new();
    let none = features.pairs(20, 20);
    let training = TrainingData::new(features.pairs(0, 20), none, 5);
    let counts = |chooses: bool, training| {
        let mut spec = specification();
        if chooses {
            spec.parameters.insert("chooses".into(), ParameterValue::Bool(true));
        }
        let splits = Splits { training, test: features.pairs(28, 40) };
        let facts = outcome(Fault::None, &spec, &splits).expect("a run").scores.facts;
        assert!(facts["fit-peak-memory-bytes"] > 1e6);
        [facts["train-pairs"], facts["validation-pairs"]].map(|count| count.to_string())
    };
    assert_eq!(counts(false, training), ["20", "0"]);
    assert_eq!(counts(true, training), ["15", "5"], "a tenth of four pairs a class is one");
    assert_eq!(counts(true, features.splits().training), ["20", "8"]);
}

#[test]
fn embeddings_that_break_the_contract_are_refused() {
    let features = Features::new();
    let refused = |fault| refused(fault, &specification(), &features.splits());
    let not_a_number = refused(Fault::NotANumber);
    assert!(matches!(&not_a_number, Error::Nan { iteration: 12, .. }), "{not_a_number:?}");
    assert!(not_a_number.to_string().contains("row 2, column 1 of the text embedding"), "{not_a_number}");
    for (fault, sentence) in [
        (Fault::RowMissing, "embedded 12 test images as 11 rows of 4 columns in 44 values"),
        (Fault::ValueMissing, "embedded 12 test images as 12 rows of 4 columns in 47 values"),
        (Fault::OneSideWide, "different element types"),
        (Fault::Constant, "100.0 % of the neighbours in the rankings of image->text"),
    ] {
        let error = refused(fault);
        assert!(matches!(&error, Error::User(text) if text.contains(sentence)), "{error:?}");
    }
}

#[test]
fn specifications_and_splits_that_do_not_fit_are_refused() {
    let features = Features::new();
    let splits = features.splits();
    for spec in [
        RunSpec { method: "other".into(), ..specification() },
        RunSpec { method_revision: 2, ..specification() },
        RunSpec { protocol: REVISION + 1, ..specification() },
    ] {
        assert!(matches!(refused(Fault::None, &spec, &splits), Error::User(_)));
    }
    let data = |splits: &Splits<'_>, sentence: &str| {
        let error = refused(Fault::None, &specification(), splits);
        assert!(matches!(&error, Error::Data(text) if text.contains(sentence)), "{error:?}");
    };
    data(&Splits { test: features.pairs(28, 28), ..splits }, "the test split has no pairs");
    let no_train = TrainingData { train: features.pairs(0, 0), ..splits.training };
    data(&Splits { training: no_train, ..splits }, "the training split has no pairs");
    let few_classes = TrainingData { classes: 4, ..splits.training };
    data(&Splits { training: few_classes, ..splits }, "has label 4, but there are 4 classes");
    let swapped = Pairs::new(splits.test.text, splits.test.image, splits.test.labels);
    data(&Splits { test: swapped, ..splits }, "features of the test split have (2, 3) columns");
}

#[test]
fn the_observer_reaches_the_method() {
    struct Stopping;
    impl Observer for Stopping {
        fn iteration(&mut self, iteration: u64, _: u64, _: f64, _: &[(&str, f64)]) -> Result<()> {
            Err(Error::Stopped(iteration))
        }
        fn wants_checkpoint(&self, _: u64) -> bool {
            false
        }
        fn checkpoint(&mut self, _: &Checkpoint) -> Result<()> {
            Ok(())
        }
        fn log(&mut self, _: &str) {}
    }
    let features = Features::new();
    let toy = Toy { fault: Fault::Stopped };
    let stopped = run(&toy, &specification(), &features.splits(), String::new(), &mut Stopping, None);
    assert!(matches!(stopped, Err(Error::Stopped(1))));
}
