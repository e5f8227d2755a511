//! Data sets: pairs of an image and a text with a class, and the split. One file each.

pub mod data_set;
pub mod emoji;
pub mod synthetic;

use data_set::DataSet;

/// Every data set that this installation can read.
#[must_use]
pub fn data_sets() -> Vec<&'static dyn DataSet> {
    vec![&emoji::Emoji]
}
