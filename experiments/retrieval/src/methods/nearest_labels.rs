//! Items as the classes of their nearest training items: the similarity of the released code of JRL (spec C.4),
//! written as an embedding.

use super::projection::Projection;
use crate::{
    checkpoint::NamedTensor,
    error::Result,
    features::{Pairs, Rows},
    linalg::graph::{similarity, smallest},
    method::{Embedding, EmbeddingValues, FitRecord, Fitted},
    tuning::closed_form::Solution,
};

/// An item is projected, its nearest training items of both modalities are weighed by 1 / (1 + exp(distance)), and
/// their weights are summed by class: the inner product of two such rows is weights * same class * weights'.
#[derive(Clone, Debug)]
pub(crate) struct NearestLabels {
    projection: Projection,
    /// Projected training images, then texts: 2n x components, row-major.
    training: Vec<f64>,
    components: usize,
    /// Class of each of the n pairs.
    labels: Vec<usize>,
    classes: usize,
    nearest: usize,
}

impl NearestLabels {
    /// Projects the training pairs.
    pub(crate) fn new(projection: Projection, train: Pairs<'_>, classes: usize, nearest: usize) -> Result<Self> {
        let (image, text) = (projection.embed_image(train.image)?, projection.embed_text(train.text)?);
        let components = image.dims;
        let training = [wide(image), wide(text)].concat();
        let labels = train.labels.iter().map(|&label| label as usize).collect();
        Ok(Self { projection, training, components, labels, classes, nearest })
    }

    fn classes_of(&self, projected: Embedding) -> Embedding {
        let (rows, dims) = (projected.rows, projected.dims);
        let mut values = vec![0.0; rows * self.classes];
        for (item, out) in wide(projected).chunks_exact(dims).zip(values.chunks_exact_mut(self.classes)) {
            let square = |other: &[f64]| item.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            let squares: Vec<f64> = self.training.chunks_exact(self.components).map(square).collect();
            for (other, square) in smallest((0..).zip(&squares), self.nearest) {
                out[self.labels[other as usize % self.labels.len()]] += similarity(square);
            }
        }
        Embedding { rows, dims: self.classes, values: EmbeddingValues::F64(values) }
    }
}

fn wide(embedding: Embedding) -> Vec<f64> {
    match embedding.values {
        EmbeddingValues::F64(values) => values,
        EmbeddingValues::F32(values) => values.into_iter().map(f64::from).collect(),
    }
}

impl Fitted for NearestLabels {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        Ok(self.classes_of(self.projection.embed_image(rows)?))
    }

    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        Ok(self.classes_of(self.projection.embed_text(rows)?))
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
        self.projection.tensors()
    }

    fn selected_iteration(&self) -> u64 {
        0
    }

    fn record(&self) -> FitRecord {
        self.projection.record()
    }
}

impl Solution for NearestLabels {
    fn dims(&self) -> usize {
        self.classes
    }

    fn truncate(&mut self, _: usize) {
        unreachable!("JRL has no parameter `dims`, so nothing is truncated");
    }
}
