//! What the attempts of these tests compute: small things by the name of their method.

use std::{collections::BTreeMap, thread, time::Duration};

use experiment_spec::run::{ExtractionSpec, RunSpec, StepSpec};
use orchestrator_worker::{Compute, Computed, Start};
use retrieval::{
    checkpoint::{Checkpoint, NamedTensor, Values, write_tensors},
    error::{Error, Result},
    method::Observer,
};

/// The artifact of a step that succeeds.
pub(crate) const MODEL: &str = "model.safetensors";

/// A step whose seed is its number of iterations, a millisecond each.
pub(crate) fn step(method: &str, iterations: u64) -> StepSpec {
    let features = ExtractionSpec {
        data_set: "toy".into(),
        split: experiment_spec::run::SplitName::Official,
        data_set_version: "1".into(),
        encoder: "none".into(),
        encoder_revision: 1,
        epochs: 1,
        seed: 1,
    };
    StepSpec::Run(RunSpec {
        method: method.into(),
        method_revision: 1,
        parameters: BTreeMap::new(),
        features,
        seed: iterations,
        protocol: 1,
    })
}

/// The state after so many iterations: every one matters, in its order.
pub(crate) fn state_after(iterations: u64) -> f64 {
    (1..=iterations).fold(1.0, advance)
}

#[allow(clippy::cast_precision_loss)] // iterations of a test
fn advance(state: f64, iteration: u64) -> f64 {
    (state * 1.37 + iteration as f64).sin() + state * 0.25
}

pub(crate) struct Steps;

impl Compute for Steps {
    fn compute(&self, start: &Start, resume: Option<Checkpoint>, observer: &mut dyn Observer) -> Result<Computed> {
        let StepSpec::Run(spec) = &start.spec else { return Err(Error::User("runs only".into())) };
        match spec.method.as_str() {
            "hang" => loop {
                thread::sleep(Duration::from_mins(1));
            },
            "nan" => return Err(Error::Nan { what: "loss of the discriminator".into(), iteration: 7 }),
            "panic" => panic!("a broken invariant"),
            "exit" => std::process::exit(3),
            "chatter" => println!("a library prints to standard output"),
            "offspring" => {
                let mut offspring = std::process::Command::new("sleep").arg("60").spawn().unwrap();
                observer.log(&offspring.id().to_string());
                thread::spawn(move || offspring.wait());
            }
            "flood" => {
                for line in 0..200_000 {
                    eprintln!("line {line} {}", "x".repeat(100));
                }
            }
            "features" => {
                let read = |(name, path): &(String, std::path::PathBuf)| (name.clone(), std::fs::read(path).unwrap());
                observer.log(&format!("{:?}", start.features.iter().map(read).collect::<Vec<_>>()));
            }
            "escape" => {
                let outside = Computed { scores_json: "{}".into(), artifacts: vec!["../attempt".into()] };
                return Ok(outside);
            }
            _ => {}
        }
        train(spec.seed, start, resume, observer)
    }
}

fn train(iterations: u64, start: &Start, resume: Option<Checkpoint>, observer: &mut dyn Observer) -> Result<Computed> {
    let (mut state, from) = match resume {
        None => (1.0, 0),
        Some(checkpoint) => {
            let Values::F64(values) = &checkpoint.tensors[0].values else { panic!("a state of f64") };
            assert!(checkpoint.facts.is_empty(), "what the worker adds to a checkpoint stays its own");
            (values[0], checkpoint.iteration)
        }
    };
    let tensor = |state| NamedTensor { name: "state".into(), shape: vec![1], values: Values::F64(vec![state]) };
    for iteration in from + 1..=iterations {
        state = advance(state, iteration);
        thread::sleep(Duration::from_millis(1));
        observer.iteration(iteration, iterations, state, &[("state", state)])?;
        if observer.wants_checkpoint(iteration) {
            let tensors = vec![tensor(state)];
            observer.checkpoint(&Checkpoint { iteration, tensors, facts: BTreeMap::new() })?;
        }
    }
    write_tensors(&start.folder.join(MODEL), &[tensor(state)], &BTreeMap::new())?;
    Ok(Computed { scores_json: format!("{state:?}"), artifacts: vec![MODEL.into()] })
}
