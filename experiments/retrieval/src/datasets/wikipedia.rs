//! Wikipedia: 2,866 articles with a picture in 10 classes, with the features released with Rasiwasia et al., "A
//! New Approach to Cross-Modal Multimedia Retrieval", ACM MM 2010.

use super::{
    given_set::{Files, GivenSet, Matrix, Released},
    mat_file::Arrays,
};

/// Class names of the three data sets made of these pairs.
pub(super) const CLASSES: &[&str] =
    &["art", "biology", "geography", "history", "literature", "media", "music", "royalty", "sport", "warfare"];
/// Pairs for training and test.
pub(super) const PAIRS: (usize, usize) = (2173, 693);
/// Test pairs of each class in the paper's split (spec E.1).
pub(super) const PAPER: &[usize] = &[23, 59, 64, 57, 43, 39, 34, 27, 47, 69];

/// The data set.
pub static SET: GivenSet = GivenSet {
    key: "wikipedia",
    description: "2,866 Wikipedia articles with a picture in 10 classes: SIFT bag of words (128) and topics (10), \
                  as released with Rasiwasia et al., ACM MM 2010",
    classes: CLASSES,
    files: &[
        ("wikipedia", "raw_features.mat"),
        ("wikipedia", "trainset_txt_img_cat.list"),
        ("wikipedia", "testset_txt_img_cat.list"),
    ],
    dims: (128, 10),
    pairs: PAIRS,
    paper: PAPER,
    read: |files| released(files, ["T_tr", "T_te"]),
};

/// The pairs with the given arrays as their text features.
pub(super) fn released(files: &Files, text: [&str; 2]) -> Result<Released, String> {
    let arrays = Arrays::read(&files[0].1, &files[0].0)?;
    let both = |names: [&str; 2]| names.into_iter().map(|name| arrays.matrix(name)).collect::<Result<Vec<_>, _>>();
    let labels = files[1..].iter().map(|(name, bytes)| labels(bytes, name)).collect::<Result<_, _>>()?;
    Ok(Released { image: both(["I_tr", "I_te"])?, text: both(text)?, labels })
}

/// Classes of a list with a line a pair: text, picture and class, separated by tabs.
fn labels(bytes: &[u8], name: &str) -> Result<Matrix, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{name}: no text; get the file again"))?;
    let class = |(line, text): (usize, &str)| {
        let class = text.split('\t').nth(2).and_then(|class| class.trim().parse::<u8>().ok()).map(f64::from);
        let cure = "a text, a picture and a class with tabs between are expected; get the file again";
        class.ok_or_else(|| format!("{name}, line {}: {cure}", line + 1))
    };
    let values: Vec<f64> = text.lines().enumerate().map(class).collect::<Result<_, _>>()?;
    Ok(Matrix { rows: values.len(), columns: 1, values, place: name.to_owned() })
}
