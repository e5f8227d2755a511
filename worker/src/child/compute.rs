//! The seam between the process of an attempt and what it computes.

use retrieval::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    method::Observer,
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

/// The real thing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retrieval;

impl Compute for Retrieval {
    fn compute(&self, start: &Start, _: Option<Checkpoint>, _: &mut dyn Observer) -> Result<Computed> {
        Err(Error::User(format!("step {} cannot be computed by this program", start.fingerprint.short())))
    }
}
