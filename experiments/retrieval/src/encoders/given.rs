//! The encoder that trains nothing: the features are the data set's own, bit for bit.

use std::collections::BTreeMap;

use experiment_spec::catalog::EncoderEntry;

use super::encoder::{EncodeContext, EncodedPairs, Encoder, Matrix};
use crate::{
    datasets::data_set::LoadedPairs,
    error::{Error, Result},
};

/// Key of the encoder.
pub const KEY: &str = "given";

/// The encoder.
#[derive(Clone, Copy, Debug)]
pub struct Given;

impl Encoder for Given {
    fn entry(&self) -> EncoderEntry {
        EncoderEntry {
            key: KEY.into(),
            revision: 1,
            description: "the features that the data set comes with; nothing is trained".into(),
            networks: None,
        }
    }

    fn encode(&self, pairs: &LoadedPairs, context: EncodeContext<'_>) -> Result<EncodedPairs> {
        let LoadedPairs::Given(given) = pairs else {
            return Err(Error::User(format!("the encoder {KEY} reads data sets with features of their own alone")));
        };
        if context.patches {
            return Err(Error::User(format!("the encoder {KEY} has no features of patches")));
        }
        let (image, text) = (Matrix::F64(given.image.clone()), Matrix::F64(given.text.clone()));
        Ok(EncodedPairs { image, text, patches: None, facts: BTreeMap::new() })
    }
}
