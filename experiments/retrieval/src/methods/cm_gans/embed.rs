//! Evaluation mode (spec A.12): originals to common representations with the running statistics. Own
//! code on slices, the same for both forms of the training step, in chunks of a fixed number of rows,
//! so that a row's bits depend neither on how many rows there are nor on where it stands.

use std::collections::BTreeMap;

use super::{
    form::Modality,
    layout,
    settings::Settings,
    state::{Array, Tensors},
};
use crate::nn::{
    gemm::{Mat, gemm},
    layers::NORM_EPSILON,
    real::Real,
};

/// Rows a product takes; the last chunk is filled up with zeros.
const CHUNK_ROWS: usize = 128;

/// Linear, batch norm with running statistics, activation.
#[derive(Clone, Debug)]
struct Layer<T> {
    weight: Vec<T>,
    bias: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
    mean: Vec<T>,
    deviation: Vec<T>,
}

/// The encoder of one modality.
#[derive(Clone, Debug)]
pub struct Encoder<T> {
    layers: [Layer<T>; 2],
    slope: T,
}

impl<T: Real> Encoder<T> {
    /// The encoder of a modality from weights and running statistics.
    ///
    /// # Panics
    /// If a tensor that [`layout::encoder_weights`] or [`layout::running_names`] names is missing: a broken invariant of the caller.
    #[must_use]
    pub fn new(settings: &Settings, modality: Modality, weights: &Tensors<T>, running: &Tensors<T>) -> Self {
        let side = modality.name();
        let data = |tensors: &BTreeMap<String, Array<T>>, name: String| tensors[&name].data.clone();
        let layer = |weight: &str, statistics: String| Layer {
            weight: data(weights, format!("{weight}.weight")),
            bias: data(weights, format!("{weight}.bias")),
            gamma: data(weights, format!("{weight}.gamma")),
            beta: data(weights, format!("{weight}.beta")),
            mean: data(running, format!("{statistics}.mean")),
            deviation: data(running, format!("{statistics}.var"))
                .iter()
                .map(|&variance| (variance + T::of(NORM_EPSILON)).sqrt())
                .collect(),
        };
        let first = layer(&format!("{side}.enc1"), format!("{side}.enc1"));
        let second = layer(layout::enc2(settings, modality), format!("{side}.enc2"));
        Self { layers: [first, second], slope: T::of(settings.activation.slope()) }
    }

    /// Columns of the originals.
    #[must_use]
    pub fn input(&self) -> usize {
        self.layers[0].weight.len() / self.hidden()
    }

    /// Columns of the common representations.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.layers[1].bias.len()
    }

    /// Common representations of `rows` originals, `rows x hidden`; `read` writes one original, `input`
    /// values wide.
    pub fn encode(&self, rows: usize, mut read: impl FnMut(usize, &mut [T])) -> Vec<T> {
        let (input, hidden) = (self.input(), self.hidden());
        let mut originals = vec![T::zero(); CHUNK_ROWS * input];
        let (mut first, mut second) = (vec![T::zero(); CHUNK_ROWS * hidden], vec![T::zero(); CHUNK_ROWS * hidden]);
        let mut codes = Vec::with_capacity(rows * hidden);
        for start in (0..rows).step_by(CHUNK_ROWS) {
            let filled = CHUNK_ROWS.min(rows - start);
            for (offset, original) in originals.chunks_exact_mut(input).enumerate() {
                if offset < filled {
                    read(start + offset, original);
                } else {
                    original.fill(T::zero());
                }
            }
            self.layers[0].forward(&originals, input, &mut first, self.slope);
            self.layers[1].forward(&first, hidden, &mut second, self.slope);
            codes.extend_from_slice(&second[..filled * hidden]);
        }
        codes
    }
}

impl<T: Real> Layer<T> {
    fn forward(&self, x: &[T], input: usize, out: &mut [T], slope: T) {
        let width = self.bias.len();
        gemm(out, false, T::one(), Mat::new(x, CHUNK_ROWS, input), Mat::new(&self.weight, input, width));
        for row in out.chunks_exact_mut(width) {
            for (j, value) in row.iter_mut().enumerate() {
                let normal = (*value + self.bias[j] - self.mean[j]) / self.deviation[j];
                let y = normal * self.gamma[j] + self.beta[j];
                *value = if y > T::zero() { y } else { y * slope };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        methods::cm_gans::{init::initial_state, settings::Sizes},
        nn::stream::Stream,
    };

    #[test]
    fn a_row_has_the_same_bits_whatever_stands_around_it() {
        let sizes = Sizes { image: 37, text: 21, hidden: 45, inter_hidden: 3, classes: 2 };
        for settings in [Settings::paper(), Settings::released()] {
            let state = initial_state::<f32>(&settings, sizes, 5);
            let encoder = Encoder::new(&settings, Modality::Text, &state.weights, &state.running);
            let mut stream = Stream::new(1, "rows", 0);
            let h: Vec<f32> = (0..300 * 21).map(|_| f32::of(stream.normal())).collect();
            let of = |order: &[usize]| {
                encoder.encode(order.len(), |row, out| out.copy_from_slice(&h[order[row] * 21..(order[row] + 1) * 21]))
            };
            let all = of(&(0..300).collect::<Vec<_>>());
            assert!(all.iter().all(|value| value.is_finite()) && all.iter().any(|&value| value > 0.1));
            for order in [vec![7], vec![299, 128, 0], (0..300).rev().collect::<Vec<_>>(), (3..200).collect()] {
                for (got, &row) in of(&order).chunks_exact(45).zip(&order) {
                    assert_eq!(got, &all[row * 45..(row + 1) * 45], "row {row} of {}", order.len());
                }
            }
            assert!(of(&[]).is_empty());
        }
    }
}
