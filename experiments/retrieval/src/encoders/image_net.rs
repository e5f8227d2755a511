//! The image network: three convolution blocks, a fully connected layer whose `ReLU` output is the feature
//! (as fc7 is in the paper), dropout, and a head over the classes.

use super::{
    adam::Parameter,
    blocks,
    conv::{ConvBlock, ConvShape},
    dense::Dense,
    softmax::{BatchLoss, cross_entropy, relu},
};
use crate::nn::{real::Real, stream::Stream};

/// Sizes of the network.
#[derive(Clone, Copy, Debug)]
pub struct ImageShape {
    /// Rows and columns of the input.
    pub side: usize,
    /// Channels of the three blocks.
    pub channels: [usize; 3],
    /// Pooling windows of the three blocks.
    pub pools: [usize; 3],
    /// Dimensions of the feature.
    pub features: usize,
    /// Classes.
    pub classes: usize,
}

/// The network.
#[derive(Clone, Debug)]
pub struct ImageNet<T> {
    shape: ImageShape,
    blocks: Vec<ConvBlock<T>>,
    feature: Dense<T>,
    head: Dense<T>,
    kept: Vec<T>,
    d_feature: Vec<T>,
    d_input: [Vec<T>; 2],
}

impl<T: Real> ImageNet<T> {
    /// A network with seeded weights.
    #[must_use]
    pub fn new(shape: ImageShape, seed: u64) -> Self {
        let (mut side, mut inputs) = (shape.side, 3);
        let mut blocks = Vec::new();
        for (i, (&outputs, &pool)) in shape.channels.iter().zip(&shape.pools).enumerate() {
            let block = ConvShape { side, inputs, outputs, pool };
            blocks.push(ConvBlock::new(&format!("image.conv{}", i + 1), block, seed));
            (side, inputs) = (block.side_out(), outputs);
        }
        Self {
            shape,
            blocks,
            feature: Dense::new("image.feature", side * side * inputs, shape.features, seed),
            head: Dense::new("image.head", shape.features, shape.classes, seed),
            kept: Vec::new(),
            d_feature: Vec::new(),
            d_input: [Vec::new(), Vec::new()],
        }
    }

    /// Features of `n` images, `n x features`, not negative.
    fn forward(&mut self, x: &[T], n: usize, training: bool) {
        let mut input = x;
        for block in &mut self.blocks {
            input = block.forward(input, n, training);
        }
        let features = self.feature.forward(input, n);
        features.iter_mut().for_each(|v| *v = relu(*v));
    }

    /// Features of `n` images for use: `n x features`, and the logits, `n x classes`. Row by row: an image's
    /// features do not depend on the others.
    pub fn encode(&mut self, x: &[T], n: usize) -> (&[T], &[T]) {
        self.forward(x, n, false);
        let features = self.feature.output(n);
        let logits = self.head.forward(features, n);
        (features, logits)
    }

    /// Sets all gradients from one batch of images (`n x side x side x 3`).
    pub fn learn(&mut self, x: &[T], labels: &[u32], dropout: f64, smoothing: f64, draws: &mut Stream) -> BatchLoss {
        let n = labels.len();
        let size = n * self.shape.features;
        self.forward(x, n, true);
        let features = self.feature.output(n);
        let kept = blocks::first(&mut self.kept, size);
        let factors = drop_out(kept, features, dropout, draws);
        let logits = self.head.forward(kept, n);
        let loss = cross_entropy(logits, labels, self.shape.classes, smoothing);
        let d_feature = blocks::first(&mut self.d_feature, size);
        let d_logits = self.head.output(n).to_vec();
        self.head.backward(kept, n, &d_logits, Some(d_feature));
        for (d, (&keep, &value)) in d_feature.iter_mut().zip(factors.iter().zip(features)) {
            *d = if value > T::zero() { *d * keep } else { T::zero() };
        }
        let [a, b] = &mut self.d_input;
        let (mut dy, mut dx) = (a, b);
        let last = self.blocks.last().expect("there are three blocks");
        let flat = blocks::first(dy, n * last.shape.values_out());
        self.feature.backward(last.output(n), n, d_feature, Some(flat));
        for i in (0..self.blocks.len()).rev() {
            let shape = self.blocks[i].shape;
            let wanted = (i > 0).then(|| blocks::first(dx, n * shape.side * shape.side * shape.inputs));
            self.blocks[i].backward(&mut dy[..n * shape.values_out()], n, wanted);
            std::mem::swap(&mut dy, &mut dx);
        }
        loss
    }

    /// Every trained tensor, in a fixed order.
    pub fn parameters(&mut self) -> Vec<&mut Parameter<T>> {
        let mut all = Vec::new();
        for block in &mut self.blocks {
            all.extend([&mut block.weight, &mut block.scale, &mut block.shift]);
        }
        for dense in [&mut self.feature, &mut self.head] {
            all.extend([&mut dense.weight, &mut dense.bias]);
        }
        all
    }

    /// Running statistics by name, in a fixed order.
    pub fn statistics(&mut self) -> Vec<(String, &mut Vec<T>)> {
        let named = self.blocks.iter_mut().zip(1..).flat_map(|(block, i)| {
            [(format!("image.conv{i}.mean"), &mut block.mean), (format!("image.conv{i}.variance"), &mut block.variance)]
        });
        named.collect()
    }
}

/// Writes `values` times 0 or 1/(1 - `rate`) to `kept`; gives the factors.
pub fn drop_out<T: Real>(kept: &mut [T], values: &[T], rate: f64, draws: &mut Stream) -> Vec<T> {
    let keep = T::of(1.0 / (1.0 - rate));
    let factors: Vec<T> =
        values.iter().map(|_| if rate > 0.0 && draws.uniform() < rate { T::zero() } else { keep }).collect();
    for ((kept, value), factor) in kept.iter_mut().zip(values).zip(&factors) {
        *kept = *value * *factor;
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gemm;

    const SHAPE: ImageShape = ImageShape { side: 12, channels: [3, 4, 5], pools: [2, 2, 3], features: 6, classes: 3 };

    fn batch(n: usize) -> (Vec<f64>, Vec<u32>) {
        let mut draws = Stream::new(5, "test images", 0);
        ((0..n * SHAPE.side * SHAPE.side * 3).map(|_| draws.uniform()).collect(), (0..3).cycle().take(n).collect())
    }

    fn loss(net: &mut ImageNet<f64>, x: &[f64], labels: &[u32]) -> f64 {
        net.learn(x, labels, 0.4, 0.1, &mut Stream::new(5, "test dropout", 0)).loss
    }

    /// Central differences in f64 on some values of every tensor, convolution to head.
    #[test]
    fn every_gradient_agrees_with_finite_differences() {
        let (x, labels) = batch(7);
        let mut net = ImageNet::<f64>::new(SHAPE, 3);
        // Biases off 0, so that no ReLU stands exactly on its kink.
        for value in net.parameters().into_iter().flat_map(|parameter| &mut parameter.value) {
            *value += 0.01;
        }
        let base = loss(&mut net, &x, &labels);
        let gradients: Vec<(String, Vec<f64>)> =
            net.parameters().into_iter().map(|p| (p.name.clone(), p.gradient.clone())).collect();
        assert_eq!(gradients.len(), 13);
        for (index, (name, gradient)) in gradients.iter().enumerate() {
            assert!(gradient.iter().any(|g| *g != 0.0), "{name}");
            for at in (0..gradient.len()).step_by(gradient.len() / 9 + 1) {
                let moved = |by: f64| {
                    let mut other = net.clone();
                    other.parameters()[index].value[at] += by;
                    loss(&mut other, &x, &labels)
                };
                let (step, analytic) = (1e-6, gradient[at]);
                let numeric = (moved(step) - moved(-step)) / (2.0 * step);
                assert!((numeric - analytic).abs() < 1e-7, "{name}[{at}]: {numeric} {analytic}, loss {base}");
            }
        }
    }

    #[test]
    fn bits_depend_neither_on_threads_nor_on_the_company_of_an_image() {
        let (x, labels) = batch(9);
        let run = |threads| {
            gemm::set_threads(threads);
            let mut net = ImageNet::<f64>::new(SHAPE, 3);
            for step in 1..4 {
                loss(&mut net, &x, &labels);
                net.parameters().into_iter().for_each(|parameter| parameter.step(step, 1e-2, 0.1));
            }
            let features = net.encode(&x, 9).0.to_vec();
            gemm::set_threads(1);
            (features, net)
        };
        let (one, mut net) = run(1);
        assert!(one.iter().all(|v| *v >= 0.0) && one.iter().any(|v| *v > 0.0));
        for threads in [2, 4] {
            assert_eq!(run(threads).0, one, "{threads} threads");
        }
        let size = SHAPE.side * SHAPE.side * 3;
        let alone = net.encode(&x[4 * size..5 * size], 1).0.to_vec();
        // The kernels sum a batch of one in another order, so the last bits may differ.
        for (a, b) in alone.iter().zip(&one[4 * SHAPE.features..]) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }
}
