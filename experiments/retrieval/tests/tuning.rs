//! The two drivers of tuning on toy methods whose best candidate is known.

#![allow(clippy::large_types_passed_by_value, clippy::float_cmp)] // data as a method takes it; exact sums

mod common;

use std::collections::BTreeMap;

use common::synthetic::Synthetic;
use experiment_spec::{
    catalog::{MethodEntry, Parameter, ParameterValue, Parameters},
    scores::Tuning,
};
use retrieval::{
    checkpoint::{Checkpoint, NamedTensor, Values},
    error::{Error, Result},
    features::{Pairs, Rows},
    method::{Embedding, EmbeddingValues, FitContext, Fitted, Method, Observer, TrainingData},
    parameters::{count, float, floats, integers, tuned},
    tuning::{
        closed_form::{ClosedForm, Problem, Solution, Solved, Visit},
        iterative::{Iterative, Step, Trained, Training},
    },
};

/// An embedding that is better the nearer `strength` is to 1: the features of the first class's half, blurred.
struct Blurred {
    strength: f64,
    dims: usize,
    learnt: f64,
}

impl Blurred {
    fn embed(&self, rows: Rows<'_>) -> Embedding {
        let strange = 1.0 - self.strength;
        let values = (0..rows.rows())
            .flat_map(|row| {
                let noise = f64::from(u32::try_from(row * 7919 % 97).unwrap()) / 97.0 - 0.5;
                (0..self.dims).map(move |column| {
                    let value = rows.row(row).get(column);
                    self.strength * value + strange * 40.0 * noise * if column % 2 == 0 { 1.0 } else { -1.0 }
                })
            })
            .collect();
        Embedding { rows: rows.rows(), dims: self.dims, values: EmbeddingValues::F64(values) }
    }
}

impl Fitted for Blurred {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        Ok(self.embed(rows))
    }
    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        Ok(self.embed(rows))
    }
    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        Ok(vec![NamedTensor {
            name: "learnt".into(),
            shape: vec![2],
            values: Values::F64(vec![self.learnt, self.strength]),
        }])
    }
    fn selected_iteration(&self) -> u64 {
        0
    }
}

impl Solution for Blurred {
    fn dims(&self) -> usize {
        self.dims
    }
    fn truncate(&mut self, dims: usize) {
        self.dims = dims;
    }
}

fn entry(parameters: Vec<Parameter>) -> MethodEntry {
    MethodEntry {
        key: "toy".into(),
        label: "Toy".into(),
        revision: 1,
        objective: String::new(),
        reference: String::new(),
        parameters,
        presets: vec![],
        departures: vec![],
    }
}

fn strength() -> Parameter {
    tuned(float("strength", (0.0, 1.0), 0.5, ""), floats([0.2, 1.0, 0.6]))
}

fn real(parameters: &Parameters, key: &str) -> f64 {
    match parameters[key] {
        ParameterValue::Float(value) => value,
        ref other => panic!("{key} is {other}"),
    }
}

/// Solves without doing anything; strength 0.2 has no solution.
struct Closed;

impl ClosedForm for Closed {
    fn entry(&self) -> MethodEntry {
        entry(vec![strength(), tuned(count("dims", (1, 64), 8, ""), integers([2, 8, 300]))])
    }
    fn solve(&self, problem: &Problem<'_>, settings: &[Parameters], visit: &mut Visit<'_>) -> Result<()> {
        for (index, parameters) in settings.iter().enumerate() {
            let (strength, learnt) = (real(parameters, "strength"), problem.train.image.to_f64().iter().sum());
            let dims = problem.most_dims.min(16);
            let found: Result<Box<dyn Solution>> = if strength < 0.3 {
                Err(Error::Data("too weak".into()))
            } else {
                Ok(Box::new(Blurred { strength, dims, learnt }))
            };
            visit(index, found)?;
        }
        Ok(())
    }
}

/// Adds up features step by step, a draw a step; every training ends early, at its fourth step of five. The first
/// steps may be the same for all; a strength below `breaks_below` ends in numbers that are none at step 3.
#[derive(Default)]
struct Stepwise {
    shared: u64,
    breaks_below: f64,
}

struct Adding<'a> {
    data: TrainingData<'a>,
    strength: f64,
    shared: u64,
    breaks: bool,
    sum: f64,
}

impl Iterative for Stepwise {
    fn entry(&self) -> MethodEntry {
        entry(vec![strength()])
    }
    fn looks_at_validation(&self, _: &Parameters) -> bool {
        false
    }
    fn shared_steps(&self, _: &Parameters) -> u64 {
        self.shared
    }
    fn begin<'a>(&self, data: TrainingData<'a>, parameters: &Parameters, _: u64) -> Result<Box<dyn Training + 'a>> {
        let strength = real(parameters, "strength");
        Ok(Box::new(Adding { data, strength, shared: self.shared, breaks: strength < self.breaks_below, sum: 0.0 }))
    }
}

impl Training for Adding<'_> {
    fn steps(&self) -> u64 {
        5
    }
    fn step(&mut self, step: u64) -> Result<Step> {
        let row = usize::try_from(step).unwrap() % self.data.train.rows();
        let strength = if step <= self.shared { 0.5 } else { self.strength };
        self.sum = 1.25 * self.sum + strength * self.data.train.image.row(row).get(0);
        let loss = if self.breaks && step == 3 { f64::NAN } else { self.sum };
        Ok(Step { loss, metrics: vec![("sum".into(), self.sum)], over: step == 4 })
    }
    fn state(&self) -> Result<Vec<NamedTensor>> {
        Ok(vec![NamedTensor { name: "sum".into(), shape: vec![1], values: Values::F64(vec![self.sum]) }])
    }
    fn restore(&mut self, _: u64, tensors: Vec<NamedTensor>) -> Result<()> {
        let Values::F64(values) = &tensors[0].values else { panic!("the sum is f64") };
        self.sum = values[0];
        Ok(())
    }
    fn fitted(&self) -> Result<Box<dyn Fitted>> {
        Ok(Box::new(Blurred { strength: self.strength, dims: 8, learnt: self.sum }))
    }
}

/// Keeps every checkpoint; stops at an iteration.
#[derive(Default)]
struct Keeper {
    checkpoints: Vec<Checkpoint>,
    iterations: Vec<(u64, u64)>,
    stop_at: Option<u64>,
}

impl Observer for Keeper {
    fn iteration(&mut self, iteration: u64, of: u64, _: f64, _: &[(&str, f64)]) -> Result<()> {
        self.iterations.push((iteration, of));
        if self.stop_at == Some(iteration) { Err(Error::Stopped(iteration)) } else { Ok(()) }
    }
    fn wants_checkpoint(&self, _: u64) -> bool {
        true
    }
    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.checkpoints.push(checkpoint.clone());
        Ok(())
    }
    fn log(&mut self, _: &str) {}
}

struct Sets {
    train: Synthetic,
    rest: Synthetic,
}

impl Sets {
    fn new() -> Self {
        let set = |n, split| Synthetic::new(4, n, (16, 16), (0.4, 0.4), split);
        Self { train: set(8, "train"), rest: set(6, "validation") }
    }
    /// Both modalities are the same one, so that features are a common space.
    fn data(&self) -> TrainingData<'_> {
        let (train, validation) = (self.train.pairs(), self.rest.pairs());
        TrainingData::new(Pairs { text: train.image, ..train }, Pairs { text: validation.image, ..validation }, 4)
    }
}

fn fit(
    method: &dyn Method,
    data: TrainingData<'_>,
    said: &Parameters,
    keeper: &mut Keeper,
    resume: Option<Checkpoint>,
) -> Result<(Vec<NamedTensor>, Option<Tuning>, Vec<String>)> {
    let context = FitContext { parameters: said, seed: 1, observer: keeper, resume, unlabelled: None };
    let fitted = method.fit(data, context)?;
    let record = fitted.record();
    Ok((fitted.tensors()?, record.tuning, record.notes))
}

fn learnt(tensors: &[NamedTensor]) -> [f64; 2] {
    match &tensors[0].values {
        Values::F64(values) => [values[0], values[1]],
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_form_records_every_candidate_and_is_solved_again_on_all_pairs() {
    let sets = Sets::new();
    let data = sets.data();
    // As the protocol does where the split has no validation pairs: they are part of all.
    let carved = TrainingData { train: data.validation, validation: data.train, all: data.train, ..data };
    let (tensors, tuning, _) = fit(&Solved(Closed), carved, &Parameters::new(), &mut Keeper::default(), None).unwrap();
    let tuning = tuning.expect("there was something to choose");
    assert_eq!(tuning.candidates.len(), 9);
    assert_eq!((tuning.validation_pairs, tuning.carved), (32, true));
    assert_eq!(tuning.candidates[0].validation_map, Err("too weak".into()));
    assert_eq!(tuning.candidates[5].validation_map, Err("the features have 16 components".into()));
    let chosen = &tuning.candidates[tuning.chosen].parameters;
    assert_eq!((real(chosen, "strength"), &chosen["dims"]), (1.0, &ParameterValue::Integer(8)));
    let sum: f64 = data.train.image.to_f64().iter().sum();
    assert_eq!(learnt(&tensors), [sum, 1.0], "the last fit saw all pairs");
    assert!(Solved(Closed).chooses(&Parameters::new()));
}

#[test]
fn with_everything_fixed_nothing_is_held_out_and_nothing_recorded() {
    let fixed: Parameters =
        [("strength".into(), ParameterValue::Float(0.6)), ("dims".into(), ParameterValue::Integer(40))].into();
    let sets = Sets::new();
    let data = sets.data();
    assert!(!Solved(Closed).chooses(&fixed));
    let none = TrainingData { validation: data.validation.none(), ..data };
    let (tensors, tuning, notes) = fit(&Solved(Closed), none, &fixed, &mut Keeper::default(), None).unwrap();
    assert_eq!((learnt(&tensors)[1], tuning), (0.6, None));
    assert_eq!(notes, ["16 components are kept, not 40: the features have no more"]);
    let error = fit(&Solved(Closed), none, &Parameters::new(), &mut Keeper::default(), None).unwrap_err();
    assert!(error.to_string().contains("no validation pairs"), "{error}");
}

#[test]
fn a_stepwise_training_keeps_its_best_candidate_and_says_what_it_did_not_learn_from() {
    let sets = Sets::new();
    let data = sets.data();
    let mut keeper = Keeper::default();
    let (tensors, tuning, notes) =
        fit(&Trained(Stepwise::default()), data, &Parameters::new(), &mut keeper, None).unwrap();
    let tuning = tuning.expect("there was something to choose");
    assert_eq!((tuning.candidates.len(), tuning.chosen, tuning.carved), (3, 1, false));
    assert_eq!(learnt(&tensors)[1], 1.0);
    assert!(notes.is_empty());
    let told: Vec<u64> = keeper.iterations.iter().map(|(iteration, _)| *iteration).collect();
    assert_eq!(told, [1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15], "the fourth step is the last of five");
    let carved = TrainingData { all: data.validation, train: data.train, ..data };
    assert!(!carved.is_carved(), "fewer pairs in all than in train would be another mistake");
    let carved = TrainingData { train: data.validation, validation: data.validation, all: data.train, classes: 4 };
    let (_, tuning, notes) =
        fit(&Trained(Stepwise::default()), carved, &Parameters::new(), &mut Keeper::default(), None).unwrap();
    assert!(tuning.unwrap().carved);
    assert_eq!(notes, ["learnt from 24 of 32 training pairs: a tenth was held out to choose by"]);
}

#[test]
fn steps_that_all_candidates_share_are_made_once() {
    let sets = Sets::new();
    let method = Trained(Stepwise { shared: 2, ..Stepwise::default() });
    let mut keeper = Keeper::default();
    let (tensors, tuning, _) = fit(&method, sets.data(), &Parameters::new(), &mut keeper, None).unwrap();
    let told: Vec<u64> = keeper.iterations.iter().map(|(iteration, _)| *iteration).collect();
    assert_eq!(told, [1, 2, 3, 5, 6, 8, 9, 11]);
    assert!(keeper.iterations.iter().all(|(_, of)| *of == 11));
    let chosen = tuning.unwrap();
    let fixed = chosen.candidates[chosen.chosen].parameters.clone();
    let (alone, _, _) = fit(&method, sets.data(), &fixed, &mut Keeper::default(), None).unwrap();
    assert_eq!(tensors, alone, "the chosen training is what it would have been alone");
}

#[test]
fn a_candidate_without_numbers_is_passed_over_and_said() {
    let sets = Sets::new();
    let broken = |shared, breaks_below| Trained(Stepwise { shared, breaks_below });
    let of = |method| fit(&method, sets.data(), &Parameters::new(), &mut Keeper::default(), None);
    let tuning = of(broken(0, 0.5)).unwrap().1.unwrap();
    let said: Vec<bool> = tuning.candidates.iter().map(|candidate| candidate.validation_map.is_ok()).collect();
    assert_eq!((said, tuning.chosen), (vec![false, true, true], 1));
    assert_eq!(tuning.candidates[0].validation_map.clone().unwrap_err(), "the loss is not a number at iteration 3");
    assert!(of(broken(0, 2.0)).unwrap_err().to_string().contains("no candidate could be scored"));
    assert!(matches!(of(broken(4, 2.0)).unwrap_err(), Error::Nan { iteration: 3, .. }), "all share the broken step");
    let fixed = Parameters::from([("strength".into(), ParameterValue::Float(0.2))]);
    let alone = fit(&broken(0, 0.5), sets.data(), &fixed, &mut Keeper::default(), None).unwrap_err();
    assert!(matches!(alone, Error::Nan { iteration: 3, .. }), "{alone}");
}

#[test]
fn resumed_at_any_checkpoint_both_drivers_end_with_the_same_bits() {
    let sets = Sets::new();
    let data = sets.data();
    let sharing = Trained(Stepwise { shared: 2, breaks_below: 0.5 });
    let methods: [(&str, &dyn Method, usize); 3] =
        [("closed", &Solved(Closed), 3), ("stepwise", &Trained(Stepwise::default()), 9), ("sharing", &sharing, 4)];
    for (name, method, count) in methods {
        let mut keeper = Keeper::default();
        let undisturbed = fit(method, data, &Parameters::new(), &mut keeper, None).unwrap();
        assert_eq!(keeper.checkpoints.len(), count, "{name}");
        for checkpoint in keeper.checkpoints {
            let at = checkpoint.iteration;
            let mut going_on = Keeper::default();
            let again = fit(method, data, &Parameters::new(), &mut going_on, Some(checkpoint)).unwrap();
            assert_eq!(again, undisturbed, "{name} from {at}");
            assert!(going_on.iterations.iter().all(|(iteration, _)| *iteration > at), "{name} from {at}");
        }
        let mut stopping = Keeper { stop_at: Some(2), ..Keeper::default() };
        let stopped = fit(method, data, &Parameters::new(), &mut stopping, None).unwrap_err();
        assert!(matches!(stopped, Error::Stopped(2)), "{stopped}");
        let broken = Checkpoint { iteration: 1, tensors: vec![], facts: BTreeMap::new() };
        let refused = fit(method, data, &Parameters::new(), &mut Keeper::default(), Some(broken)).unwrap_err();
        assert!(refused.to_string().contains("remove it and run again"), "{refused}");
    }
}
