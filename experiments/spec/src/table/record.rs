//! What is known of one run when tables are made.

use std::collections::{BTreeMap, BTreeSet};

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

/// Encoder seeds where they are a factor of their own: of the data sets whose runs read features of several. Empty where
/// every data set has one.
pub(super) fn encoder_factor<'a>(records: impl Iterator<Item = &'a RunRecord>) -> Vec<u64> {
    let mut seeds: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for record in records {
        seeds.entry(&record.data_set).or_default().insert(record.encoder_seed);
    }
    let several: BTreeSet<u64> = seeds.into_values().filter(|seeds| seeds.len() > 1).flatten().collect();
    several.into_iter().collect()
}
