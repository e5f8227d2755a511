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

use std::path::PathBuf;

use data_set::DataSet;
use folders::DataFolders;

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

/// Files of the data set of that key, each as `folder/name`, and where they are; nothing when one is missing.
#[must_use]
pub fn files(key: &str, folders: &DataFolders) -> Vec<(String, PathBuf)> {
    let set = data_sets().into_iter().find(|set| set.key() == key);
    let place = |(folder, name): &(&str, &str)| {
        let path = folders.find(folder)?.join(name);
        path.is_file().then(|| (format!("{folder}/{name}"), path))
    };
    set.and_then(|set| set.files().iter().map(place).collect()).unwrap_or_default()
}
