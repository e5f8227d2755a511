//! CCL as it is used: codes of the grains side by side, then the layers above them.

use candle_core::{Device, Tensor};

use super::grain::Way;
use crate::{
    checkpoint::NamedTensor,
    error::{Error, Result},
    features::Rows,
    method::{Embedding, FitRecord, Fitted},
    methods::stacked::in_blocks,
    nn::stack::Stack,
};

/// One side, trained.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) coarse: Way,
    pub(super) fine: Option<Way>,
    /// Over the codes of the grains.
    pub(super) above: Stack,
}

impl Side {
    fn embed(&self, rows: Rows<'_>, device: &Device) -> Result<Embedding> {
        in_blocks(rows, |block| {
            let mut codes = self.coarse.codes(block, None, device)?;
            if let Some(fine) = &self.fine {
                let missing = || Error::Data("features to embed have no patches, those learnt from had".to_owned());
                let patches = block.patches().ok_or_else(missing)?;
                let of_patches = fine.codes(patches.rows(), Some(patches.counts()), device)?;
                codes = Tensor::cat(&[codes, of_patches], 1)?;
            }
            self.above.apply(&codes)
        })
    }

    fn tensors(&self, side: &str) -> Result<Vec<NamedTensor>> {
        let mut tensors = self.coarse.tensors(side)?;
        if let Some(fine) = &self.fine {
            tensors.extend(fine.tensors(&format!("{side}.fine"))?);
        }
        tensors.extend(self.above.tensors(&format!("{side}.above"))?);
        Ok(tensors)
    }
}

/// Both sides.
#[derive(Debug)]
pub(super) struct BothSides {
    pub(super) image: Side,
    pub(super) text: Side,
    pub(super) device: Device,
    /// Steps done.
    pub(super) iteration: u64,
    pub(super) record: FitRecord,
}

impl Fitted for BothSides {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        self.image.embed(rows, &self.device)
    }

    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        self.text.embed(rows, &self.device)
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        Ok([self.image.tensors("image")?, self.text.tensors("text")?].concat())
    }

    fn selected_iteration(&self) -> u64 {
        self.iteration
    }

    fn record(&self) -> FitRecord {
        self.record.clone()
    }
}
