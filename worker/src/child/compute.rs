//! The seam between the process of an attempt and what it computes.

use retrieval::{
    checkpoint::Checkpoint,
    datasets::folders::DataFolders,
    error::{Error, Result},
    kind::{Backend, kind},
    method::Observer,
    step,
};

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
    /// Computes the step, going on from `resume`.
    ///
    /// # Errors
    /// By kind, which decides whether another attempt is made.
    fn compute(&self, start: &Start, resume: Option<Checkpoint>, observer: &mut dyn Observer) -> Result<Computed>;
}

/// The real thing: everything that the numeric crate can compute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retrieval;

impl Compute for Retrieval {
    fn compute(&self, start: &Start, resume: Option<Checkpoint>, observer: &mut dyn Observer) -> Result<Computed> {
        let features = match start.features.as_slice() {
            [] => None,
            [(_, path)] => Some(path.as_path()),
            several => return Err(Error::Data(format!("one file of features expected, {} were given", several.len()))),
        };
        let data = DataFolders(start.data_folders.clone());
        let computed = step::compute(&start.spec, &data, features, &start.folder, kind(Backend::Cpu), observer, resume)?;
        let scores_json = serde_json::to_string(&computed.scores)
            .map_err(|error| Error::Data(format!("the scores cannot be written down: {error}")))?;
        Ok(Computed { scores_json, artifacts: computed.artifacts })
    }
}
