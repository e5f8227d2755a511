//! The features artifact: one tensor file with both matrices, labels and the split, mapped read-only.

use std::{collections::BTreeMap, path::Path};

use safetensors::Dtype;

use crate::{
    error::Result,
    features::{Pairs, Reals, Rows, Split},
    method::TrainingData,
    tensor_file::{TensorFile, TensorWriter},
};

const CLASSES: &str = "classes";
const IMAGE: &str = "image";
const TEXT: &str = "text";
const LABELS: &str = "labels";
const SPLIT: &str = "split";

/// What is written of one data set's features.
#[derive(Clone, Copy, Debug)]
pub struct FeatureTable<'a> {
    /// `n x image_dims`, row-major.
    pub image: Reals<'a>,
    /// `n x text_dims`, row-major, in the precision of the image features.
    pub text: Reals<'a>,
    /// `n` classes in `0..classes`.
    pub labels: &'a [u32],
    /// Part of each pair.
    pub split: &'a [Split],
    /// Number of classes.
    pub classes: usize,
}

/// Writes the artifact; equal features and facts give equal bytes.
///
/// # Errors
/// When the disk refuses.
///
/// # Panics
/// If the sizes or types do not fit together: a broken invariant of the caller.
pub fn write_features(path: &Path, table: &FeatureTable<'_>, facts: &BTreeMap<String, String>) -> Result<()> {
    let rows = table.labels.len();
    assert!(
        rows > 0 && table.image.len().is_multiple_of(rows) && table.text.len().is_multiple_of(rows),
        "matrices of {} and {} values for {rows} labels",
        table.image.len(),
        table.text.len()
    );
    let dims = (table.image.len() / rows, table.text.len() / rows);
    let dtype = match (table.image, table.text) {
        (Reals::F32(_), Reals::F32(_)) => Dtype::F32,
        (Reals::F64(_), Reals::F64(_)) => Dtype::F64,
        _ => panic!("image and text features are of two precisions"),
    };
    write_rows(path, table.labels, table.split, table.classes, (dims, dtype), facts, |writer| {
        for matrix in [table.image, table.text] {
            match matrix {
                Reals::F32(values) => writer.write_f32(values)?,
                Reals::F64(values) => writer.write_f64(values)?,
            }
        }
        Ok(())
    })
}

/// Writes an artifact whose two matrices (image, then text, row by row, both of one type) come from `matrices`,
/// so that they need not fit in memory.
///
/// # Errors
/// When the disk refuses.
///
/// # Panics
/// If labels and split differ in number, or `matrices` writes another number of values than announced.
pub fn write_rows(
    path: &Path,
    labels: &[u32],
    split: &[Split],
    classes: usize,
    ((image_dims, text_dims), dtype): ((usize, usize), Dtype),
    facts: &BTreeMap<String, String>,
    matrices: impl FnOnce(&mut TensorWriter) -> Result<()>,
) -> Result<()> {
    let rows = labels.len();
    assert_eq!(rows, split.len(), "labels and split differ in number");
    let mut facts = facts.clone();
    facts.insert(CLASSES.into(), classes.to_string());
    let layout: [(&str, Dtype, &[usize]); 4] = [
        (IMAGE, dtype, &[rows, image_dims]),
        (TEXT, dtype, &[rows, text_dims]),
        (LABELS, Dtype::U32, &[rows]),
        (SPLIT, Dtype::U32, &[rows]),
    ];
    let mut writer = TensorWriter::create(path, &layout, &facts)?;
    matrices(&mut writer)?;
    writer.write_u32(labels)?;
    let codes: Vec<u32> = split.iter().map(|part| part.code()).collect();
    writer.write_u32(&codes)?;
    writer.finish()
}

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
        let opened = Self { file, classes, parts };
        for (name, rows) in [(IMAGE, opened.matrix(IMAGE)?), (TEXT, opened.matrix(TEXT)?)] {
            let (dims, values) = rows;
            if let Some(at) = values.first_unusable() {
                let (row, column) = (at / dims, at % dims);
                return Err(opened.file.damage(format!(
                    "the {name} feature at row {row}, column {column} is {}, not a finite number",
                    values.get(at)
                )));
            }
        }
        for part in [Split::Train, Split::Test] {
            if opened.pairs(part).rows() == 0 {
                return Err(opened.file.damage(format!("no pair is in its {} part", part.name())));
            }
        }
        Ok(opened)
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
        let side = |name| {
            let (dims, values) = self.matrix(name).expect("open has checked this matrix");
            Rows::new(values, dims, rows)
        };
        Pairs::new(side(IMAGE), side(TEXT), labels)
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
