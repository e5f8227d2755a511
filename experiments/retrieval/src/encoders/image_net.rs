//! The image network: three convolution blocks, a fully connected layer whose ReLU output is the feature
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
