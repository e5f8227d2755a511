//! A fitted KCCA: (k(x, points) - offset) coefficients, for the exact form and for landmarks alike.

use faer::Mat;

use super::kernel::Kernel;
use crate::{
    checkpoint::{NamedTensor, Values},
    error::Result,
    features::Rows,
    linalg::{components::fix_signs, product::product, standardise::Standardisation},
    method::{Embedding, FitRecord, Fitted},
    methods::projection::{embedding, tensor},
    tuning::closed_form::Solution,
};

/// One modality. Centring a kernel row is linear, so it is folded into offset and coefficients.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) standardisation: Standardisation,
    pub(super) kernel: Kernel,
    /// Standardised training rows or landmarks: m x columns.
    pub(super) points: Mat<f64>,
    /// Mean of each column of the training kernel: m.
    pub(super) offset: Vec<f64>,
    /// m x components.
    pub(super) coefficients: Mat<f64>,
}

impl Side {
    fn embed(&self, rows: Rows<'_>) -> Embedding {
        let mut kernel = self.kernel.between(self.standardisation.apply(rows).as_ref(), self.points.as_ref());
        for (column, offset) in kernel.col_iter_mut().zip(&self.offset) {
            column.iter_mut().for_each(|value| *value -= offset);
        }
        embedding(&product(kernel.as_ref(), self.coefficients.as_ref()))
    }

    fn tensors(&self, side: &str) -> Vec<NamedTensor> {
        let mut tensors = self.standardisation.tensors(side);
        let vector = |name: &str, values: Vec<f64>| NamedTensor {
            name: format!("{side}.{name}"),
            shape: vec![values.len()],
            values: Values::F64(values),
        };
        tensors.push(tensor(format!("{side}.points"), &self.points));
        tensors.push(vector("offset", self.offset.clone()));
        tensors.push(tensor(format!("{side}.coefficients"), &self.coefficients));
        if let Kernel::Gaussian(bandwidth) = self.kernel {
            tensors.push(vector("bandwidth", vec![bandwidth]));
        }
        tensors
    }
}

/// Both modalities.
#[derive(Clone, Debug)]
pub(super) struct Model {
    image: Side,
    text: Side,
    correlations: Vec<f64>,
    record: FitRecord,
}

impl Model {
    /// Fixes the sign of each component (spec C.0).
    pub(super) fn new(image: Side, text: Side, correlations: Vec<f64>, record: FitRecord) -> Self {
        let (mut image, mut text) = (image, text);
        fix_signs(&mut image.coefficients, &mut text.coefficients);
        Self { image, text, correlations, record }
    }
}

impl Fitted for Model {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        Ok(self.image.embed(rows))
    }

    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        Ok(self.text.embed(rows))
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let values = Values::F64(self.correlations.clone());
        let correlations = NamedTensor { name: "correlations".into(), shape: vec![self.correlations.len()], values };
        Ok([self.image.tensors("image"), self.text.tensors("text"), vec![correlations]].concat())
    }

    fn selected_iteration(&self) -> u64 {
        0
    }

    fn record(&self) -> FitRecord {
        self.record.clone()
    }
}

impl Solution for Model {
    fn dims(&self) -> usize {
        self.correlations.len()
    }

    fn truncate(&mut self, dims: usize) {
        for side in [&mut self.image, &mut self.text] {
            side.coefficients.truncate(side.coefficients.nrows(), dims);
        }
        self.correlations.truncate(dims);
    }
}
