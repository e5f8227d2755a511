//! A fitted CMDN: the way of each modality through the five steps, the other modality absent.

use candle_core::{Device, Tensor};

use super::joint::Trained;
use crate::{
    checkpoint::NamedTensor,
    error::Result,
    features::Rows,
    linalg::standardise::Standardisation,
    method::{Embedding, FitRecord, Fitted},
    methods::{
        column_scales::Scaling,
        stacked::{in_blocks, standardised},
    },
    nn::stack::{Layer, Stack},
};

/// The way of one modality.
#[derive(Debug)]
pub(super) struct Pathway {
    /// 0 for images, 1 for texts.
    pub(super) side: usize,
    /// Features to 0..1, and to mean 0 and deviation 1.
    pub(super) scales: [Standardisation; 2],
    /// Step 1: from scaled features to the code, and its scale.
    pub(super) intra: (Stack, Scaling),
    /// Step 2: from standardised features to the joint layer.
    pub(super) inter: Stack,
    pub(super) joint: Trained,
    /// Step 3: from both, and its scale.
    pub(super) combination: (Layer, Scaling),
    /// Step 4, and its scale.
    pub(super) tuned: (Stack, Scaling),
    /// Step 5: the levels that are used.
    pub(super) levels: Vec<Layer>,
}

impl Pathway {
    fn apply(&self, rows: Rows<'_>, device: &Device) -> Result<Tensor> {
        let features = standardised(&self.scales[0], rows, device)?;
        let intra = self.intra.1.apply(&self.intra.0.apply(&features)?)?;
        let features = standardised(&self.scales[1], rows, device)?;
        let inter = self.joint.of_one(self.side, &self.inter.apply(&features)?)?;
        let both = Stack(vec![self.combination.0.clone()]).apply(&Tensor::cat(&[intra, inter], 1)?)?;
        let tuned = self.tuned.0.apply(&self.combination.1.apply(&both)?)?;
        Stack(self.levels.clone()).apply(&self.tuned.1.apply(&tuned)?)
    }

    fn tensors(&self, side: &str) -> Result<Vec<NamedTensor>> {
        let mut tensors = self.scales[0].tensors(&format!("{side}.unit-range"));
        tensors.extend(self.scales[1].tensors(&format!("{side}.zscore")));
        tensors.extend(self.intra.0.tensors(&format!("{side}.intra"))?);
        tensors.extend(self.intra.1.tensors(&format!("{side}.intra-scale"))?);
        tensors.extend(self.inter.tensors(&format!("{side}.inter"))?);
        tensors.extend(Stack(vec![self.combination.0.clone()]).tensors(&format!("{side}.combination"))?);
        tensors.extend(self.combination.1.tensors(&format!("{side}.combination-scale"))?);
        tensors.extend(self.tuned.0.tensors(&format!("{side}.tuned"))?);
        tensors.extend(self.tuned.1.tensors(&format!("{side}.tuned-scale"))?);
        tensors.extend(Stack(self.levels.clone()).tensors(&format!("{side}.level"))?);
        Ok(tensors)
    }
}

/// Both ways.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) image: Pathway,
    pub(super) text: Pathway,
    pub(super) device: Device,
    pub(super) iteration: u64,
}

impl Fitted for Model {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        in_blocks(rows, |block| self.image.apply(block, &self.device))
    }

    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        in_blocks(rows, |block| self.text.apply(block, &self.device))
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        Ok([self.image.tensors("image")?, self.text.tensors("text")?, self.image.joint.tensors()?].concat())
    }

    fn selected_iteration(&self) -> u64 {
        self.iteration
    }

    fn record(&self) -> FitRecord {
        FitRecord::default()
    }
}
