//! One step, whatever it is: the only entry that an attempt's process needs.

use std::{collections::BTreeMap, path::Path};

use experiment_spec::{
    run::{RunSpec, StepSpec},
    scores::Scores,
};

use crate::{
    checkpoint::Checkpoint,
    datasets::folders::DataFolders,
    error::{Error, Result},
    extraction::{self, extract},
    feature_file::FeatureFile,
    features::Split,
    method::{Method, Observer},
    outcome, protocol, registry,
};

/// What a step leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    /// Scores of a run; of an extraction its facts alone.
    pub scores: Scores,
    /// Names of the files left in the step's folder.
    pub artifacts: Vec<String>,
}

/// Whether the step computes on the GPU when the process has taken one: runs of some methods do. All else
/// is the processor's.
#[must_use]
pub fn runs_on_gpu(step: &StepSpec) -> bool {
    match step {
        StepSpec::Extraction(_) => false,
        StepSpec::Run(spec) => registry::find(&spec.method).is_some_and(Method::runs_on_gpu),
    }
}

/// Computes a step in its folder. An extraction finds its data set in `data`; a run reads the features file `features`; `kind` is that of its scores
/// (see [`crate::kind`]); `resume` is what an earlier attempt left.
///
/// # Errors
/// By kind, which decides whether another attempt is made.
pub fn compute(
    step: &StepSpec,
    data: &DataFolders,
    features: Option<&Path>,
    folder: &Path,
    kind: String,
    observer: &mut dyn Observer,
    resume: Option<Checkpoint>,
) -> Result<Computed> {
    match step {
        StepSpec::Extraction(spec) => {
            let outcome = extract(spec, data, folder, observer, resume)?;
            let scores = Scores {
                scores: Vec::new(),
                kind,
                selected_iteration: 0,
                facts: outcome.facts,
                tuning: None,
                notes: Vec::new(),
            };
            Ok(Computed { scores, artifacts: vec![extraction::FILE.to_owned()] })
        }
        StepSpec::Run(spec) => {
            let method = registry::find(&spec.method)
                .ok_or_else(|| Error::User(format!("there is no method `{}` in this program", spec.method)))?;
            run_method(method, spec, features, folder, kind, observer, resume)
        }
    }
}

/// Trains and scores a run by this method, which need not be one of the registry.
///
/// # Errors
/// As [`compute`].
pub fn run_method(
    method: &dyn Method,
    spec: &RunSpec,
    features: Option<&Path>,
    folder: &Path,
    kind: String,
    observer: &mut dyn Observer,
    resume: Option<Checkpoint>,
) -> Result<Computed> {
    let path = features.ok_or_else(|| Error::Data("the run was started without its features".to_owned()))?;
    let features = FeatureFile::open(path)?;
    let splits = protocol::Splits { training: features.training_data(), test: features.pairs(Split::Test) };
    let mut outcome = protocol::run(method, spec, &splits, kind, observer, resume)?;
    outcome.scores.facts.extend(encoder_facts(&features));
    let written = outcome::write(folder, &outcome)?;
    let artifacts = written.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    Ok(Computed { scores: outcome.scores, artifacts: artifacts.collect() })
}

/// Accuracies of the encoders' heads, as they stand in the features file.
fn encoder_facts(features: &FeatureFile) -> BTreeMap<String, f64> {
    let numbers = features.facts().iter().filter_map(|(name, text)| Some((name, text.parse().ok()?)));
    numbers.map(|(name, value)| (format!("encoder/{name}"), value)).collect()
}
