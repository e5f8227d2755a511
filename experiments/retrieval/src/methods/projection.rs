//! Linear maps of both modalities into a common space: what the linear methods fit.

use faer::Mat;

use crate::{
    checkpoint::{NamedTensor, Values},
    error::Result,
    features::Rows,
    linalg::{
        components::fix_signs,
        product::{product, rows},
        standardise::Standardisation,
    },
    method::{Embedding, EmbeddingValues, FitRecord, Fitted},
    tuning::closed_form::Solution,
};

/// Standardised image features times A, standardised text features times B; components in order of worth.
#[derive(Clone, Debug)]
pub struct Projection {
    image: (Standardisation, Mat<f64>),
    text: (Standardisation, Mat<f64>),
    /// One number a component (correlations, singular values), kept under this name.
    worth: Option<(&'static str, Vec<f64>)>,
    record: FitRecord,
}

impl Projection {
    /// The maps A (image columns x components) and B (text columns x components), the sign of each component fixed
    /// by the rule of spec C.0.
    ///
    /// # Panics
    /// If the two sides have different numbers of components: a broken invariant of the method.
    #[must_use]
    pub fn new(image: (Standardisation, Mat<f64>), text: (Standardisation, Mat<f64>), record: FitRecord) -> Self {
        let (mut image, mut text) = (image, text);
        fix_signs(&mut image.1, &mut text.1);
        Self { image, text, worth: None, record }
    }

    /// The maps as they were found: components that are scores of classes have signs of their own.
    #[must_use]
    pub fn as_found(image: (Standardisation, Mat<f64>), text: (Standardisation, Mat<f64>), record: FitRecord) -> Self {
        Self { image, text, worth: None, record }
    }

    /// The same maps with a number for each component, kept as tensor `name`.
    #[must_use]
    pub fn with_worth(self, name: &'static str, values: Vec<f64>) -> Self {
        Self { worth: Some((name, values)), ..self }
    }

    /// A: image columns x components.
    #[must_use]
    pub fn image_map(&self) -> &Mat<f64> {
        &self.image.1
    }

    /// B: text columns x components.
    #[must_use]
    pub fn text_map(&self) -> &Mat<f64> {
        &self.text.1
    }
}

fn embed(side: &(Standardisation, Mat<f64>), features: Rows<'_>) -> Embedding {
    let (standardisation, map) = side;
    embedding(&product(standardisation.apply(features).as_ref(), map.as_ref()))
}

/// A matrix of rows x components as an embedding.
pub(crate) fn embedding(matrix: &Mat<f64>) -> Embedding {
    let values = EmbeddingValues::F64(rows(matrix.as_ref()));
    Embedding { rows: matrix.nrows(), dims: matrix.ncols(), values }
}

/// A matrix as a kept tensor.
pub(crate) fn tensor(name: impl Into<String>, matrix: &Mat<f64>) -> NamedTensor {
    let values = Values::F64(rows(matrix.as_ref()));
    NamedTensor { name: name.into(), shape: vec![matrix.nrows(), matrix.ncols()], values }
}

impl Fitted for Projection {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        Ok(embed(&self.image, rows))
    }

    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        Ok(embed(&self.text, rows))
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let mut tensors = Vec::new();
        for (side, (standardisation, map)) in [("image", &self.image), ("text", &self.text)] {
            tensors.extend(standardisation.tensors(side));
            tensors.push(tensor(format!("{side}.map"), map));
        }
        tensors.extend(self.worth.iter().map(|(name, values)| NamedTensor {
            name: (*name).into(),
            shape: vec![values.len()],
            values: Values::F64(values.clone()),
        }));
        Ok(tensors)
    }

    fn selected_iteration(&self) -> u64 {
        0
    }

    fn record(&self) -> FitRecord {
        self.record.clone()
    }
}

impl Solution for Projection {
    fn dims(&self) -> usize {
        self.image.1.ncols()
    }

    fn truncate(&mut self, dims: usize) {
        for (_, map) in [&mut self.image, &mut self.text] {
            map.truncate(map.nrows(), dims);
        }
        if let Some((_, values)) = &mut self.worth {
            values.truncate(dims);
        }
    }
}
