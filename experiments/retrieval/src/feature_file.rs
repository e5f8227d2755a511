//! The features artifact: one tensor file with both matrices, labels and the split, mapped read-only.

mod write;

use std::{collections::BTreeMap, path::Path};

pub use self::write::{FeatureTable, Head, PatchTable, write_features, write_rows};
use crate::{
    error::Result,
    features::{Pairs, Reals, Rows, Split},
    method::TrainingData,
    patches::Patches,
    tensor_file::TensorFile,
};

const CLASSES: &str = "classes";
const IMAGE: &str = "image";
const TEXT: &str = "text";
/// Features of patches of the images and of segments of the texts, and where those of each pair begin.
const PATCHES: [(&str, &str); 2] = [("image-patches", "image-patch-starts"), ("text-segments", "text-segment-starts")];
const LABELS: &str = "labels";
const SPLIT: &str = "split";

/// Row numbers and labels of one part of the split.
#[derive(Debug, Default)]
struct Part {
    rows: Vec<u32>,
    labels: Vec<u32>,
}

/// An opened artifact. The matrices stay in the file: all attempts on a node share one copy.
#[derive(Debug)]
pub struct FeatureFile {
    file: TensorFile,
    classes: usize,
    parts: [Part; 3],
    patched: bool,
}

impl FeatureFile {
    /// Maps the file and checks everything in it: hash, sizes, labels, split, finite values.
    ///
    /// # Errors
    /// [`crate::error::Error::Data`] naming the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let classes = file
            .facts()
            .get(CLASSES)
            .and_then(|text| text.parse::<usize>().ok())
            .filter(|&classes| classes > 0)
            .ok_or_else(|| file.damage("no number of classes"))?;
        let parts = parts(&file, classes)?;
        let patched = file.has(PATCHES[0].0);
        let opened = Self { file, classes, parts, patched };
        opened.check("image feature", opened.matrix(IMAGE)?)?;
        opened.check("text feature", opened.matrix(TEXT)?)?;
        for (side, name) in ["feature of an image patch", "feature of a text segment"].into_iter().enumerate() {
            if patched {
                opened.patches(side)?;
                let (shape, values) = opened.file.reals(PATCHES[side].0)?;
                opened.check(name, (shape[1], values))?;
            }
        }
        for part in [Split::Train, Split::Test] {
            if opened.pairs(part).rows() == 0 {
                return Err(opened.file.damage(format!("no pair is in its {} part", part.name())));
            }
        }
        Ok(opened)
    }

    /// Refuses values that are no finite numbers.
    fn check(&self, what: &str, (dims, values): (usize, Reals<'_>)) -> Result<()> {
        let Some(at) = values.first_unusable() else { return Ok(()) };
        let (row, column, value) = (at / dims, at % dims, values.get(at));
        Err(self.file.damage(format!("the {what} at row {row}, column {column} is {value}, not a finite number")))
    }

    /// Patches of the images (0) or segments of the texts (1), checked against the number of labels.
    fn patches(&self, side: usize) -> Result<Patches<'_>> {
        let (name, starts_name) = PATCHES[side];
        let (shape, values) = self.file.reals(name)?;
        let (_, starts) = self.file.u32s(starts_name)?;
        let &[_, dims] = shape else { return Err(self.file.damage(format!("`{name}` has sizes {shape:?}"))) };
        let patches = Patches::new(values, dims, starts).map_err(|why| self.file.damage(format!("`{name}`: {why}")))?;
        let rows = self.parts.iter().map(|part| part.rows.len()).sum::<usize>();
        if patches.items() == rows {
            return Ok(patches);
        }
        Err(self.file.damage(format!("`{name}` has patches of {} rows for {rows} labels", patches.items())))
    }

    /// Dimensions and values of a matrix, checked against the number of labels.
    fn matrix(&self, name: &str) -> Result<(usize, Reals<'_>)> {
        let rows = self.parts.iter().map(|part| part.rows.len()).sum::<usize>();
        match self.file.reals(name)? {
            (&[n, dims], values) if n == rows && dims > 0 => Ok((dims, values)),
            (shape, _) => Err(self.file.damage(format!("`{name}` has sizes {shape:?} for {rows} labels"))),
        }
    }

    /// Pairs of one part, in the order of the data set.
    ///
    /// # Panics
    /// Never: `open` has checked the matrices.
    #[must_use]
    pub fn pairs(&self, part: Split) -> Pairs<'_> {
        let Part { rows, labels } = &self.parts[part as usize];
        let side = |at: usize, name| {
            let (dims, values) = self.matrix(name).expect("open has checked this matrix");
            let wholes = Rows::new(values, dims, rows);
            if !self.patched {
                return wholes;
            }
            wholes.with_patches(self.patches(at).expect("open has checked these patches"))
        };
        Pairs::new(side(0, IMAGE), side(1, TEXT), labels)
    }

    /// What a method may learn from.
    #[must_use]
    pub fn training_data(&self) -> TrainingData<'_> {
        TrainingData::new(self.pairs(Split::Train), self.pairs(Split::Validation), self.classes)
    }

    /// Number of classes; labels are in `0..classes`.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// What the extraction wrote beside the features: names, seed, accuracies.
    #[must_use]
    pub fn facts(&self) -> &BTreeMap<String, String> {
        self.file.facts()
    }

    /// Hash of all bytes of the file: the artifact's content hash.
    #[must_use]
    pub fn content_hash(&self) -> experiment_spec::ids::ContentHash {
        self.file.file_hash()
    }
}

fn parts(file: &TensorFile, classes: usize) -> Result<[Part; 3]> {
    let (labels, split) = (file.u32s(LABELS)?, file.u32s(SPLIT)?);
    if labels.0.len() != 1 || labels.0 != split.0 || u32::try_from(labels.1.len()).is_err() {
        return Err(file.damage(format!("labels have sizes {:?}, the split {:?}", labels.0, split.0)));
    }
    let mut parts = [Part::default(), Part::default(), Part::default()];
    for (row, (&label, &code)) in (0u32..).zip(labels.1.iter().zip(split.1)) {
        if label as usize >= classes {
            return Err(file.damage(format!("row {row} has label {label}, but there are {classes} classes")));
        }
        let part = Split::from_code(code)
            .ok_or_else(|| file.damage(format!("row {row} has split {code}; 0, 1 and 2 are known")))?;
        parts[part as usize].rows.push(row);
        parts[part as usize].labels.push(label);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn small() -> (Vec<f32>, Vec<f32>, Vec<u32>, Vec<Split>) {
        let image = (0..12u8).map(f32::from).collect();
        let text = (0..8u8).map(|v| f32::from(v) / 3.0).collect();
        (image, text, vec![0, 1, 1, 0], vec![Split::Train, Split::Test, Split::Train, Split::Validation])
    }

    fn write(path: &Path, change: impl FnOnce(&mut (Vec<f32>, Vec<f32>, Vec<u32>, Vec<Split>))) {
        let mut data = small();
        change(&mut data);
        let table = FeatureTable {
            image: data.0[..].into(),
            text: data.1[..].into(),
            patches: None,
            labels: &data.2,
            split: &data.3,
            classes: 2,
        };
        let facts = (0..20).map(|i| (format!("fact-{i}"), i.to_string())).collect();
        write_features(path, &table, &facts).unwrap();
    }

    #[test]
    fn features_read_back_by_part_and_equal_features_give_equal_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
        write(&a, |_| ());
        write(&b, |_| ());
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        let file = FeatureFile::open(&a).unwrap();
        assert_eq!(file.content_hash(), experiment_spec::ids::ContentHash::of(&std::fs::read(&a).unwrap()));
        assert_eq!(file.facts()["fact-7"], "7");
        let train = file.pairs(Split::Train);
        assert_eq!((train.rows(), train.labels), (2, &[0, 1][..]));
        assert_eq!(train.image.row(1), Reals::F32(&[6.0, 7.0, 8.0]));
        assert_eq!(file.pairs(Split::Validation).text.row(0), Reals::F32(&[2.0, 7.0 / 3.0]));
        assert_eq!(file.pairs(Split::Test).image.row(0), Reals::F32(&[3.0, 4.0, 5.0]));
        assert_eq!((file.classes(), file.training_data().validation.rows()), (2, 1));
    }

    /// Patches of one column: two of the first image, one of each other; one segment a text.
    fn write_patches(path: &Path, image: &[f32], starts: [&[u32]; 2]) -> Result<FeatureFile> {
        let data = small();
        let segments = [0.5f32, 1.5, 2.5, 3.5];
        let side = |values, starts| PatchTable { values, starts };
        let table = FeatureTable {
            image: data.0[..].into(),
            text: data.1[..].into(),
            patches: Some([side(image.into(), starts[0]), side(segments[..].into(), starts[1])]),
            labels: &data.2,
            split: &data.3,
            classes: 2,
        };
        write_features(path, &table, &BTreeMap::new()).unwrap();
        FeatureFile::open(path)
    }

    #[test]
    fn patches_read_back_with_their_pairs_and_damage_to_them_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.safetensors");
        let (image, four) = ([1.0, 2.0, 3.0, 4.0, 5.0], [0, 1, 2, 3, 4]);
        let file = write_patches(&path, &image, [&[0, 2, 3, 4, 5], &four]).unwrap();
        let train = file.training_data().train;
        let patches = train.image.patches().unwrap();
        assert_eq!((patches.counts(), &patches.rows().to_f64()[..]), (&[2, 1][..], &[1.0, 2.0, 4.0][..]));
        assert_eq!(file.pairs(Split::Test).text.patches().unwrap().rows().to_f64(), [1.5]);
        let mut broken = image;
        broken[3] = f32::NAN;
        for (image, starts, what) in [
            (broken, [&[0, 2, 3, 4, 5][..], &four], "the feature of an image patch at row 3, column 0 is NaN"),
            (image, [&[0, 2, 2, 4, 5], &four], "`image-patches`: row 1 has no patch"),
            (image, [&[1, 2, 3, 4, 5], &four], "`image-patches`: patches from (Some(1), Some(5)) of 5 rows"),
            (image, [&[0, 2, 3, 4, 5], &[0, 1, 3, 3, 4]], "`text-segments`: row 2 has no patch"),
        ] {
            let Err(Error::Data(text)) = write_patches(&path, &image, starts) else { panic!("{what}") };
            assert!(text.contains(what), "{text}");
        }
    }

    #[test]
    fn every_kind_of_damage_gets_a_sentence_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.safetensors");
        let refuse = |what: &str| match FeatureFile::open(&path) {
            Err(Error::Data(text)) => {
                assert!(text.contains("features.safetensors") && text.contains(what), "{text}");
            }
            other => panic!("{what}: {other:?}"),
        };
        write(&path, |data| data.0[7] = f32::NAN);
        refuse("image feature at row 2, column 1 is NaN");
        write(&path, |data| data.1[3] = f32::INFINITY);
        refuse("text feature at row 1, column 1 is inf");
        write(&path, |data| data.2[3] = 2);
        refuse("row 3 has label 2, but there are 2 classes");
        write(&path, |data| data.3[1] = Split::Train);
        refuse("no pair is in its test part");
        write(&path, |_| ());
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 5, 20, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            refuse("damaged tensor file");
        }
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &changed).unwrap();
        refuse("does not match its hash");
        let place = whole.windows(6).position(|w| w == b"fact-7").unwrap();
        let mut changed = whole;
        changed[place + 5] = b'x';
        std::fs::write(&path, &changed).unwrap();
        refuse("does not match its hash");
    }
}
