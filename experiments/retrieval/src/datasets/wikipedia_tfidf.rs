//! The pairs of `wikipedia` with a wide text modality: TF-IDF of 1,000 words. Plain CCA overfits on it.

use super::{
    given_set::GivenSet,
    wikipedia::{CLASSES, PAIRS, PAPER, released},
};

/// The data set.
pub static SET: GivenSet = GivenSet {
    key: "wikipedia-tfidf",
    description: "the pairs of `wikipedia` with TF-IDF of 1,000 words as text; pictures as SIFT bag of words (128)",
    classes: CLASSES,
    files: &[
        ("wikipedia-tfidf", "raw_features.mat"),
        ("wikipedia", "trainset_txt_img_cat.list"),
        ("wikipedia", "testset_txt_img_cat.list"),
    ],
    dims: (128, 1000),
    pairs: PAIRS,
    paper: PAPER,
    read: |files| released(files, ["T_tfidf_tr", "T_tfidf_te"]),
};
