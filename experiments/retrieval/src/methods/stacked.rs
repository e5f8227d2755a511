//! Fully connected layers of both modalities over standardised features: what most deep methods are once trained.

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    features::Rows,
    linalg::standardise::Standardisation,
    method::{Embedding, EmbeddingValues, FitRecord, Fitted},
    nn::stack::Stack,
};

/// Rows embedded at once: bounds the memory of an embedding.
const BLOCK: usize = 512;

/// Standardised features through the layers of their modality, in f32.
#[derive(Debug)]
pub struct Stacked {
    /// Of the images.
    pub image: (Standardisation, Stack),
    /// Of the texts.
    pub text: (Standardisation, Stack),
    /// Where the layers lie.
    pub device: Device,
    /// Iteration whose weights these are.
    pub iteration: u64,
    /// What the fit has to say.
    pub record: FitRecord,
}

/// Standardised features in f32 on a device: `[rows, columns]`.
///
/// # Errors
/// When the device has no room.
pub fn standardised(standardisation: &Standardisation, rows: Rows<'_>, device: &Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(rows.rows() * rows.dims());
    for first in (0..rows.rows()).step_by(BLOCK) {
        let block = rows.with_selection(&rows.selection()[first..rows.rows().min(first + BLOCK)]);
        values.extend(standardisation.apply_f32(block));
    }
    Ok(Tensor::from_vec(values, (rows.rows(), rows.dims()), device)?)
}

/// Embeds rows a block at a time: `embed` gives `[rows of the block, columns]`.
///
/// # Errors
/// When `embed` fails, or its result cannot be read back.
pub fn in_blocks(rows: Rows<'_>, embed: impl Fn(Rows<'_>) -> Result<Tensor>) -> Result<Embedding> {
    let (mut values, mut dims) = (Vec::new(), 0);
    for first in (0..rows.rows()).step_by(BLOCK) {
        let out = embed(rows.with_selection(&rows.selection()[first..rows.rows().min(first + BLOCK)]))?;
        dims = out.dim(1)?;
        values.extend(out.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(Embedding { rows: rows.rows(), dims, values: EmbeddingValues::F32(values) })
}

impl Stacked {
    fn embed(&self, (standardisation, stack): &(Standardisation, Stack), rows: Rows<'_>) -> Result<Embedding> {
        in_blocks(rows, |block| stack.apply(&standardised(standardisation, block, &self.device)?))
    }
}

impl Fitted for Stacked {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        self.embed(&self.image, rows)
    }

    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        self.embed(&self.text, rows)
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let mut tensors = Vec::new();
        for (side, (standardisation, stack)) in [("image", &self.image), ("text", &self.text)] {
            tensors.extend(standardisation.tensors(side));
            tensors.extend(stack.tensors(side)?);
        }
        Ok(tensors)
    }

    fn selected_iteration(&self) -> u64 {
        self.iteration
    }

    fn record(&self) -> FitRecord {
        self.record.clone()
    }
}
