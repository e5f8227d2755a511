//! The pairs of `wikipedia`, in their order, with CNN features of the pictures and word vectors of the texts (Ding
//! et al., "Cross-modal Hashing via Rank-order Preserving", IEEE TMM 2017). The reduction to 128 dimensions seems to
//! have seen the test pictures.

use super::{
    given_set::{GivenSet, Matrix, Released},
    wikipedia::{CLASSES, PAIRS, PAPER},
};
use crate::npy::{self, Array};

/// The data set.
pub static SET: GivenSet = GivenSet {
    key: "wikipedia-cnn",
    description: "the pairs of `wikipedia` with CNN features (128) and word vectors (100), as released with Ding et \
                  al., IEEE TMM 2017",
    classes: CLASSES,
    files: &[
        ("wikipedia-cnn", "image_128_f32.npy"),
        ("wikipedia-cnn", "text_100_f32.npy"),
        ("wikipedia-cnn", "labels_u8.npy"),
    ],
    dims: (128, 100),
    pairs: PAIRS,
    paper: PAPER,
    read: |files| {
        let array = |at: usize| {
            let (name, bytes) = &files[at];
            let read = npy::read(bytes, name).map_err(|why| format!("{why}; get the file again"));
            let matrix = |Array { rows, columns, values, .. }| Matrix { rows, columns, values, place: name.clone() };
            read.map(|array| vec![matrix(array)])
        };
        Ok(Released { image: array(0)?, text: array(1)?, labels: array(2)? })
    },
};
