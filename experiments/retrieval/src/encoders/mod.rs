//! Encoders: trained on the training labels of a data set, then frozen; their activations are the features
//! `h_i` and `h_t` that every method reads (spec E.2, E.3). One file each.

pub mod adam;
pub mod augment;
pub mod blocks;
pub mod conv;
pub mod dense;
pub mod encoder;
pub mod given;
pub mod image_net;
pub mod pair;
pub mod small_cnn;
pub mod softmax;
pub mod word_cnn;
pub mod word_net;
pub mod words;

use encoder::Encoder;

/// Every encoder pair.
#[must_use]
pub fn encoders() -> Vec<&'static dyn Encoder> {
    vec![&small_cnn::SmallCnn, &given::Given]
}
