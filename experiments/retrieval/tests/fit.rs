//! The training loop of CM-GANs: what it learns on synthetic pairs, that it repeats itself, and that it
//! goes on from a checkpoint of any iteration to the same bits (spec G.2, 11 and 12).

mod common;

use common::synthetic::Synthetic;
use experiment_spec::catalog::{ParameterValue, Parameters};
use retrieval::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    method::{FitContext, Fitted, Observer, TrainingData},
    metrics::map::bi_modal_average,
    registry,
};

fn parameters(said: &[(&str, ParameterValue)]) -> Parameters {
    said.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn whole(value: i64) -> ParameterValue {
    ParameterValue::Integer(value)
}

fn text(value: &str) -> ParameterValue {
    ParameterValue::Text(value.into())
}

/// Iteration, loss and metrics of one report.
type Point = (u64, f64, Vec<(String, f64)>);

/// Keeps every point, checkpoint and line; stops where it is told to.
#[derive(Default)]
struct Everything {
    points: Vec<Point>,
    checkpoints: Vec<Checkpoint>,
    lines: Vec<String>,
    keep: bool,
    stop_at: Option<u64>,
}

impl Observer for Everything {
    fn iteration(&mut self, iteration: u64, _: u64, loss: f64, metrics: &[(&str, f64)]) -> Result<()> {
        let metrics = metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        self.points.push((iteration, loss, metrics));
        if self.stop_at == Some(iteration) { Err(Error::Stopped(iteration)) } else { Ok(()) }
    }
    fn wants_checkpoint(&self, _: u64) -> bool {
        self.keep
    }
    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.checkpoints.push(checkpoint.clone());
        Ok(())
    }
    fn log(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }
}

#[allow(clippy::large_types_passed_by_value)] // as the method takes it
fn fit(
    data: TrainingData<'_>,
    parameters: &Parameters,
    seed: u64,
    observer: &mut Everything,
    resume: Option<Checkpoint>,
) -> Result<Box<dyn Fitted>> {
    let method = registry::find("cm-gans").expect("CM-GANs is in the registry");
    method.fit(data, FitContext { parameters, seed, observer, resume, unlabelled: None })
}

/// Test bi-modal average on the setting of spec G.3.
fn synthetic_map(said: &[(&str, ParameterValue)]) -> f64 {
    let set = |split, per_class| Synthetic::new(10, per_class, (64, 32), (1.5, 1.05), split);
    let (train, held_out) = (set("train", 100), set("test", 30));
    let data = TrainingData::new(train.pairs(), held_out.pairs(), 10);
    let mut said = said.to_vec();
    said.extend([("hidden", whole(128)), ("inter-hidden", whole(128)), ("lr-decay-every", whole(0))]);
    let model = fit(data, &parameters(&said), 1, &mut Everything::default(), None).unwrap();
    let pairs = held_out.pairs();
    let (image, text) = (model.embed_image(pairs.image).unwrap(), model.embed_text(pairs.text).unwrap());
    bi_modal_average(&image, &text, pairs.labels).unwrap()
}

#[test]
fn the_full_model_passes_0_9_on_synthetic_pairs() {
    let map = synthetic_map(&[("iterations", whole(100))]);
    println!("full model: {map:.3}");
    assert!(map > 0.9, "{map}");
}

#[test]
fn cae_aligns_the_modalities_through_a_shared_head_only() {
    let cae = |head: &str| {
        synthetic_map(&[
            ("adversarial", ParameterValue::Bool(false)),
            ("softmax-head", text(head)),
            ("iterations", whole(100)),
        ])
    };
    let (shared, apart) = (cae("shared"), cae("per-modality"));
    println!("CAE: shared head {shared:.3}, two heads {apart:.3}, chance 0.116");
    assert!(shared > 0.5, "shared head: {shared}");
    assert!((apart - 0.116).abs() < 0.05, "two heads: {apart}");
}

fn tiny(split: &str) -> Synthetic {
    Synthetic::new(3, 8, (9, 7), (1.0, 1.0), split)
}

fn tiny_parameters(selection: &str) -> Parameters {
    parameters(&[
        ("hidden", whole(6)),
        ("inter-hidden", whole(4)),
        ("batch-size", whole(5)),
        ("generator-steps", whole(1)),
        ("iterations", whole(50)),
        ("lr-decay-every", whole(17)),
        ("learning-rate", ParameterValue::Float(0.01)),
        ("selection", text(selection)),
        ("select-every", whole(7)),
        ("feat-norm", text("zscore")),
    ])
}

#[test]
fn a_fit_resumed_at_any_iteration_ends_in_the_same_bits() {
    let (train, validation) = (tiny("train"), tiny("validation"));
    let data = TrainingData::new(train.pairs(), validation.pairs(), 3);
    for selection in ["last", "best-on-validation"] {
        let parameters = tiny_parameters(selection);
        let mut whole = Everything { keep: true, ..Everything::default() };
        let model = fit(data, &parameters, 4, &mut whole, None).unwrap();
        assert_eq!((whole.checkpoints.len(), whole.points.len()), (50, 50));
        for checkpoint in &whole.checkpoints[..] {
            let done = usize::try_from(checkpoint.iteration).unwrap();
            let mut rest = Everything { keep: true, ..Everything::default() };
            let resumed = fit(data, &parameters, 4, &mut rest, Some(checkpoint.clone())).unwrap();
            let place = format!("{selection}, resumed after iteration {done}");
            assert!(rest.points == whole.points[done..], "{place}: other metrics");
            assert!(rest.checkpoints == whole.checkpoints[done..], "{place}: another state");
            assert!(resumed.tensors().unwrap() == model.tensors().unwrap(), "{place}: another model");
            assert_eq!(resumed.selected_iteration(), model.selected_iteration(), "{place}");
        }
    }
}

#[test]
fn validation_chooses_the_best_of_what_it_saw() {
    let (train, validation) = (tiny("train"), tiny("validation"));
    let data = TrainingData::new(train.pairs(), validation.pairs(), 3);
    let mut seen = Everything::default();
    let model = fit(data, &tiny_parameters("best-on-validation"), 4, &mut seen, None).unwrap();
    let looks: Vec<(u64, f64)> = seen
        .points
        .iter()
        .filter_map(|(n, _, metrics)| {
            metrics.iter().find(|(name, _)| name == "validation-map").map(|(_, map)| (*n, *map))
        })
        .collect();
    let numbers: Vec<u64> = looks.iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers, (1..=7).map(|n| 7 * n).chain([50]).collect::<Vec<_>>());
    let best = looks.iter().fold((0, f64::MIN), |best, look| if look.1 > best.1 { *look } else { best });
    assert_eq!(model.selected_iteration(), best.0);
    assert!(best.0 < 50, "of no use when the last look is the best: {looks:?}");
    let pairs = validation.pairs();
    let (image, text) = (model.embed_image(pairs.image).unwrap(), model.embed_text(pairs.text).unwrap());
    let map = bi_modal_average(&image, &text, pairs.labels).unwrap();
    assert_eq!(map.to_bits(), best.1.to_bits(), "the weights kept are those that were scored");
}

#[test]
fn the_seed_decides_everything_and_metrics_are_complete() {
    let train = tiny("train");
    let data = TrainingData::new(train.pairs(), train.pairs(), 3);
    let run = |seed| {
        let mut seen = Everything::default();
        let model = fit(data, &tiny_parameters("last"), seed, &mut seen, None).unwrap();
        assert_eq!(model.selected_iteration(), 50);
        (model.tensors().unwrap(), seen.points)
    };
    let (first, again, other) = (run(1), run(1), run(2));
    assert!(first == again);
    assert!(first.0 != other.0);
    let names: Vec<&str> = first.1[0].2.iter().map(|(name, _)| name.as_str()).collect();
    let losses = ["loss/g_i", "loss/g_t", "loss/d_i", "loss/d_t", "loss/d_ci", "loss/d_ct"];
    let intra = ["logit/d_i/real", "logit/d_i/reconstruction", "logit/d_t/real", "logit/d_t/reconstruction"];
    let groups = ["real", "paired", "mismatched"];
    let inter = ["d_ci", "d_ct"].map(|player| groups.map(|group| format!("logit/{player}/{group}")));
    for name in losses.iter().chain(&intra).copied().chain(inter.iter().flatten().map(String::as_str)) {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let rates: Vec<f64> =
        first.1.iter().map(|(_, _, m)| m.iter().find(|(name, _)| name == "learning-rate").unwrap().1).collect();
    assert_eq!((rates[16], rates[17], rates[34]), (0.01, 0.005, 0.0025));
    let (_, loss, metrics) = &first.1[7];
    let of = |wanted: &str| metrics.iter().find(|(name, _)| name == wanted).unwrap().1;
    assert!((loss - of("loss/g_i") - of("loss/g_t")).abs() < 1e-12);
}

#[test]
fn bad_data_and_a_stop_are_said_clearly() {
    let train = tiny("train");
    let (image, texts) = ([1.0f32; 18], [1.0f32; 14]);
    let rows = |selection| {
        retrieval::features::Pairs::new(
            retrieval::features::Rows::new(&image[..], 9, selection),
            retrieval::features::Rows::new(&texts[..], 7, selection),
            &[1, 1][..selection.len()],
        )
    };
    let none = rows(&[]);
    let with = |train, validation, said: &Parameters, observer: &mut Everything| {
        let data = TrainingData::new(train, validation, 3);
        match fit(data, said, 1, observer, None) {
            Ok(_) => panic!("the fit should have failed"),
            Err(error) => error,
        }
    };
    let silent = &mut Everything::default();
    let one_class = with(rows(&[0, 1]), none, &tiny_parameters("last"), silent);
    assert!(matches!(&one_class, Error::Data(text) if text.contains("at least two")), "{one_class}");
    let nothing_to_choose_by = with(train.pairs(), none, &tiny_parameters("best-on-validation"), silent);
    assert!(nothing_to_choose_by.to_string().contains("selection: last"), "{nothing_to_choose_by}");
    let absurd = parameters(&[("hidden", whole(16_384)), ("batch-size", whole(4096))]);
    assert!(with(train.pairs(), none, &absurd, silent).to_string().contains("GiB"));

    let unknown_class = TrainingData::new(train.pairs(), none, 2);
    let refused = fit(unknown_class, &tiny_parameters("last"), 1, silent, None).err().unwrap();
    assert_eq!(refused.to_string(), "a training pair has label 2, but there are 2 classes");

    let mut stopping = Everything { stop_at: Some(7), keep: true, ..Everything::default() };
    let stopped = with(train.pairs(), none, &tiny_parameters("last"), &mut stopping);
    assert!(matches!(stopped, Error::Stopped(7)), "{stopped}");
    assert_eq!(stopping.checkpoints.last().map(|checkpoint| checkpoint.iteration), Some(6));

    let mut shorter = tiny_parameters("last");
    shorter.insert("iterations".into(), whole(5));
    let data = TrainingData::new(train.pairs(), none, 3);
    let beyond = fit(data, &shorter, 1, silent, stopping.checkpoints.pop()).err().unwrap();
    assert_eq!(beyond.to_string(), "the checkpoint is of iteration 6, beyond the last one, 5");

    let mut explosive = tiny_parameters("last");
    explosive.insert("learning-rate".into(), ParameterValue::Float(1.0));
    explosive.insert("recon-loss-weight".into(), ParameterValue::Float(1e6));
    explosive.insert("feat-norm".into(), text("raw"));
    let huge: Vec<f32> = (0..18).map(|n| if n % 2 == 0 { 1e30 } else { -1e30 }).collect();
    let pairs = retrieval::features::Pairs::new(
        retrieval::features::Rows::new(&huge[..], 9, &[0, 1]),
        retrieval::features::Rows::new(&texts[..], 7, &[0, 1]),
        &[0, 1],
    );
    let broken = with(pairs, none, &explosive, silent);
    assert!(matches!(&broken, Error::Nan { what, iteration: 1 } if what.contains("the loss of")), "{broken}");
}
