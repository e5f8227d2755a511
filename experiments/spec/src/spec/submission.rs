//! What a submission says, resolved: every name checked, every parameter of every row present.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tables::TableSpec;
use crate::{
    catalog::Parameters,
    program::Program,
    run::{Resources, SplitName},
};

/// A submission as it was read from its file: a plain value, stored and sent as JSON. Planning it and
/// assembling its tables need nothing else of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Submission {
    /// Its name, by which users call it.
    pub name: String,
    /// Data sets in the order of the file.
    pub data_sets: Vec<DataSetChoice>,
    /// Seeds of the encoders' own training, in order; each different, at least one. Features of the data set's own have
    /// none.
    pub encoder_seeds: Vec<u64>,
    /// Passes of the encoder's training over the training pairs; the encoder's own number when absent.
    pub encoder_epochs: Option<u32>,
    /// Seeds of the runs, in order; each different.
    pub seeds: Vec<u64>,
    /// Rows in the order of the file, grids expanded; each label different.
    pub rows: Vec<MethodRow>,
    /// What each run takes of a worker.
    pub resources: Resources,
    /// How many further attempts a run gets when one fails for a reason that may pass.
    pub retries: u32,
    /// Tables to print; at least one.
    pub tables: Vec<TableSpec>,
    /// Data sets marked `if-present` that this installation does not have, as they are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

impl Submission {
    /// Number of runs: features times rows times seeds.
    #[must_use]
    pub fn run_count(&self) -> usize {
        let features: usize = self.data_sets.iter().map(|choice| self.encoder_seeds_of(choice).len()).sum();
        features * self.rows.len() * self.seeds.len()
    }

    /// Seeds of the encoder of one data set: one where nothing is trained, since all would give the same features.
    #[must_use]
    pub fn encoder_seeds_of(&self, choice: &DataSetChoice) -> &[u64] {
        let all = &self.encoder_seeds;
        if choice.trained { all } else { &all[..all.len().min(1)] }
    }
}

/// A data set with its split and the encoder that reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DataSetChoice {
    /// Key of the data set.
    pub data_set: String,
    /// How its pairs are divided.
    #[serde(default)]
    pub split: SplitName,
    /// Key of the encoder.
    pub encoder: String,
    /// Whether that encoder is trained, so that its seed counts.
    pub trained: bool,
}

impl DataSetChoice {
    /// The data set with its split, as it is shown.
    #[must_use]
    pub fn shown(&self) -> String {
        self.split.shown(&self.data_set)
    }
}

/// One row of the tables: a method with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MethodRow {
    /// Label, as printed; no part of the identity of a run.
    pub label: String,
    /// Key of the method.
    pub method: String,
    /// The program of the user's own that stands for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// Every parameter of the method, by the data set as it is shown (overrides may differ between them).
    pub parameters: BTreeMap<String, Parameters>,
}
