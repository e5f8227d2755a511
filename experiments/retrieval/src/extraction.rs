//! An extraction: features of a data set by an encoder trained from a seed, as one file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use experiment_spec::{ids::ContentHash, run::ExtractionSpec};

use crate::{
    checkpoint::Checkpoint,
    datasets::data_sets,
    encoders::{encoder::EncodeContext, encoders},
    error::{Error, Result},
    feature_file::{FeatureFile, FeatureTable, write_features},
    method::Observer,
};

/// Name of the artifact in the attempt's folder.
pub const FILE: &str = "features.safetensors";

/// What an extraction leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtractionOutcome {
    /// The artifact.
    pub path: PathBuf,
    /// BLAKE3 of its bytes.
    pub content_hash: ContentHash,
    /// Accuracies of the encoders' heads, by name.
    pub facts: BTreeMap<String, f64>,
}

/// Computes the features that `spec` asks for and writes them to `folder`.
///
/// The file is a function of the specification and of the SIMD level: neither time nor place is in it.
///
/// # Errors
/// [`Error::User`] when the data set or encoder is not what the specification says; otherwise by kind:
/// unusable data, a value that is not a number, a stop, a disk that refuses.
pub fn extract(
    spec: &ExtractionSpec,
    folder: &Path,
    observer: &mut dyn Observer,
    resume: Option<Checkpoint>,
) -> Result<ExtractionOutcome> {
    let data_set = data_sets()
        .into_iter()
        .find(|data_set| data_set.entry().key == spec.data_set)
        .ok_or_else(|| Error::User(format!("there is no data set `{}` in this program", spec.data_set)))?;
    let encoder = encoders()
        .into_iter()
        .find(|encoder| encoder.entry().key == spec.encoder)
        .ok_or_else(|| Error::User(format!("there is no encoder `{}` in this program", spec.encoder)))?;
    let (data, coder) = (data_set.entry(), encoder.entry());
    if data.version != spec.data_set_version || coder.revision != spec.encoder_revision {
        return Err(Error::User(format!(
            "this program has data set {} at version {} and encoder {} at revision {}, but the step was planned for \
             version {} and revision {}; submit it again",
            data.key, data.version, coder.key, coder.revision, spec.data_set_version, spec.encoder_revision
        )));
    }
    let raw = data_set.load()?;
    let encoded = encoder.encode(&raw, EncodeContext { seed: spec.seed, observer, resume })?;
    let path = folder.join(FILE);
    let table = FeatureTable {
        image: &encoded.image,
        text: &encoded.text,
        labels: &raw.labels,
        split: &raw.split,
        classes: raw.classes,
    };
    let mut facts: BTreeMap<String, String> =
        encoded.facts.iter().map(|(name, value)| (name.clone(), format!("{value:?}"))).collect();
    facts.extend([
        ("data-set".into(), data.key),
        ("data-set-version".into(), data.version),
        ("encoder".into(), coder.key),
        ("encoder-revision".into(), coder.revision.to_string()),
        ("encoder-seed".into(), spec.seed.to_string()),
    ]);
    write_features(&path, &table, &facts)?;
    drop(encoded.image);
    let content_hash = FeatureFile::open(&path)?.content_hash();
    Ok(ExtractionOutcome { path, content_hash, facts: encoded.facts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Silent;

    #[test]
    fn a_step_planned_for_another_program_is_refused_before_any_work() {
        let good = ExtractionSpec {
            data_set: "emoji".into(),
            data_set_version: "0".into(),
            encoder: "small-cnn".into(),
            encoder_revision: 1,
            seed: 1,
        };
        for (spec, what) in [
            (ExtractionSpec { data_set: "emojo".into(), ..good.clone() }, "no data set `emojo`"),
            (ExtractionSpec { encoder: "vgg".into(), ..good.clone() }, "no encoder `vgg`"),
            (good, "planned for version 0"),
        ] {
            let Err(Error::User(text)) = extract(&spec, Path::new("."), &mut Silent, None) else { panic!("{what}") };
            assert!(text.contains(what), "{text}");
        }
    }
}
