//! Pascal Sentence: known, so that who names it is told why nothing can be compared on it.

use experiment_spec::{
    catalog::{AbsentDataSet, DataSetEntry},
    run::SplitName,
};

use super::{
    data_set::{DataSet, LoadedPairs},
    folders::DataFolders,
};
use crate::error::{Error, Result};

const KEY: &str = "pascal-sentence";
const REASON: &str = "nothing can be trained on it: of its 800 training pairs the texts alone have features (DSCMR, \
                      CVPR 2019), those of the pictures were never published; its 100 test pairs have both";

/// The data set.
#[derive(Clone, Copy, Debug)]
pub struct PascalSentence;

impl DataSet for PascalSentence {
    fn key(&self) -> &'static str {
        KEY
    }

    fn entry(&self, _: &DataFolders) -> std::result::Result<DataSetEntry, AbsentDataSet> {
        Err(AbsentDataSet { key: KEY.into(), reason: REASON.into(), missing: false })
    }

    fn load(&self, _: &DataFolders, _: SplitName) -> Result<LoadedPairs> {
        Err(Error::Data(format!("data set {KEY}: {REASON}")))
    }
}
