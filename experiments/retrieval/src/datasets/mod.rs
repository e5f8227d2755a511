//! Data sets: pairs of an image and a text with a class, and the split. One file each.

pub mod data_set;
pub mod emoji;
pub mod folders;
pub mod given_set;
pub mod mat_file;
pub mod pascal_sentence;
pub mod synthetic;
pub mod uci_mfeat;
pub mod wikipedia;
pub mod wikipedia_cnn;
pub mod wikipedia_tfidf;

use data_set::DataSet;

/// Every data set that this program knows.
#[must_use]
pub fn data_sets() -> Vec<&'static dyn DataSet> {
    vec![
        &emoji::Emoji,
        &wikipedia::SET,
        &wikipedia_cnn::SET,
        &wikipedia_tfidf::SET,
        &uci_mfeat::SET,
        &pascal_sentence::PascalSentence,
    ]
}
