//! The seam between the process of an attempt and what it computes.

use experiment_spec::run::{RunSpec, StepSpec};
use retrieval::{
    checkpoint::Checkpoint,
    datasets::folders::DataFolders,
    error::{Error, Result},
    method::Observer,
    nn::device,
    step,
};

use super::external::External;
use crate::command::Start;

/// What a step leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    /// `experiment_spec::scores::Scores` of a run, the facts of an extraction, as JSON.
    pub scores_json: String,
    /// Names of the files left in the step's folder.
    pub artifacts: Vec<String>,
}

/// Computes steps.
pub trait Compute {
    /// Whether the step is computed on the GPU when there is one; else it is the processor's in any case.
    fn runs_on_gpu(&self, start: &Start) -> bool;

    /// Takes the one GPU that this process sees. Called at most once, before anything is computed.
    ///
    /// # Errors
    /// When it cannot be used: nothing is computed on another device instead.
    fn choose_gpu(&self) -> Result<()>;

    /// Computes the step, going on from `resume`; `kind` is that of its scores.
    ///
    /// # Errors
    /// By kind, which decides whether another attempt is made.
    fn compute(
        &self,
        start: &Start,
        kind: String,
        resume: Option<Checkpoint>,
        observer: &mut dyn Observer,
    ) -> Result<Computed>;
}

/// The real thing: everything that the numeric crate can compute.
#[derive(Clone, Copy, Debug)]
pub struct Retrieval;

impl Compute for Retrieval {
    fn runs_on_gpu(&self, start: &Start) -> bool {
        step::runs_on_gpu(&start.spec)
    }

    fn choose_gpu(&self) -> Result<()> {
        device::choose_gpu()
    }

    fn compute(
        &self,
        start: &Start,
        kind: String,
        resume: Option<Checkpoint>,
        observer: &mut dyn Observer,
    ) -> Result<Computed> {
        let features = match start.features.as_slice() {
            [] => None,
            [(_, path)] => Some(path.as_path()),
            several => return Err(Error::Data(format!("one file of features expected, {} were given", several.len()))),
        };
        let computed = match &start.spec {
            StepSpec::Run(run @ RunSpec { program: Some(program), .. }) => {
                let method = External { start, program };
                step::run_method(&method, run, features, &start.folder, kind, observer, resume)?
            }
            spec => {
                let data = DataFolders(start.data_folders.clone());
                step::compute(spec, &data, features, &start.folder, kind, observer, resume)?
            }
        };
        let scores_json = serde_json::to_string(&computed.scores)
            .map_err(|error| Error::Data(format!("the scores cannot be written down: {error}")))?;
        Ok(Computed { scores_json, artifacts: computed.artifacts })
    }
}

#[cfg(test)]
mod tests {
    use experiment_spec::run::{ExtractionSpec, FailureKind};

    use super::*;

    fn start(spec: StepSpec) -> Start {
        Start {
            fingerprint: spec.fingerprint(),
            spec,
            folder: std::path::PathBuf::new(),
            data_folders: Vec::new(),
            features: Vec::new(),
            program_files: Vec::new(),
            time_limit_s: 0,
            memory_bytes: 0,
            threads: 1,
            simd: None,
            gpu: None,
            checkpoint: None,
            checkpoint_every: crate::CheckpointPolicy::default(),
            daemon_process: 1,
        }
    }

    #[test]
    fn a_gpu_is_for_methods_that_can_use_it_and_refused_by_a_program_without_cuda() {
        let features = ExtractionSpec {
            data_set: "emoji".into(),
            data_set_version: "1".into(),
            split: experiment_spec::run::SplitName::Official,
            encoder: "small".into(),
            encoder_revision: 1,
            epochs: 1,
            seed: 1,
            patches: false,
        };
        let run = |method: &str| {
            start(StepSpec::Run(RunSpec {
                method: method.into(),
                method_revision: 1,
                program: None,
                parameters: std::collections::BTreeMap::new(),
                features: features.clone(),
                seed: 1,
                protocol: 1,
            }))
        };
        assert!(Retrieval.runs_on_gpu(&run("cm-gans")) && !Retrieval.runs_on_gpu(&run("no-such-method")));
        assert!(!Retrieval.runs_on_gpu(&start(StepSpec::Extraction(features.clone()))));
        if cfg!(not(feature = "cuda")) {
            let refused = Retrieval.choose_gpu().unwrap_err();
            assert_eq!(refused.failure_kind(), FailureKind::Killed);
            assert!(refused.to_string().contains("without CUDA"), "{refused}");
        }
    }
}
