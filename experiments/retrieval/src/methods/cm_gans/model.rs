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

/// The encoders of some iteration. Decoders and discriminators have no part in it (spec A.12), heads only where class
/// probabilities are the embedding.
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
        Ok(Embedding { rows: rows.rows(), dims: encoder.output(), values: EmbeddingValues::F32(values) })
    }
}

impl Fitted for Model {
    fn embed_image(&self, rows: Rows<'_>) -> Result<Embedding> {
        self.embed(Modality::Image, rows)
    }

    fn embed_text(&self, rows: Rows<'_>) -> Result<Embedding> {
        self.embed(Modality::Text, rows)
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>> {
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
        Ok(tensors)
    }

    fn selected_iteration(&self) -> u64 {
        self.iteration
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        methods::cm_gans::{init::initial_state, settings::Sizes},
        normalise::FeatureNorm,
    };

    const SIZES: Sizes = Sizes { image: 3, text: 2, hidden: 5, inter_hidden: 3, classes: 2 };

    fn model(norm: FeatureNorm) -> Model {
        let settings = Settings::paper();
        let (image, text) = ([1.0f32, 2.0, 3.0, 3.0, 1.0, 0.0], [0.0f32, 1.0, 2.0, 4.0]);
        let normalisers = Normalisers {
            image: Normaliser::fit(norm, Rows::new(&image[..], 3, &[0, 1])),
            text: Normaliser::fit(norm, Rows::new(&text[..], 2, &[0, 1])),
        };
        Model::of_state(&settings, initial_state(&settings, SIZES, 1), normalisers, 12)
    }

    #[test]
    fn a_model_keeps_what_embedding_needs_and_no_more() {
        let names = |norm| model(norm).tensors().unwrap().into_iter().map(|tensor| tensor.name).collect::<Vec<_>>();
        let raw = names(FeatureNorm::Raw);
        assert_eq!(raw.len(), 3 * 4 + 4 * 2, "three layers of four tensors, four pairs of statistics: {raw:?}");
        assert!(raw.contains(&"weights/enc2.gamma".into()) && raw.contains(&"running/text.enc2.var".into()));
        assert!(names(FeatureNorm::Zscore).contains(&"zscore/text.deviation".into()));
        assert_eq!(model(FeatureNorm::Raw).selected_iteration(), 12);
    }

    #[test]
    fn features_are_normalised_before_they_are_embedded() {
        let row = [1.0f32, 2.0, 3.0];
        let embed = |norm, row: &[f32]| model(norm).embed_image(Rows::new(row, 3, &[0])).unwrap();
        let mut scaled = [0.0; 3];
        let normaliser = model(FeatureNorm::Zscore).normalisers.image;
        normaliser.apply(&row[..], &mut scaled);
        assert_eq!(embed(FeatureNorm::Zscore, &row), embed(FeatureNorm::Raw, &scaled));
        assert_ne!(embed(FeatureNorm::Zscore, &row), embed(FeatureNorm::Raw, &row));
    }

    #[test]
    fn features_of_another_width_and_values_that_are_no_numbers_are_refused() {
        let model = model(FeatureNorm::Raw);
        let wide = model.embed_text(Rows::new(&[1.0f32; 3][..], 3, &[0])).unwrap_err();
        assert_eq!(wide.to_string(), "text features have 3 columns, the model was fitted on 2");
        let broken = model.embed_image(Rows::new(&[f32::NAN, 0.0, 0.0][..], 3, &[0])).unwrap_err();
        assert_eq!(broken.to_string(), "the embedding of image features is not a number at iteration 12");
    }
}
