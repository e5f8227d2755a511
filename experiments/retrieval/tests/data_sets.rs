//! Data sets that come with features: what the real files hold, how they are divided, and what is said of damaged ones.

mod common;

use std::{fs, path::Path};

use common::shared;
use experiment_spec::run::SplitName;
use proptest::prelude::*;
use retrieval::{
    catalog::catalog,
    datasets::{
        data_set::{DataSet, GivenPairs, LoadedPairs},
        data_sets,
        folders::DataFolders,
        mat_file::Arrays,
    },
    features::Split,
    npy,
};

fn find(key: &str) -> &'static dyn DataSet {
    data_sets().into_iter().find(|set| set.key() == key).unwrap()
}

fn load(key: &str, folders: &DataFolders, split: SplitName) -> Result<GivenPairs, String> {
    match find(key).load(folders, split) {
        Ok(LoadedPairs::Given(given)) => Ok(given),
        Ok(LoadedPairs::Raw(_)) => panic!("{key} has features of its own"),
        Err(error) => Err(error.to_string()),
    }
}

/// Pairs of each class in a part.
fn counts(given: &GivenPairs, part: Split) -> Vec<usize> {
    let mut counts = vec![0; given.classes];
    let in_part = given.labels.iter().zip(&given.split).filter(|(_, of)| **of == part);
    in_part.for_each(|(label, _)| counts[*label as usize] += 1);
    counts
}

const OFFICIAL_TRAIN: [usize; 10] = [138, 272, 244, 248, 202, 178, 186, 144, 214, 347];
const OFFICIAL_TEST: [usize; 10] = [34, 88, 96, 85, 65, 58, 51, 41, 71, 104];
const PAPER_TEST: [usize; 10] = [23, 59, 64, 57, 43, 39, 34, 27, 47, 69];

/// First values as SciPy and numpy read them, and counts of the data's README and spec E.1.
#[test]
fn the_real_files_hold_what_their_readme_says() {
    let Some(data) = shared("the_real_files_hold_what_their_readme_says", "data") else { return };
    let folders = DataFolders(vec![data]);
    for (key, (image, text), first) in [
        ("wikipedia", (128, 10), [0.037_323_039_025_068_28, 0.072_571_837_457_160_99]),
        ("wikipedia-cnn", (128, 100), [-18.028_003_692_626_953, 0.718_132_972_717_285_2]),
        ("wikipedia-tfidf", (128, 1000), [0.037_323_039_025_068_28, 0.0]),
    ] {
        let given = load(key, &folders, SplitName::Official).unwrap();
        assert_eq!((given.image.len(), given.text.len()), (2866 * image, 2866 * text), "{key}");
        assert_eq!([given.image[0], given.text[0]].map(f64::to_bits), first.map(f64::to_bits), "{key}");
        assert_eq!(counts(&given, Split::Train), OFFICIAL_TRAIN, "{key}");
        assert_eq!(
            (counts(&given, Split::Validation), counts(&given, Split::Test)),
            (vec![0; 10], OFFICIAL_TEST.into())
        );
        let paper = load(key, &folders, SplitName::Paper).unwrap();
        assert_eq!(counts(&paper, Split::Train), OFFICIAL_TRAIN, "{key}");
        assert_eq!(counts(&paper, Split::Test), PAPER_TEST, "{key}");
        let rest: Vec<usize> = OFFICIAL_TEST.iter().zip(PAPER_TEST).map(|(all, kept)| all - kept).collect();
        assert_eq!(counts(&paper, Split::Validation), rest, "{key}");
        assert!(paper.image == given.image && paper.text == given.text && paper.labels == given.labels, "{key}");
    }
    // Rows of the topics sum to 1, those of TF-IDF have length 1: rows and columns are the right way round.
    let topics = load("wikipedia", &folders, SplitName::Official).unwrap();
    assert!(topics.text.chunks_exact(10).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-9));
    assert!(topics.image.chunks_exact(128).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-6));
    let words = load("wikipedia-tfidf", &folders, SplitName::Official).unwrap();
    assert!(words.text.chunks_exact(1000).all(|row| (row.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-5));
    let digits = load("uci-mfeat", &folders, SplitName::Official).unwrap();
    assert_eq!(digits.image[0].to_bits(), 0.046_047_894_245_563_784_f64.to_bits());
    assert_eq!((digits.image.len(), digits.text.len(), digits.classes), (2000 * 76, 2000 * 64, 10));
    assert_eq!(digits.split.iter().filter(|part| **part == Split::Test).count(), 500);
    assert!(load("uci-mfeat", &folders, SplitName::Paper).unwrap_err().contains("no split `paper`"));
}

#[test]
fn the_catalog_tells_what_is_here_by_content_and_why_the_rest_is_not() {
    let nothing = catalog(&DataFolders(vec!["/nowhere".into()]));
    let keys: Vec<&str> = nothing.data_sets.iter().map(|set| set.key.as_str()).collect();
    assert_eq!(keys, ["emoji"]);
    let absent: Vec<(&str, bool)> = nothing.absent.iter().map(|set| (set.key.as_str(), set.missing)).collect();
    let installable = ["wikipedia", "wikipedia-cnn", "wikipedia-tfidf", "uci-mfeat"].map(|key| (key, true));
    assert_eq!(absent, [&installable[..], &[("pascal-sentence", false)]].concat());
    assert!(nothing.absent[0].reason.contains("looked in /nowhere"), "{}", nothing.absent[0].reason);
    assert!(nothing.absent[0].reason.contains("ORCHESTRATOR_DATA"));
    let Some(data) = shared("the_catalog_tells_what_is_here_by_content_and_why_the_rest_is_not", "data") else {
        return;
    };
    let here = catalog(&DataFolders(vec!["/nowhere".into(), data.clone()]));
    assert_eq!(here.data_sets.len(), 5);
    // The same files elsewhere are the same data set; a byte more is another.
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("uci-mfeat");
    fs::create_dir(&copy).unwrap();
    fs::copy(data.join("uci-mfeat/uci_all.mat"), copy.join("uci_all.mat")).unwrap();
    let version = |folders: &DataFolders| catalog(folders).data_set("uci-mfeat").unwrap().version.clone();
    let moved = DataFolders(vec![elsewhere.path().to_owned()]);
    assert_eq!(version(&moved), here.data_set("uci-mfeat").unwrap().version);
    let mut bytes = fs::read(copy.join("uci_all.mat")).unwrap();
    bytes.push(0);
    fs::write(copy.join("uci_all.mat"), bytes).unwrap();
    assert_ne!(version(&moved), here.data_set("uci-mfeat").unwrap().version);
}

/// A one-dimensional or two-dimensional `.npy` file of version 1.
fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    [&npy::header(descr, shape), values].concat()
}

/// The three files of `wikipedia-cnn` with made-up numbers: one image value and some labels can be set.
fn made_up(folder: &Path, image: f32, labels: &[u8]) {
    let values = |columns: usize, first: f32| -> Vec<u8> {
        let mut values = vec![0.5f32; 2866 * columns];
        values[columns + 2] = first;
        values.into_iter().flat_map(f32::to_le_bytes).collect()
    };
    let folder = folder.join("wikipedia-cnn");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("image_128_f32.npy"), npy("<f4", "(2866, 128)", &values(128, image))).unwrap();
    fs::write(folder.join("text_100_f32.npy"), npy("<f4", "(2866, 100)", &values(100, 1.0))).unwrap();
    fs::write(folder.join("labels_u8.npy"), npy("|u1", "(2866,)", labels)).unwrap();
}

fn good_labels() -> Vec<u8> {
    (0u8..10).cycle().map(|class| class + 1).take(2866).collect()
}

#[test]
fn damaged_files_are_named_with_row_column_and_cure() {
    let home = tempfile::tempdir().unwrap();
    let folders = DataFolders(vec![home.path().to_owned()]);
    let refused = |what: &str| {
        let why = load("wikipedia-cnn", &folders, SplitName::Official).unwrap_err();
        assert!(why.starts_with("data set wikipedia-cnn: "), "{why}");
        assert!(why.contains(what), "{what}\n{why}");
    };
    made_up(home.path(), 0.0, &good_labels());
    assert_eq!(load("wikipedia-cnn", &folders, SplitName::Official).unwrap().labels[11], 1);
    made_up(home.path(), f32::NAN, &good_labels());
    refused("image_128_f32.npy, row 1, column 2: NaN is no finite number; get the file again");
    let mut labels = good_labels();
    labels[7] = 11;
    made_up(home.path(), 0.0, &labels);
    refused("labels_u8.npy, row 7: label 11 is none of 1 to 10; get the file again");
    labels[7] = 0;
    made_up(home.path(), 0.0, &labels);
    refused("row 7: label 0 is none of 1 to 10");
    // Class 9 (sport) is gone from the test pairs, class 1 (art) from those for training.
    let mut labels = good_labels();
    labels[2173..].iter_mut().for_each(|label| *label = if *label == 9 { 8 } else { *label });
    made_up(home.path(), 0.0, &labels);
    refused("class sport has no test pair; get the file again");
    let mut labels = good_labels();
    labels[..2173].iter_mut().for_each(|label| *label = if *label == 1 { 2 } else { *label });
    made_up(home.path(), 0.0, &labels);
    refused("class art has no training pair; get the file again");
    made_up(home.path(), 0.0, &good_labels()[..2865]);
    refused("labels_u8.npy: 2865 bytes of values for 2866 x 1 of 1 bytes each; get the file again");
    let file = |name: &str| home.path().join("wikipedia-cnn").join(name);
    made_up(home.path(), 0.0, &good_labels());
    fs::write(file("labels_u8.npy"), npy("|u1", "(2865,)", &good_labels()[..2865])).unwrap();
    refused("labels_u8.npy (2865 rows): 2866 rows are expected; get the file again");
    fs::write(file("labels_u8.npy"), npy("<i8", "(2866,)", &vec![0; 2866 * 8])).unwrap();
    refused("its values are of type Some(\"<i8\"); <f4, <f8 and |u1 are read; get the file again");
    fs::write(file("labels_u8.npy"), b"").unwrap();
    refused("labels_u8.npy: not a .npy file; get the file again");
    fs::remove_file(file("labels_u8.npy")).unwrap();
    refused("labels_u8.npy: No such file or directory");
    // A set that is there and lacks a file is damaged, not missing: `if-present` does not pass over it.
    let told = catalog(&folders);
    assert!(!told.absent("wikipedia-cnn").unwrap().missing);
}

/// One variable of a MATLAB v5 file: doubles, column after column, not compressed.
fn mat_variable(name: &str, (rows, columns): (u32, u32), values: &[f64]) -> Vec<u8> {
    let element = |kind: u32, bytes: &[u8]| {
        let padding = vec![0; bytes.len().next_multiple_of(8) - bytes.len()];
        let length = u32::try_from(bytes.len()).unwrap();
        [&kind.to_le_bytes()[..], &length.to_le_bytes(), bytes, &padding].concat()
    };
    let flags = element(6, &[6u32.to_le_bytes(), 0u32.to_le_bytes()].concat());
    let sizes = element(5, &[rows.to_le_bytes(), columns.to_le_bytes()].concat());
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let body = [flags, sizes, element(1, name.as_bytes()), element(9, &data)].concat();
    element(14, &body)
}

fn mat_file(variables: &[Vec<u8>]) -> Vec<u8> {
    let mut header = vec![b' '; 116];
    header.extend([0; 8]);
    header.extend([0x00, 0x01, b'I', b'M']);
    [vec![header], variables.to_vec()].concat().concat()
}

#[test]
fn arrays_of_matlab_files_are_read_row_by_row_and_damage_is_a_sentence() {
    let bytes = mat_file(&[mat_variable("A", (2, 3), &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0])]);
    let read = |bytes: &[u8]| Arrays::read(bytes, "f.mat");
    let matrix = read(&bytes).unwrap().matrix("A").unwrap();
    assert_eq!((matrix.rows, matrix.columns), (2, 3));
    assert_eq!(matrix.values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let missing = read(&bytes).unwrap().matrix("B").unwrap_err();
    assert_eq!(missing, "f.mat: array B is missing: the file is cut or another one; get it again");
    let short = mat_file(&[mat_variable("A", (2, 4), &[1.0; 6])]);
    let short = read(&short).and_then(|arrays| arrays.matrix("A")).unwrap_err();
    assert!(short.starts_with("f.mat: ") && short.contains("get"), "{short}");
    let cut = read(&bytes[..bytes.len() - 9]).and_then(|arrays| arrays.matrix("A")).unwrap_err();
    assert!(cut.starts_with("f.mat: ") && cut.contains("get"), "{cut}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_of_a_file_is_more_than_a_sentence(
        cut in 0usize..400, place in 0usize..400, byte: u8, is_npy: bool,
    ) {
        let whole = if is_npy {
            npy("<f8", "(3, 2)", &[7; 48])
        } else {
            mat_file(&[mat_variable("A", (3, 2), &[1.0; 6]), mat_variable("LABELS", (6, 1), &[2.0; 6])])
        };
        let mut bytes = whole[..whole.len().min(cut.max(1))].to_vec();
        let at = place % bytes.len();
        bytes[at] = byte;
        let told = if is_npy {
            npy::read(&bytes, "f").map(|_| ())
        } else {
            Arrays::read(&bytes, "f").and_then(|arrays| arrays.matrix("A")).map(|_| ())
        };
        if let Err(why) = told {
            // The cure of an array depends on whose it is: its caller adds it.
            prop_assert!(why.starts_with("f: ") && (is_npy || why.contains("get")), "{}", why);
        }
    }
}
