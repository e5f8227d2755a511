//! The word network of Kim (EMNLP 2014): word vectors, convolutions over windows of words, `ReLU`, the largest
//! value over time (the feature), dropout, and a head over the classes.

use super::{
    adam::Parameter,
    blocks,
    dense::Dense,
    image_net::drop_out,
    softmax::{BatchLoss, cross_entropy, relu},
    words::PAD,
};
use crate::nn::{real::Real, stream::Stream};

/// Sizes of the network.
#[derive(Clone, Copy, Debug)]
pub struct WordShape {
    /// Rows of the table of word vectors.
    pub rows: usize,
    /// Dimensions of a word vector.
    pub dims: usize,
    /// Maps of each window size.
    pub maps: usize,
    /// Classes.
    pub classes: usize,
}

/// Window sizes in words.
pub const WINDOWS: [usize; 3] = [3, 4, 5];

/// One window size: its layer, and what its last forward pass left.
#[derive(Clone, Debug)]
struct Window<T> {
    words: usize,
    layer: Dense<T>,
    columns: Vec<T>,
    d_maps: Vec<T>,
    d_columns: Vec<T>,
    /// Row of the largest value, by text and map.
    chosen: Vec<usize>,
}

/// The network.
#[derive(Clone, Debug)]
pub struct WordNet<T> {
    shape: WordShape,
    vectors: Parameter<T>,
    windows: Vec<Window<T>>,
    head: Dense<T>,
    features: Vec<T>,
    kept: Vec<T>,
    d_features: Vec<T>,
}

impl<T: Real> WordNet<T> {
    /// A network with seeded weights; word vectors are uniform in +-0.25 (spec E.3), the filling 0.
    #[must_use]
    pub fn new(shape: WordShape, seed: u64) -> Self {
        let name = "text.vectors";
        let mut stream = Stream::new(seed, "init text.vectors", 0);
        let mut vectors = Parameter::new(name, shape.rows * shape.dims, false, || stream.uniform_in(-0.25, 0.25));
        vectors.value[PAD as usize * shape.dims..][..shape.dims].fill(T::zero());
        let window = |words| Window {
            words,
            layer: Dense::new(&format!("text.window{words}"), words * shape.dims, shape.maps, seed),
            columns: Vec::new(),
            d_maps: Vec::new(),
            d_columns: Vec::new(),
            chosen: Vec::new(),
        };
        Self {
            shape,
            vectors,
            windows: WINDOWS.into_iter().map(window).collect(),
            head: Dense::new("text.head", WINDOWS.len() * shape.maps, shape.classes, seed),
            features: Vec::new(),
            kept: Vec::new(),
            d_features: Vec::new(),
        }
    }

    /// Dimensions of the feature.
    #[must_use]
    pub fn features(&self) -> usize {
        self.windows.len() * self.shape.maps
    }

    fn forward(&mut self, texts: &[&[u32]]) {
        let (dims, maps) = (self.shape.dims, self.shape.maps);
        let all = self.windows.len() * maps;
        let features = blocks::first(&mut self.features, texts.len() * all);
        for (index, window) in self.windows.iter_mut().enumerate() {
            let positions: usize = texts.iter().map(|text| text.len() + 1 - window.words).sum();
            window.columns.clear();
            for words in texts.iter().flat_map(|text| text.windows(window.words)) {
                for &word in words {
                    window.columns.extend_from_slice(&self.vectors.value[word as usize * dims..][..dims]);
                }
            }
            let values = window.layer.forward(&window.columns, positions);
            let chosen = blocks::first(&mut window.chosen, texts.len() * maps);
            let mut first = 0;
            for (i, text) in texts.iter().enumerate() {
                let end = first + text.len() + 1 - window.words;
                for map in 0..maps {
                    let at = |row: usize| values[row * maps + map];
                    let best = (first + 1..end).fold(first, |best, row| if at(row) > at(best) { row } else { best });
                    chosen[i * maps + map] = best;
                    features[i * all + index * maps + map] = relu(at(best));
                }
                first = end;
            }
        }
    }

    /// Features of some texts (word numbers, at least 5 each): `n x features`, and the logits, `n x classes`.
    /// A text's features do not depend on the others.
    pub fn encode(&mut self, texts: &[&[u32]]) -> (&[T], &[T]) {
        self.forward(texts);
        let features = &self.features[..texts.len() * self.windows.len() * self.shape.maps];
        (features, self.head.forward(features, texts.len()))
    }

    /// Sets all gradients from one batch of texts.
    pub fn learn(
        &mut self,
        texts: &[&[u32]],
        labels: &[u32],
        dropout: f64,
        smoothing: f64,
        draws: &mut Stream,
    ) -> BatchLoss {
        let n = texts.len();
        let size = n * self.features();
        self.forward(texts);
        let kept = blocks::first(&mut self.kept, size);
        let factors = drop_out(kept, &self.features[..size], dropout, draws);
        let logits = self.head.forward(kept, n);
        let loss = cross_entropy(logits, labels, self.shape.classes, smoothing);
        let d_logits = logits.to_vec();
        let d_features = blocks::first(&mut self.d_features, size);
        self.head.backward(kept, n, &d_logits, Some(d_features));
        for (d, (&keep, &value)) in d_features.iter_mut().zip(factors.iter().zip(&self.features)) {
            *d = if value > T::zero() { *d * keep } else { T::zero() };
        }
        self.backward(texts);
        loss
    }

    /// From the gradient of the features to those of the windows and the word vectors.
    fn backward(&mut self, texts: &[&[u32]]) {
        let (dims, maps) = (self.shape.dims, self.shape.maps);
        let all = self.windows.len() * maps;
        self.vectors.gradient.fill(T::zero());
        for (index, window) in self.windows.iter_mut().enumerate() {
            let positions = window.columns.len() / (window.words * dims);
            let d_maps = blocks::first(&mut window.d_maps, positions * maps);
            d_maps.fill(T::zero());
            for (i, chosen) in window.chosen[..texts.len() * maps].chunks_exact(maps).enumerate() {
                for (map, row) in chosen.iter().enumerate() {
                    d_maps[row * maps + map] = self.d_features[i * all + index * maps + map];
                }
            }
            let d_columns = blocks::first(&mut window.d_columns, window.columns.len());
            window.layer.backward(&window.columns, positions, d_maps, Some(d_columns));
            let places = texts.iter().flat_map(|text| text.windows(window.words)).flatten();
            for (&word, d) in places.zip(d_columns.chunks_exact(dims)) {
                if word != PAD {
                    let row = &mut self.vectors.gradient[word as usize * dims..][..dims];
                    row.iter_mut().zip(d).for_each(|(sum, d)| *sum += *d);
                }
            }
        }
    }

    /// Every trained tensor, in a fixed order.
    pub fn parameters(&mut self) -> Vec<&mut Parameter<T>> {
        let mut all = vec![&mut self.vectors];
        for layer in self.windows.iter_mut().map(|window| &mut window.layer).chain([&mut self.head]) {
            all.extend([&mut layer.weight, &mut layer.bias]);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: WordShape = WordShape { rows: 9, dims: 4, maps: 3, classes: 3 };
    const TEXTS: [&[u32]; 4] = [&[2, 3, 4, 5, 6], &[7, 2, 0, 0, 0], &[1, 8, 3, 3, 2, 4, 8], &[6, 6, 1, 5, 0]];

    fn loss(net: &mut WordNet<f64>) -> f64 {
        net.learn(&TEXTS, &[0, 1, 2, 1], 0.3, 0.1, &mut Stream::new(5, "test dropout", 0)).loss
    }

    /// Central differences in f64 on every value; the filling has no gradient, it is never trained.
    #[test]
    fn every_gradient_agrees_with_finite_differences() {
        let mut net = WordNet::<f64>::new(SHAPE, 3);
        // Biases off 0, so that no ReLU stands exactly on its kink.
        for value in net.parameters().into_iter().skip(1).flat_map(|parameter| &mut parameter.value) {
            *value += 0.01;
        }
        loss(&mut net);
        let gradients: Vec<(String, Vec<f64>)> =
            net.parameters().into_iter().map(|p| (p.name.clone(), p.gradient.clone())).collect();
        assert_eq!(gradients.len(), 9);
        for (index, (name, gradient)) in gradients.iter().enumerate() {
            assert!(gradient.iter().any(|g| *g != 0.0), "{name}");
            let first = if name == "text.vectors" { SHAPE.dims } else { 0 };
            assert!(gradient[..first].iter().all(|g| *g == 0.0));
            for (at, analytic) in gradient.iter().enumerate().skip(first) {
                let moved = |by: f64| {
                    let mut other = net.clone();
                    other.parameters()[index].value[at] += by;
                    loss(&mut other)
                };
                let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((numeric - analytic).abs() < 1e-8, "{name}[{at}]: {numeric} {analytic}");
            }
        }
    }

    #[test]
    fn a_text_is_encoded_the_same_alone_and_in_company() {
        let mut net = WordNet::<f64>::new(SHAPE, 3);
        let all = net.encode(&TEXTS).0.to_vec();
        assert_eq!(all.len(), 4 * net.features());
        assert_eq!(net.encode(&TEXTS[2..3]).0, &all[2 * 9..3 * 9]);
    }
}
