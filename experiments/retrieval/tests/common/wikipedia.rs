//! The Wikipedia data set with its features as released, in f64, through the product's own reader.

use std::path::Path;

use experiment_spec::run::SplitName;
use retrieval::{
    datasets::{
        data_set::{DataSet, GivenPairs, LoadedPairs},
        folders::DataFolders,
        wikipedia::SET,
    },
    features::{Pairs, Rows, Split},
};

/// Training or test pairs with the rows to read them by.
#[derive(Debug)]
pub(crate) struct Part {
    image: Vec<f64>,
    text: Vec<f64>,
    labels: Vec<u32>,
    rows: Vec<u32>,
}

impl Part {
    fn of(given: &GivenPairs, part: Split) -> Self {
        let chosen: Vec<usize> = (0..given.labels.len()).filter(|&row| given.split[row] == part).collect();
        let side = |values: &[f64], columns: usize| -> Vec<f64> {
            chosen.iter().flat_map(|&row| values[row * columns..(row + 1) * columns].iter().copied()).collect()
        };
        Self {
            image: side(&given.image, SET.dims.0),
            text: side(&given.text, SET.dims.1),
            labels: chosen.iter().map(|&row| given.labels[row]).collect(),
            rows: (0..u32::try_from(chosen.len()).unwrap()).collect(),
        }
    }

    pub(crate) fn pairs(&self) -> Pairs<'_> {
        let image = Rows::new(&self.image[..], SET.dims.0, &self.rows);
        Pairs::new(image, Rows::new(&self.text[..], SET.dims.1, &self.rows), &self.labels)
    }
}

/// The 2,173 training and the 693 test pairs of the folder `wikipedia` at `folder`.
pub(crate) fn read(folder: &Path) -> (Part, Part) {
    let folders = DataFolders(vec![folder.parent().unwrap().to_owned()]);
    let LoadedPairs::Given(given) = SET.load(&folders, SplitName::Official).unwrap() else { panic!("it has features") };
    (Part::of(&given, Split::Train), Part::of(&given, Split::Test))
}
