//! From a submission to its steps: which runs there are, in which order, and which features they read.

use std::collections::{HashMap, hash_map::Entry};

use crate::{
    catalog::{Catalog, MethodEntry},
    ids::ContentHash,
    run::{ExtractionSpec, RunSpec, StepSpec},
    spec::{DataSetChoice, Submission},
};

/// All steps of a submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Extractions, each once, in the order in which runs first need them.
    pub extractions: Vec<PlannedExtraction>,
    /// Runs, breadth first: for each seed, for each seed of the encoders, for each data set, every row. So every cell gets
    /// its first seed before any gets its second.
    pub runs: Vec<PlannedRun>,
}

/// One extraction of features.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedExtraction {
    /// What it computes.
    pub spec: ExtractionSpec,
    /// Its identity.
    pub fingerprint: ContentHash,
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRun {
    /// Label of its row.
    pub label: String,
    /// Its data set with its split, as it is shown.
    pub data_set: String,
    /// Its seed.
    pub seed: u64,
    /// What it computes.
    pub spec: RunSpec,
    /// Its identity: the label has no part in it.
    pub fingerprint: ContentHash,
    /// Index in [`Plan::extractions`] of the features it reads.
    pub extraction: usize,
}

/// Expands a submission. Pure: the same submission and catalog give the same plan, and no two of its runs
/// have one fingerprint.
///
/// # Panics
/// When the catalog lacks what the submission names: `catalog` must be the one it was parsed with.
#[must_use]
pub fn plan(submission: &Submission, catalog: &Catalog) -> Plan {
    let mut plan = Plan { extractions: Vec::new(), runs: Vec::with_capacity(submission.run_count()) };
    let mut known: HashMap<ContentHash, usize> = HashMap::new();
    // The first encoder seed of every data set before the second of any, as with the seeds of the runs.
    let mut features = Vec::with_capacity(submission.data_sets.len());
    for place in 0..submission.encoder_seeds.len() {
        for choice in &submission.data_sets {
            let Some(seed) = submission.encoder_seeds_of(choice).get(place) else { continue };
            let spec = extraction(choice, *seed, submission, catalog);
            let fingerprint = StepSpec::Extraction(spec.clone()).fingerprint();
            let index = match known.entry(fingerprint) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    plan.extractions.push(PlannedExtraction { spec, fingerprint });
                    *new.insert(plan.extractions.len() - 1)
                }
            };
            features.push((choice, index));
        }
    }
    for seed in &submission.seeds {
        for (choice, index) in &features {
            for row in &submission.rows {
                let method = method(&row.method, catalog);
                let parameters = row.parameters.get(&choice.shown());
                let step = StepSpec::Run(RunSpec {
                    method: row.method.clone(),
                    method_revision: method.revision,
                    program: row.program.clone(),
                    parameters: parameters.expect("a row has parameters for every data set of its file").clone(),
                    features: plan.extractions[*index].spec.clone(),
                    seed: *seed,
                    protocol: catalog.protocol,
                });
                let fingerprint = step.fingerprint();
                let StepSpec::Run(spec) = step else { unreachable!("made a run two statements above") };
                plan.runs.push(PlannedRun {
                    label: row.label.clone(),
                    data_set: choice.shown(),
                    seed: *seed,
                    spec,
                    fingerprint,
                    extraction: *index,
                });
            }
        }
    }
    plan
}

/// What the extraction for this data set with this seed of its encoder computes.
fn extraction(choice: &DataSetChoice, seed: u64, submission: &Submission, catalog: &Catalog) -> ExtractionSpec {
    let data_set =
        catalog.data_set(&choice.data_set).expect("the catalog has the data sets of what was parsed with it");
    let encoder = catalog.encoder(&choice.encoder).expect("the catalog has the encoders of what was parsed with it");
    // What trains nothing is made once, whatever the submission says of training.
    let (epochs, seed) = encoder
        .networks
        .as_ref()
        .map_or((0, 0), |networks| (submission.encoder_epochs.unwrap_or(networks.default_epochs), seed));
    ExtractionSpec {
        data_set: data_set.key.clone(),
        data_set_version: data_set.version.clone(),
        split: choice.split,
        encoder: encoder.key.clone(),
        encoder_revision: encoder.revision,
        epochs,
        seed,
    }
}

/// The method of that key.
fn method<'c>(key: &str, catalog: &'c Catalog) -> &'c MethodEntry {
    catalog.method(key).expect("the catalog has the methods of what was parsed with it")
}
