//! What a data set gives: its catalog entry, and its pairs as they are before any encoder.

use experiment_spec::{
    catalog::{AbsentDataSet, DataSetEntry, SplitEntry},
    ids::ContentHash,
    run::SplitName,
};

use super::folders::DataFolders;
use crate::{
    error::{Error, Result},
    features::Split,
};

/// One line of the list of data sets.
pub trait DataSet: Sync {
    /// Kebab-case key, as in YAML.
    fn key(&self) -> &'static str;

    /// Its files on disk: folder (key of a data set) and name. None where it is part of the program.
    fn files(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Version, classes, splits.
    ///
    /// # Errors
    /// Why it cannot be used here.
    fn entry(&self, folders: &DataFolders) -> std::result::Result<DataSetEntry, AbsentDataSet>;

    /// Reads the pairs, divided as `split` says.
    ///
    /// # Errors
    /// [`Error::Data`] when something is missing or does not check.
    fn load(&self, folders: &DataFolders, split: SplitName) -> Result<LoadedPairs>;
}

/// What a data set holds.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadedPairs {
    /// Pictures and texts, for an encoder.
    Raw(RawPairs),
    /// Features of the data set's own.
    Given(GivenPairs),
}

impl LoadedPairs {
    /// Class and part of each pair, and the number of classes.
    #[must_use]
    pub fn labels(&self) -> (&[u32], &[Split], usize) {
        match self {
            Self::Raw(raw) => (&raw.labels, &raw.split, raw.classes),
            Self::Given(given) => (&given.labels, &given.split, given.classes),
        }
    }
}

/// Pairs that come with features; row n of everything belongs to pair n.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenPairs {
    /// `n x image_dims`, row-major.
    pub image: Vec<f64>,
    /// `n x text_dims`, row-major.
    pub text: Vec<f64>,
    /// Classes, in `0..classes`.
    pub labels: Vec<u32>,
    /// Number of classes.
    pub classes: usize,
    /// Part of each pair.
    pub split: Vec<Split>,
}

/// Pairs before any encoder; entry n of every list belongs to pair n.
#[derive(Clone, Debug, PartialEq)]
pub struct RawPairs {
    /// Names of the pairs, unique within the data set.
    pub ids: Vec<String>,
    /// Images, `n x side x side x 3`, row-major, RGB.
    pub images: Vec<u8>,
    /// Rows and columns of each image, in pixels.
    pub side: usize,
    /// Texts as they are written.
    pub texts: Vec<String>,
    /// Sentences of each text, or what stands for them; at least one.
    pub segments: Vec<Vec<String>>,
    /// Classes, in `0..classes`.
    pub labels: Vec<u32>,
    /// Number of classes.
    pub classes: usize,
    /// Part of each pair.
    pub split: Vec<Split>,
}

impl RawPairs {
    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Pixels of one image, `side x side x 3`.
    #[must_use]
    pub fn image(&self, row: usize) -> &[u8] {
        let size = self.side * self.side * 3;
        &self.images[row * size..(row + 1) * size]
    }

    /// Rows of one part, in order.
    #[must_use]
    pub fn rows(&self, part: Split) -> Vec<usize> {
        (0..self.len()).filter(|&row| self.split[row] == part).collect()
    }

    /// Checks counts and label range against the catalog entry.
    ///
    /// # Errors
    /// [`Error::Data`] naming the data set and what does not fit.
    pub fn check(&self, entry: &DataSetEntry, split: &SplitEntry) -> Result<()> {
        let n = self.len();
        let fail = |why: String| Err(Error::Data(format!("data set {}: {why}", entry.key)));
        if [self.texts.len(), self.segments.len(), self.labels.len(), self.split.len()] != [n; 4]
            || self.images.len() != n * self.side * self.side * 3
        {
            return fail(format!(
                "{n} ids, {} bytes of images of side {}, {} texts, {} lists of segments, {} \
                 labels and {} split entries do not fit together",
                self.images.len(),
                self.side,
                self.texts.len(),
                self.segments.len(),
                self.labels.len(),
                self.split.len()
            ));
        }
        if let Some(row) = self.segments.iter().position(Vec::is_empty) {
            return fail(format!("pair {} has a text without segments", self.ids[row]));
        }
        for (part, wanted) in Split::ALL.into_iter().zip([split.train, split.validation, split.test]) {
            let found = self.rows(part).len();
            if found != wanted {
                return fail(format!("{found} pairs in its {} part, {wanted} expected", part.name()));
            }
        }
        if self.classes != entry.classes.len() {
            return fail(format!("{} classes, {} names", self.classes, entry.classes.len()));
        }
        match self.labels.iter().position(|&label| label as usize >= self.classes) {
            Some(row) => fail(format!(
                "pair {} has label {}, but there are {} classes",
                self.ids[row], self.labels[row], self.classes
            )),
            None => Ok(()),
        }
    }
}

/// One line of a manifest: everything about a pair that decides results.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestLine {
    /// Part of the split.
    pub split: Split,
    /// Name of the pair.
    pub id: String,
    /// Class.
    pub label: u32,
    /// Hash of the image file.
    pub image: ContentHash,
    /// The text.
    pub text: String,
}

/// Version of a data set: hash of its manifest (spec E.1), one line a pair, fields in JSON so that no text
/// can pass for two fields.
///
/// # Panics
/// Never: a line is plain data that JSON can say.
#[must_use]
pub fn version(lines: &[ManifestLine]) -> String {
    let mut hasher = blake3::Hasher::new();
    for line in lines {
        let fields = (line.split.name(), &line.id, line.label, line.image, &line.text);
        hasher.update(&serde_json::to_vec(&fields).expect("a manifest line is plain data that JSON can say"));
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}
