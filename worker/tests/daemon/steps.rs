//! What the attempts of these tests compute: small things by the name of their method.

use std::{collections::BTreeMap, thread, time::Duration};

use experiment_spec::{
    catalog::{ParameterValue, Parameters},
    code::{CodeVersion, Revision},
    run::{ExtractionSpec, RunSpec, StepSpec},
};
use orchestrator_worker::{Compute, Computed, Retrieval, Start};
use retrieval::{
    checkpoint::{Checkpoint, NamedTensor, Values, write_tensors},
    datasets::folders::DataFolders,
    error::{Error, Result},
    kind::Backend,
    method::Observer,
};

/// The artifact of a step that succeeds.
pub(crate) const MODEL: &str = "model.safetensors";

/// Weights of a large one: it is sent in five parts.
const LARGE: u32 = 40_000;

/// What the attempts say they are made by.
pub(crate) fn code() -> CodeVersion {
    let revision = Some(Revision { hash: "5e18d9d".into(), dirty: true });
    CodeVersion { version: "0.1.0".into(), revision, compiler: "rustc 1.95.0".into() }
}

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
        patches: false,
    };
    StepSpec::Run(RunSpec {
        method: method.into(),
        method_revision: 1,
        program: None,
        parameters: BTreeMap::new(),
        features,
        seed: iterations,
        protocol: 1,
    })
}

/// The extraction that such a step reads the features of.
pub(crate) fn extraction() -> StepSpec {
    let StepSpec::Run(run) = step("toy", 1) else { unreachable!("a run") };
    StepSpec::Extraction(run.features)
}

/// A run of the real CM-GANs, the ablation CAE: the encoders and decoders alone, narrow, for 20 iterations.
pub(crate) fn cae() -> StepSpec {
    let StepSpec::Run(toy) = step("cm-gans", 1) else { unreachable!("a run") };
    let catalog = retrieval::catalog::catalog(&DataFolders::default());
    let method = catalog.method("cm-gans").unwrap();
    let mut parameters: Parameters = method.parameters.iter().map(|p| (p.key.clone(), p.default.clone())).collect();
    let counts = [("hidden", 4), ("iterations", 20), ("batch-size", 8)];
    parameters.extend(counts.map(|(key, value)| (key.to_owned(), ParameterValue::Integer(value))));
    parameters.insert("adversarial".to_owned(), ParameterValue::Bool(false));
    StepSpec::Run(RunSpec { method_revision: method.revision, parameters, ..toy })
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

/// A GPU that never answers.
pub(crate) const DEAD_GPU: u32 = 9;

impl Compute for Steps {
    fn runs_on_gpu(&self, start: &Start) -> bool {
        !matches!(&start.spec, StepSpec::Run(spec) if spec.method == "processor")
    }

    /// Looks at no GPU: this build may have none.
    fn choose_gpu(&self) -> Result<()> {
        let shown = std::env::var("CUDA_VISIBLE_DEVICES").unwrap();
        if shown == DEAD_GPU.to_string() { Err(Error::Gpu(format!("GPU {shown} does not answer"))) } else { Ok(()) }
    }

    fn compute(
        &self,
        start: &Start,
        kind: String,
        resume: Option<Checkpoint>,
        observer: &mut dyn Observer,
    ) -> Result<Computed> {
        let StepSpec::Run(spec) = &start.spec else { return leave_weights(start) };
        match spec.method.as_str() {
            "cm-gans" => {
                let kind = retrieval::kind::kind(Backend::Cpu);
                let features = start.features.first().map(|(_, path)| path.as_path());
                let data = DataFolders::default();
                let computed =
                    retrieval::step::compute(&start.spec, &data, features, &start.folder, kind, observer, resume)?;
                let scores_json = serde_json::to_string(&computed.scores).unwrap();
                return Ok(Computed { scores_json, artifacts: computed.artifacts });
            }
            "external" => return Retrieval.compute(start, kind, resume, observer),
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
            "data" => {
                let file = |name: &str| DataFolders(start.data_folders.clone()).find("set").unwrap().join(name);
                let read = |name: &str| (start.data_folders.len(), std::fs::read_to_string(file(name)).unwrap());
                observer.log(&format!("{:?}", ["a.npy", "b.npy"].map(read)));
            }
            "devices" | "processor" => {
                let shown = ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"].map(std::env::var);
                observer.log(&format!("{shown:?}"));
                return Ok(Computed { scores_json: kind, artifacts: Vec::new() });
            }
            "large" => return leave_weights(start),
            "escape" => {
                let outside = Computed { scores_json: "{}".into(), artifacts: vec!["../attempt".into()] };
                return Ok(outside);
            }
            _ => {}
        }
        train(spec.seed, start, resume, observer)
    }
}

fn leave_weights(start: &Start) -> Result<Computed> {
    let values = Values::F64((0..LARGE).map(f64::from).collect());
    let tensor = NamedTensor { name: "weights".into(), shape: vec![LARGE as usize], values };
    write_tensors(&start.folder.join(MODEL), &[tensor], &BTreeMap::new())?;
    Ok(Computed { scores_json: "{}".into(), artifacts: vec![MODEL.into()] })
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
