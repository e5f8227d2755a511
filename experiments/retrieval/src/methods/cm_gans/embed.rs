//! Evaluation mode (spec A.12): originals to common representations with the running statistics. Own
//! code on slices, the same for both forms of the training step, in chunks of a fixed number of rows,
//! so that a row's bits depend neither on how many rows there are nor on where it stands.

use std::collections::BTreeMap;

use super::{
    form::Modality,
    layout,
    settings::{Embedded, Settings},
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

/// Linear, softmax.
#[derive(Clone, Debug)]
struct Head<T> {
    weight: Vec<T>,
    bias: Vec<T>,
}

/// The encoder of one modality, with its softmax head where class probabilities are the embedding.
#[derive(Clone, Debug)]
pub struct Encoder<T> {
    layers: [Layer<T>; 2],
    head: Option<Head<T>>,
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
        let head = (settings.embedded == Embedded::Posterior).then(|| {
            let name = layout::head(settings, modality);
            Head { weight: data(weights, format!("{name}.weight")), bias: data(weights, format!("{name}.bias")) }
        });
        Self { layers: [first, second], head, slope: T::of(settings.activation.slope()) }
    }

    /// Columns of the originals.
    #[must_use]
    pub fn input(&self) -> usize {
        self.layers[0].weight.len() / self.hidden()
    }

    /// Columns of the common representations.
    fn hidden(&self) -> usize {
        self.layers[1].bias.len()
    }

    /// Columns of the embeddings: of the common representations, or classes.
    #[must_use]
    pub fn output(&self) -> usize {
        self.head.as_ref().map_or(self.hidden(), |head| head.bias.len())
    }

    /// Embeddings of `rows` originals, `rows x output`; `read` writes one original, `input` values wide.
    pub fn encode(&self, rows: usize, mut read: impl FnMut(usize, &mut [T])) -> Vec<T> {
        let (input, hidden) = (self.input(), self.hidden());
        let mut originals = vec![T::zero(); CHUNK_ROWS * input];
        let (mut first, mut second) = (vec![T::zero(); CHUNK_ROWS * hidden], vec![T::zero(); CHUNK_ROWS * hidden]);
        let mut probabilities = vec![T::zero(); self.head.as_ref().map_or(0, |head| CHUNK_ROWS * head.bias.len())];
        let mut embedded = Vec::with_capacity(rows * self.output());
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
            let chunk = match &self.head {
                None => &second,
                Some(head) => {
                    head.forward(&second, hidden, &mut probabilities);
                    &probabilities
                }
            };
            embedded.extend_from_slice(&chunk[..filled * self.output()]);
        }
        embedded
    }
}

impl<T: Real> Head<T> {
    fn forward(&self, x: &[T], input: usize, out: &mut [T]) {
        let classes = self.bias.len();
        gemm(out, false, T::one(), Mat::new(x, CHUNK_ROWS, input), Mat::new(&self.weight, input, classes));
        for row in out.chunks_exact_mut(classes) {
            for (value, &bias) in row.iter_mut().zip(&self.bias) {
                *value += bias;
            }
            let largest = row.iter().copied().fold(T::neg_infinity(), num_traits::Float::max);
            for value in row.iter_mut() {
                *value = (*value - largest).exp_exact();
            }
            let sum: T = row.iter().copied().sum();
            for value in row.iter_mut() {
                *value /= sum;
            }
        }
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
        let posterior = Settings { embedded: Embedded::Posterior, ..Settings::released() };
        for (settings, columns) in [(Settings::paper(), 45), (Settings::released(), 45), (posterior, 2)] {
            let state = initial_state::<f32>(&settings, sizes, 5);
            let encoder = Encoder::new(&settings, Modality::Text, &state.weights, &state.running);
            let mut stream = Stream::new(1, "rows", 0);
            let h: Vec<f32> = (0..300 * 21).map(|_| f32::of(stream.normal())).collect();
            let of = |order: &[usize]| {
                encoder.encode(order.len(), |row, out| out.copy_from_slice(&h[order[row] * 21..(order[row] + 1) * 21]))
            };
            let all = of(&(0..300).collect::<Vec<_>>());
            assert!(all.iter().all(|value| value.is_finite()) && all.iter().any(|&value| value > 0.1));
            assert_eq!((encoder.output(), all.len()), (columns, 300 * columns));
            for order in [vec![7], vec![299, 128, 0], (0..300).rev().collect::<Vec<_>>(), (3..200).collect()] {
                for (got, &row) in of(&order).chunks_exact(columns).zip(&order) {
                    assert_eq!(got, &all[row * columns..(row + 1) * columns], "row {row} of {}", order.len());
                }
            }
            assert!(of(&[]).is_empty());
        }
    }

    #[test]
    fn a_posterior_is_the_softmax_of_the_modalitys_head_on_its_code() {
        let sizes = Sizes { image: 6, text: 4, hidden: 5, inter_hidden: 3, classes: 3 };
        let posterior = Settings { embedded: Embedded::Posterior, ..Settings::released() };
        let state = initial_state::<f64>(&posterior, sizes, 5);
        let of = |settings: &Settings| {
            let encoder = Encoder::new(settings, Modality::Text, &state.weights, &state.running);
            encoder.encode(2, |row, out| {
                out.iter_mut().zip(0u8..).for_each(|(x, j)| *x = [1.0, -2.0][row] + f64::from(j));
            })
        };
        let (codes, found) = (of(&Settings::released()), of(&posterior));
        let (weight, bias) = (&state.weights["text.head.weight"].data, &state.weights["text.head.bias"].data);
        for (code, found) in codes.chunks_exact(5).zip(found.chunks_exact(3)) {
            let raised: Vec<f64> = (0..3)
                .map(|c| (bias[c] + code.iter().enumerate().map(|(j, s)| s * weight[j * 3 + c]).sum::<f64>()).exp())
                .collect();
            let sum: f64 = raised.iter().sum();
            assert!(raised.iter().zip(found).all(|(e, p)| (e / sum - p).abs() < 1e-14), "{found:?}");
        }
    }
}
