//! A fitted CM-GANs: the two encoders with the normalisations of their features.

use super::{
    embed::Encoder,
    form::Modality,
    layout,
    settings::Settings,
    state::{State, Tensors},
};
use crate::{
    checkpoint::{NamedTensor, Values},
    error::{Error, Result},
    features::Rows,
    method::{Embedding, EmbeddingValues, Fitted},
    normalise::Normaliser,
};

/// Normalisations of both modalities' features.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisers {
    /// Of images.
    pub image: Normaliser,
    /// Of texts.
    pub text: Normaliser,
}

/// The encoders of some iteration. Decoders, heads and discriminators have no part in it (spec A.12).
#[derive(Clone, Debug)]
pub struct Model {
    image: Encoder<f32>,
    text: Encoder<f32>,
    weights: Tensors<f32>,
    running: Tensors<f32>,
    normalisers: Normalisers,
    iteration: u64,
}

impl Model {
    /// The encoders with these weights and running statistics, those of `iteration`.
    ///
    /// # Panics
    /// If they are not those that [`layout`] lists: a broken invariant of the caller.
    #[must_use]
    pub fn new(
        settings: &Settings,
        weights: Tensors<f32>,
        running: Tensors<f32>,
        normalisers: Normalisers,
        iteration: u64,
    ) -> Self {
        Self {
            image: Encoder::new(settings, Modality::Image, &weights, &running),
            text: Encoder::new(settings, Modality::Text, &weights, &running),
            weights,
            running,
            normalisers,
            iteration,
        }
    }

    /// The encoders of a whole training state.
    #[must_use]
    pub fn of_state(settings: &Settings, state: State<f32>, normalisers: Normalisers, iteration: u64) -> Self {
        let names = layout::encoder_weights(settings);
        let weights = state.weights.into_iter().filter(|(name, _)| names.binary_search(name).is_ok()).collect();
        Self::new(settings, weights, state.running, normalisers, iteration)
    }

    /// Its weights and running statistics.
    #[must_use]
    pub fn into_tensors(self) -> (Tensors<f32>, Tensors<f32>) {
        (self.weights, self.running)
    }

    fn embed(&self, modality: Modality, rows: Rows<'_>) -> Result<Embedding> {
        let (encoder, normaliser) = match modality {
            Modality::Image => (&self.image, &self.normalisers.image),
            Modality::Text => (&self.text, &self.normalisers.text),
        };
        let name = modality.name();
        if rows.dims() != encoder.input() {
            let (found, wanted) = (rows.dims(), encoder.input());
            return Err(Error::Data(format!("{name} features have {found} columns, the model was fitted on {wanted}")));
        }
        let values = encoder.encode(rows.rows(), |row, out| normaliser.apply(rows.row(row), out));
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::Nan { what: format!("the embedding of {name} features"), iteration: self.iteration });
        }
        Ok(Embedding { rows: rows.rows(), dims: encoder.hidden(), values: EmbeddingValues::F32(values) })
    }
}

impl Fitted for Model {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        self.embed(Modality::Image, rows)
    }

    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        self.embed(Modality::Text, rows)
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        let both = [("weights", &self.weights), ("running", &self.running)];
        let mut tensors: Vec<NamedTensor> = both
            .into_iter()
            .flat_map(|(folder, tensors)| {
                tensors.iter().map(move |(name, array)| NamedTensor {
                    name: format!("{folder}/{name}"),
                    shape: array.shape.clone(),
                    values: Values::F32(array.data.clone()),
                })
            })
            .collect();
        for (side, normaliser) in [("image", &self.normalisers.image), ("text", &self.normalisers.text)] {
            if let Normaliser::Zscore { mean, deviation } = normaliser {
                for (kind, values) in [("mean", mean), ("deviation", deviation)] {
                    tensors.push(NamedTensor {
                        name: format!("zscore/{side}.{kind}"),
                        shape: vec![values.len()],
                        values: Values::F64(values.clone()),
                    });
                }
            }
        }
        tensors
    }

    fn selected_iteration(&self) -> u64 {
        self.iteration
    }
}
