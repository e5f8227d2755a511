//! A data set that comes with features: found by its files, versioned by their content, checked as a whole.

use std::path::PathBuf;

use experiment_spec::{
    catalog::{AbsentDataSet, DataSetEntry, SplitEntry},
    ids::ContentHash,
    run::SplitName,
};

use super::{
    data_set::{DataSet, GivenPairs, LoadedPairs},
    folders::{self, DataFolders},
};
use crate::{
    encoders::given,
    error::{Error, Result},
    features::Split,
    nn::stream::Stream,
};

/// Seed of the paper's split; part of the data sets, not of any run.
const PAPER_SEED: u64 = 2026;

/// Numbers with the place they were read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// `rows x columns`, row-major.
    pub values: Vec<f64>,
    /// File and array, for messages.
    pub place: String,
}

/// All pairs as released, those for training before those for test.
#[derive(Clone, Debug, PartialEq)]
pub struct Released {
    /// Image features: blocks of rows, one below the other.
    pub image: Vec<Matrix>,
    /// Text features, likewise.
    pub text: Vec<Matrix>,
    /// Classes from 1, blocks of one column each.
    pub labels: Vec<Matrix>,
}

/// Contents of the files, in the order of [`GivenSet::files`], with their paths for messages.
pub type Files = [NamedFile];

/// Path for messages, and content.
pub type NamedFile = (String, Vec<u8>);

/// A data set that comes with features.
#[derive(Clone, Copy, Debug)]
pub struct GivenSet {
    /// Kebab-case key.
    pub key: &'static str,
    /// One sentence on what it is and where it comes from.
    pub description: &'static str,
    /// Class names, index = label.
    pub classes: &'static [&'static str],
    /// Its files: folder (key of a data set) and name.
    pub files: &'static [(&'static str, &'static str)],
    /// Dimensions of the image and text features.
    pub dims: (usize, usize),
    /// Pairs for training and test in the official split.
    pub pairs: (usize, usize),
    /// Test pairs of each class in the paper's split (spec E.1); empty where there is no such split.
    pub paper: &'static [usize],
    /// Takes the arrays out of the files.
    pub read: fn(&Files) -> std::result::Result<Released, String>,
}

impl GivenSet {
    fn splits(&self) -> Vec<SplitEntry> {
        let (train, test) = self.pairs;
        let mut splits = vec![SplitEntry { name: SplitName::Official, train, validation: 0, test }];
        if !self.paper.is_empty() {
            let kept: usize = self.paper.iter().sum();
            splits.push(SplitEntry { name: SplitName::Paper, train, validation: test - kept, test: kept });
        }
        splits
    }

    /// Paths of its files, or why there are none; whether its folder is simply not there.
    fn paths(&self, folders: &DataFolders) -> std::result::Result<Vec<PathBuf>, (String, bool)> {
        let path = |(key, file): &(&str, &str)| {
            let found = folders.find(key).map(|folder| folder.join(file));
            found.ok_or_else(|| {
                let looked = folders.listed();
                let cure = "put its files into a folder of that name there, or name another place in ORCHESTRATOR_DATA";
                (format!("folder `{key}` was not found; looked in {looked}; {cure}"), true)
            })
        };
        self.files.iter().map(path).collect()
    }

    fn open(&self, folders: &DataFolders) -> std::result::Result<Vec<NamedFile>, (String, bool)> {
        let read = |path: PathBuf| folders::read(&path).map(|bytes| (path.display().to_string(), bytes));
        self.paths(folders)?.into_iter().map(read).collect::<std::result::Result<_, _>>().map_err(|why| (why, false))
    }

    /// Hash of the manifest: the content of every file, and how the pairs are divided.
    fn version(&self, files: &Files) -> String {
        let named = self.files.iter().zip(files);
        let hashes: Vec<_> = named.map(|((_, name), (_, bytes))| (name, ContentHash::of(bytes))).collect();
        let manifest = (self.key, hashes, self.pairs, self.paper, PAPER_SEED);
        let text = serde_json::to_vec(&manifest).expect("a manifest is plain data that JSON can say");
        ContentHash::of(&text).to_string()
    }

    fn check(&self, released: &Released) -> std::result::Result<GivenPairs, String> {
        let total = self.pairs.0 + self.pairs.1;
        let image = joined(&released.image, total, self.dims.0)?;
        let text = joined(&released.text, total, self.dims.1)?;
        joined(&released.labels, total, 1)?;
        let mut labels = Vec::with_capacity(total);
        for block in &released.labels {
            for (row, &value) in block.values.iter().enumerate() {
                let known = (1u32..).zip(self.classes).find(|(number, _)| f64::from(*number).total_cmp(&value).is_eq());
                let (number, _) = known.ok_or_else(|| {
                    let (place, most) = (&block.place, self.classes.len());
                    format!("{place}, row {row}: label {value} is none of 1 to {most}; get the file again")
                })?;
                labels.push(number - 1);
            }
        }
        let split = (0..total).map(|row| if row < self.pairs.0 { Split::Train } else { Split::Test }).collect();
        let pairs = GivenPairs { image, text, labels, classes: self.classes.len(), split };
        for (label, name) in (0u32..).zip(self.classes) {
            for (part, labels) in [("training", &pairs.labels[..self.pairs.0]), ("test", &pairs.labels[self.pairs.0..])]
            {
                if !labels.contains(&label) {
                    let place = &released.labels[0].place;
                    return Err(format!("{place}: class {name} has no {part} pair; get the file again"));
                }
            }
        }
        Ok(pairs)
    }

    /// Moves the validation pairs of the paper's split out of the official test pairs, class by class.
    fn divide_as_paper(&self, pairs: &mut GivenPairs) {
        for (label, &kept) in (0u32..).zip(self.paper) {
            let of_class = |row: &usize| pairs.split[*row] == Split::Test && pairs.labels[*row] == label;
            let rows: Vec<usize> = (0..pairs.labels.len()).filter(of_class).collect();
            let order = Stream::new(PAPER_SEED, "paper split", u64::from(label)).permutation(rows.len());
            for &place in order.iter().skip(kept) {
                pairs.split[rows[place]] = Split::Validation;
            }
        }
    }
}

/// Values of blocks of rows, one below the other.
fn joined(blocks: &[Matrix], rows: usize, columns: usize) -> std::result::Result<Vec<f64>, String> {
    for Matrix { rows, columns: found, values, place } in blocks {
        if *found != columns {
            return Err(format!("{place} is {rows} x {found}, but {columns} columns are expected; get the file again"));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (row, column) = (at / columns, at % columns);
            let value = values[at];
            return Err(format!(
                "{place}, row {row}, column {column}: {value} is no finite number; get the file again"
            ));
        }
    }
    let found: usize = blocks.iter().map(|block| block.rows).sum();
    if found != rows {
        let places: Vec<String> = blocks.iter().map(|block| format!("{} ({} rows)", block.place, block.rows)).collect();
        return Err(format!("{}: {rows} rows are expected; get the file again", places.join(", ")));
    }
    Ok(blocks.iter().flat_map(|block| block.values.iter().copied()).collect())
}

impl DataSet for GivenSet {
    fn key(&self) -> &'static str {
        self.key
    }

    fn files(&self) -> &'static [(&'static str, &'static str)] {
        self.files
    }

    fn entry(&self, folders: &DataFolders) -> std::result::Result<DataSetEntry, AbsentDataSet> {
        let files = self.open(folders);
        let files = files.map_err(|(reason, missing)| AbsentDataSet { key: self.key.into(), reason, missing })?;
        Ok(DataSetEntry {
            key: self.key.into(),
            version: self.version(&files),
            description: self.description.into(),
            classes: self.classes.iter().map(|name| (*name).into()).collect(),
            splits: self.splits(),
            dims: Some(self.dims),
            default_encoder: given::KEY.into(),
            encoders: vec![given::KEY.into()],
        })
    }

    fn load(&self, folders: &DataFolders, split: SplitName) -> Result<LoadedPairs> {
        let fail = |why: String| Error::Data(format!("data set {}: {why}", self.key));
        if !self.splits().iter().any(|known| known.name == split) {
            return Err(fail(format!("there is no split `{}`", split.name())));
        }
        let files = self.open(folders).map_err(|(why, _)| fail(why))?;
        let mut pairs = (self.read)(&files).and_then(|released| self.check(&released)).map_err(fail)?;
        if split == SplitName::Paper {
            self.divide_as_paper(&mut pairs);
        }
        Ok(LoadedPairs::Given(pairs))
    }
}
