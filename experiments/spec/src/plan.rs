//! From a submission to its steps: which runs there are, in which order, and which features they read.

use std::collections::HashMap;

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
    /// Which pass over all cells it belongs to, from 0: one for each seed and each seed of the encoders.
    pub round: u32,
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
    let features: Vec<(&DataSetChoice, ExtractionSpec, u32)> = (0..submission.encoder_seeds.len())
        .flat_map(|place| submission.data_sets.iter().map(move |choice| (choice, place)))
        .filter_map(|(choice, place)| Some((choice, *submission.encoder_seeds_of(choice).get(place)?, place)))
        .map(|(choice, seed, place)| (choice, extraction(choice, seed, submission, catalog), small(place)))
        .collect();
    let passes = small(submission.encoder_seeds.len().max(1));
    for (pass, seed) in (0..).zip(&submission.seeds) {
        for (choice, spec, place) in &features {
            for row in &submission.rows {
                let parameters = row.parameters.get(&choice.shown());
                let parameters = parameters.expect("a row has parameters for every data set of its file").clone();
                let method = method(&row.method, catalog);
                let patches = method.asks_for_patches(&parameters) && makes_patches(&spec.encoder, catalog);
                let features = ExtractionSpec { patches, ..spec.clone() };
                let extraction = interned(&mut plan.extractions, &mut known, &features);
                let step = StepSpec::Run(RunSpec {
                    method: row.method.clone(),
                    method_revision: method.revision,
                    program: row.program.clone(),
                    parameters,
                    features,
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
                    extraction,
                    round: pass * passes + place,
                });
            }
        }
    }
    plan
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("a submission has far fewer seeds")
}

/// Place of the extraction of `spec` among those planned, after which it is one of them.
fn interned(
    extractions: &mut Vec<PlannedExtraction>,
    known: &mut HashMap<ContentHash, usize>,
    spec: &ExtractionSpec,
) -> usize {
    let fingerprint = StepSpec::Extraction(spec.clone()).fingerprint();
    *known.entry(fingerprint).or_insert_with(|| {
        extractions.push(PlannedExtraction { spec: spec.clone(), fingerprint });
        extractions.len() - 1
    })
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
        patches: false,
    }
}

/// Whether the encoder of that key makes features of patches.
fn makes_patches(key: &str, catalog: &Catalog) -> bool {
    catalog.encoder(key).and_then(|encoder| encoder.networks.as_ref()).is_some_and(|networks| networks.patches)
}

/// The method of that key.
fn method<'c>(key: &str, catalog: &'c Catalog) -> &'c MethodEntry {
    catalog.method(key).expect("the catalog has the methods of what was parsed with it")
}
