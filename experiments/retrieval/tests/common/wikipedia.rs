//! The Wikipedia data set with its features as released, in f64.

use std::path::Path;

use matfile::{MatFile, NumericData};
use retrieval::features::{Pairs, Rows};

const IMAGE: usize = 128;
const TEXT: usize = 10;

/// Training or test pairs with the rows to read them by.
#[derive(Debug)]
pub(crate) struct Part {
    image: Vec<f64>,
    text: Vec<f64>,
    labels: Vec<u32>,
    rows: Vec<u32>,
}

impl Part {
    pub(crate) fn pairs(&self) -> Pairs<'_> {
        let image = Rows::new(&self.image[..], IMAGE, &self.rows);
        Pairs::new(image, Rows::new(&self.text[..], TEXT, &self.rows), &self.labels)
    }
}

/// The 2,173 training and the 693 test pairs.
pub(crate) fn read(folder: &Path) -> (Part, Part) {
    let file = MatFile::parse(std::fs::File::open(folder.join("raw_features.mat")).unwrap()).unwrap();
    let matrix = |name: &str, rows: usize, columns: usize| -> Vec<f64> {
        let array = file.find_by_name(name).unwrap();
        assert_eq!(array.size(), &[rows, columns], "{name}");
        let NumericData::Double { real, imag: None } = array.data() else { panic!("{name} is of another type") };
        // MATLAB holds column after column.
        (0..rows * columns).map(|at| real[at % columns * rows + at / columns]).collect()
    };
    let part = |suffix: &str, list: &str, count: usize| {
        let lines = std::fs::read_to_string(folder.join(list)).unwrap();
        let label = |line: &str| line.rsplit('\t').next().unwrap().trim().parse::<u32>().unwrap() - 1;
        let labels: Vec<u32> = lines.lines().map(label).collect();
        assert_eq!(labels.len(), count);
        Part {
            image: matrix(&format!("I_{suffix}"), count, IMAGE),
            text: matrix(&format!("T_{suffix}"), count, TEXT),
            labels,
            rows: (0..u32::try_from(count).unwrap()).collect(),
        }
    };
    (part("tr", "trainset_txt_img_cat.list", 2173), part("te", "testset_txt_img_cat.list", 693))
}
