//! What is known of one run when tables are made.

use crate::{
    code::CodeVersion,
    run::{RunSpec, State},
    scores::Scores,
};

/// One run of a submission with its scores, if it has any. Lists of records are in the order of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Name of the submission.
    pub submission: String,
    /// Key of the data set.
    pub data_set: String,
    /// Key of the method.
    pub method: String,
    /// Label of the row.
    pub label: String,
    /// Seed of the run.
    pub seed: u64,
    /// State of the run.
    pub state: State,
    /// Why its last attempt failed, kind first (`nan: ...`).
    pub failure: Option<String>,
    /// Its scores; they count only when the run has succeeded.
    pub scores: Option<Scores>,
    /// Seed of the encoder whose features it reads.
    pub encoder_seed: u64,
    /// Content hash of these features; empty until they are made.
    pub features_hash: String,
    /// Work of all its attempts, in seconds.
    pub seconds: f64,
    /// The programs its scores come from: more than one when an attempt went on from another's checkpoint.
    pub codes: Vec<CodeVersion>,
    /// The resolved specification, where it is known.
    pub spec: Option<RunSpec>,
}

impl RunRecord {
    /// The scores that count: a run that failed has none, whatever is stored beside it.
    #[must_use]
    pub fn counted(&self) -> Option<&Scores> {
        self.scores.as_ref().filter(|_| self.state == State::Succeeded)
    }
}
