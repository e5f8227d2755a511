//! An extraction: features of a data set by an encoder trained from a seed, as one file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use experiment_spec::{ids::ContentHash, run::ExtractionSpec};

use crate::{
    checkpoint::Checkpoint,
    datasets::{data_set::DataSet, data_sets, folders::DataFolders},
    encoders::{
        encoder::{EncodeContext, Encoder},
        encoders,
    },
    error::{Error, Result},
    feature_file::{FeatureFile, FeatureTable, PatchTable, write_features},
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
/// [`Error::Data`] when the data set is not here or of another version, [`Error::User`] when the encoder is not what the specification says; otherwise by kind:
/// unusable data, a value that is not a number, a stop, a disk that refuses.
///
/// # Panics
/// If the encoder gives another number of features than its entry says: a broken invariant.
pub fn extract(
    spec: &ExtractionSpec,
    data: &DataFolders,
    folder: &Path,
    observer: &mut dyn Observer,
    resume: Option<Checkpoint>,
) -> Result<ExtractionOutcome> {
    extract_with(&data_sets(), &encoders(), spec, data, folder, observer, resume)
}

fn extract_with(
    data_sets: &[&dyn DataSet],
    encoders: &[&dyn Encoder],
    spec: &ExtractionSpec,
    folders: &DataFolders,
    folder: &Path,
    observer: &mut dyn Observer,
    resume: Option<Checkpoint>,
) -> Result<ExtractionOutcome> {
    let none = |kind, key| Error::User(format!("there is no {kind} `{key}` in this program"));
    let data_set = data_sets
        .iter()
        .find(|data_set| data_set.key() == spec.data_set)
        .ok_or_else(|| none("data set", &spec.data_set))?;
    let encoder = encoders
        .iter()
        .find(|encoder| encoder.entry().key == spec.encoder)
        .ok_or_else(|| none("encoder", &spec.encoder))?;
    let (data, coder) = (data_set.entry(folders), encoder.entry());
    let data = data.map_err(|absent| Error::Data(format!("data set {}: {}", absent.key, absent.reason)))?;
    if data.version != spec.data_set_version {
        return Err(Error::Data(format!(
            "data set {}{} has version {}, but the step was planned for version {}; put the files of that version \
             there, or submit again where this one is",
            data.key,
            folders.find(&data.key).map_or(String::new(), |folder| format!(" in {}", folder.display())),
            data.version,
            spec.data_set_version
        )));
    }
    if coder.revision != spec.encoder_revision {
        return Err(Error::User(format!(
            "this program has encoder {} at revision {}, but the step was planned for revision {}; submit it again",
            coder.key, coder.revision, spec.encoder_revision
        )));
    }
    let loaded = data_set.load(folders, spec.split)?;
    let (labels, split, classes) = loaded.labels();
    let ExtractionSpec { seed, epochs, patches, .. } = *spec;
    let pairs = encoder.encode(&loaded, EncodeContext { seed, epochs, patches, observer, resume })?;
    let made = coder.networks.map(|networks| (networks.image_dims, networks.text_dims)).or(data.dims);
    let dims =
        made.ok_or_else(|| Error::User(format!("data set {} has no features for encoder {}", data.key, coder.key)))?;
    for (name, values, dims) in [("image", &pairs.image, dims.0), ("text", &pairs.text, dims.1)] {
        assert_eq!(
            values.reals().len(),
            labels.len() * dims,
            "encoder {} gives {dims} {name} features a pair",
            coder.key
        );
    }
    let path = folder.join(FILE);
    assert_eq!(pairs.patches.is_some(), patches, "encoder {} makes patches when they are asked for", coder.key);
    let patches = pairs.patches.as_ref();
    let patches = patches
        .map(|sides| sides.each_ref().map(|side| PatchTable { values: side.values.reals(), starts: &side.starts }));
    let table = FeatureTable { image: pairs.image.reals(), text: pairs.text.reals(), patches, labels, split, classes };
    let mut facts: BTreeMap<String, String> =
        pairs.facts.iter().map(|(name, value)| (name.clone(), format!("{value:?}"))).collect();
    facts.extend([
        ("data-set".into(), data.key),
        ("data-set-version".into(), data.version),
        ("split".into(), spec.split.name().into()),
        ("encoder".into(), coder.key),
        ("encoder-revision".into(), coder.revision.to_string()),
        ("encoder-epochs".into(), spec.epochs.to_string()),
        ("encoder-seed".into(), spec.seed.to_string()),
    ]);
    if spec.patches {
        facts.insert("patches".into(), "true".into());
    }
    write_features(&path, &table, &facts)?;
    let content_hash = FeatureFile::open(&path)?.content_hash();
    Ok(ExtractionOutcome { path, content_hash, facts: pairs.facts })
}

#[cfg(test)]
mod tests {
    use experiment_spec::{
        catalog::{AbsentDataSet, DataSetEntry, EncoderEntry, EncoderNetworks},
        run::SplitName,
    };

    use super::*;
    use crate::{
        datasets::{data_set::LoadedPairs, emoji::Emoji},
        encoders::encoder::{EncodedPairs, EncodedPatches, Matrix},
        features::Split,
        method::Silent,
    };

    /// The emoji under another name.
    struct Renamed;

    impl DataSet for Renamed {
        fn key(&self) -> &'static str {
            "renamed"
        }
        fn entry(&self, _: &DataFolders) -> std::result::Result<DataSetEntry, AbsentDataSet> {
            Ok(DataSetEntry { key: "renamed".into(), version: "1".into(), ..Emoji.described() })
        }
        fn load(&self, folders: &DataFolders, split: SplitName) -> Result<LoadedPairs> {
            Emoji.load(folders, split)
        }
    }

    /// Two numbers for each side: the seed and the number of the pair.
    struct Counting;

    impl Encoder for Counting {
        fn entry(&self) -> EncoderEntry {
            let (key, description) = ("counting".into(), String::new());
            let networks = Some(EncoderNetworks { default_epochs: 1, image_dims: 2, text_dims: 2, patches: true });
            EncoderEntry { key, revision: 2, description, networks }
        }
        fn encode(&self, pairs: &LoadedPairs, context: EncodeContext<'_>) -> Result<EncodedPairs> {
            let seed = u8::try_from(context.seed).unwrap();
            let image: Vec<f32> =
                (0u16..).take(pairs.labels().0.len()).flat_map(|row| [f32::from(seed), f32::from(row)]).collect();
            let facts = BTreeMap::from([("text.accuracy.test".to_owned(), 1.0 / 3.0)]);
            let starts: Vec<u32> = (0..=u32::try_from(pairs.labels().0.len()).unwrap()).collect();
            let side = || EncodedPatches {
                values: Matrix::F32(vec![f32::from(seed); starts.len() - 1]),
                starts: starts.clone(),
            };
            let patches = context.patches.then(|| [side(), side()]);
            Ok(EncodedPairs { text: Matrix::F32(image.clone()), image: Matrix::F32(image), patches, facts })
        }
    }

    #[test]
    fn an_extraction_leaves_a_file_that_is_a_function_of_its_specification() {
        let spec = |seed| ExtractionSpec {
            data_set: "renamed".into(),
            data_set_version: "1".into(),
            split: SplitName::Official,
            encoder: "counting".into(),
            encoder_revision: 2,
            epochs: 1,
            seed,
            patches: false,
        };
        let run = |seed, folder: &Path| {
            extract_with(&[&Renamed], &[&Counting], &spec(seed), &DataFolders::default(), folder, &mut Silent, None)
                .unwrap()
        };
        let folders = [0, 1, 2].map(|_| tempfile::tempdir().unwrap());
        let first = run(3, folders[0].path());
        let file = FeatureFile::open(&first.path).unwrap();
        assert_eq!(first.path, folders[0].path().join("features.safetensors"));
        assert_eq!(file.facts()["text.accuracy.test"].parse::<f64>().unwrap().to_bits(), (1.0f64 / 3.0).to_bits());
        assert_eq!((&*file.facts()["encoder-seed"], &*file.facts()["data-set"]), ("3", "renamed"));
        let (test, raw) = (file.pairs(Split::Test), Emoji.pairs().unwrap());
        assert_eq!(test.rows(), 383);
        for (place, row) in raw.rows(Split::Test).into_iter().enumerate() {
            assert_eq!(test.image.row(place).get(1).to_string(), row.to_string());
            assert_eq!(test.labels[place], raw.labels[row]);
        }
        assert_eq!(run(3, folders[1].path()).content_hash, first.content_hash);
        assert_ne!(run(4, folders[2].path()).content_hash, first.content_hash);
        assert!(test.image.patches().is_none());

        let with = ExtractionSpec { patches: true, ..spec(3) };
        let (folder, sets) = (tempfile::tempdir().unwrap(), DataFolders::default());
        let with = extract_with(&[&Renamed], &[&Counting], &with, &sets, folder.path(), &mut Silent, None).unwrap();
        assert_ne!(with.content_hash, first.content_hash);
        let with = FeatureFile::open(&with.path).unwrap();
        let patched = with.pairs(Split::Test);
        assert_eq!(patched.image.to_f64(), test.image.to_f64());
        assert_eq!(patched.text.patches().unwrap().rows().to_f64(), [3.0; 383]);
        assert_eq!((with.facts()["patches"].as_str(), file.facts().get("patches")), ("true", None));
    }

    #[test]
    fn a_step_planned_for_another_program_is_refused_before_any_work() {
        let good = ExtractionSpec {
            data_set: "emoji".into(),
            data_set_version: "0".into(),
            split: SplitName::Official,
            encoder: "small-cnn".into(),
            encoder_revision: 1,
            epochs: 1,
            seed: 1,
            patches: false,
        };
        for (spec, what) in [
            (ExtractionSpec { data_set: "emojo".into(), ..good.clone() }, "no data set `emojo`"),
            (ExtractionSpec { encoder: "vgg".into(), ..good.clone() }, "no encoder `vgg`"),
            (good, "planned for version 0"),
        ] {
            let result = extract(&spec, &DataFolders::default(), Path::new("."), &mut Silent, None);
            let Err(Error::User(text) | Error::Data(text)) = result else { panic!("{what}") };
            assert!(text.contains(what), "{text}");
        }
    }
}
