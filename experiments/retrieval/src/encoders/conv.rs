//! Convolution block: 3x3 convolution (zero padding of 1, no bias), max pooling, batch norm, `ReLU`.
//!
//! Images are channels-last (rows, columns, channels), so that the convolution of a whole batch is one
//! product `columns (n s s x 9 c_in) * weight (9 c_in x c_out)`; the backward pass is written by hand.
//! Pooling comes before the batch norm, which then works on a quarter (or ninth) of the values.

use super::{adam::Parameter, blocks, softmax::relu};
use crate::nn::{
    gemm::{Mat, gemm},
    real::Real,
};

const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// Sizes of one block.
#[derive(Clone, Copy, Debug)]
pub struct ConvShape {
    /// Rows and columns of the input.
    pub side: usize,
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Side of the pooling windows; divides `side`.
    pub pool: usize,
}

impl ConvShape {
    /// Rows and columns of the output.
    #[must_use]
    pub fn side_out(&self) -> usize {
        self.side / self.pool
    }

    /// Values of one output image.
    #[must_use]
    pub fn values_out(&self) -> usize {
        self.side_out() * self.side_out() * self.outputs
    }

    fn pixels(&self) -> usize {
        self.side * self.side
    }

    fn window(&self) -> usize {
        9 * self.inputs
    }
}

/// The block with what its last forward pass left for the backward pass.
#[derive(Clone, Debug)]
pub struct ConvBlock<T> {
    /// Sizes.
    pub shape: ConvShape,
    /// `9 c_in x c_out`, rows ordered by kernel row, kernel column, channel.
    pub weight: Parameter<T>,
    /// Scale of the batch norm, `c_out`.
    pub scale: Parameter<T>,
    /// Shift of the batch norm, `c_out`.
    pub shift: Parameter<T>,
    /// Running mean, `c_out`.
    pub mean: Vec<T>,
    /// Running variance, `c_out`.
    pub variance: Vec<T>,
    columns: Vec<T>,
    convolved: Vec<T>,
    /// Pooled values, normalised in place.
    normal: Vec<T>,
    chosen: Vec<u8>,
    output: Vec<T>,
    inverse_deviation: Vec<T>,
    partial: Vec<T>,
    weight_t: Vec<T>,
}

impl<T: Real> ConvBlock<T> {
    /// A block with seeded weights.
    ///
    /// # Panics
    /// If the pooling windows do not tile the image: a broken invariant of the network.
    #[must_use]
    pub fn new(name: &str, shape: ConvShape, seed: u64) -> Self {
        assert!(shape.side.is_multiple_of(shape.pool) && shape.pool < 16, "pooling windows tile the image");
        let (window, outputs) = (shape.window(), shape.outputs);
        Self {
            shape,
            weight: Parameter::weight(&format!("{name}.weight"), window * outputs, window, seed),
            scale: Parameter::new(&format!("{name}.scale"), outputs, false, || 1.0),
            shift: Parameter::new(&format!("{name}.shift"), outputs, false, || 0.0),
            mean: vec![T::zero(); outputs],
            variance: vec![T::one(); outputs],
            columns: Vec::new(),
            convolved: Vec::new(),
            normal: Vec::new(),
            chosen: Vec::new(),
            output: Vec::new(),
            inverse_deviation: vec![T::one(); outputs],
            partial: Vec::new(),
            weight_t: Vec::new(),
        }
    }

    /// `n` output images. In training the batch's own statistics normalise and move the running ones;
    /// otherwise the running ones normalise, and an image's output depends on nothing else.
    pub fn forward(&mut self, x: &[T], n: usize, training: bool) -> &[T] {
        let shape = self.shape;
        let (pixels, window, outputs) = (shape.pixels(), shape.window(), shape.outputs);
        let columns = blocks::first(&mut self.columns, n * pixels * window);
        let image = pixels * shape.inputs;
        blocks::for_each_one(columns, pixels * window, |i, columns| {
            gather(shape, &x[i * image..(i + 1) * image], columns);
        });
        let convolved = blocks::first(&mut self.convolved, n * pixels * outputs);
        let weight = Mat::new(&self.weight.value, window, outputs);
        gemm(convolved, false, T::one(), Mat::new(columns, n * pixels, window), weight);
        let values = shape.values_out();
        let normal = blocks::first(&mut self.normal, n * values);
        let chosen = blocks::first(&mut self.chosen, n * values);
        blocks::for_each(normal, values, chosen, values, |i, pooled, chosen| {
            pool(shape, &convolved[i * pixels * outputs..(i + 1) * pixels * outputs], pooled, chosen);
        });
        self.normalise(n, training);
        &self.output[..n * values]
    }

    /// The output of the last forward pass.
    #[must_use]
    pub fn output(&self, n: usize) -> &[T] {
        &self.output[..n * self.shape.values_out()]
    }

    /// Batch norm and `ReLU` of the pooled values.
    fn normalise(&mut self, n: usize, training: bool) {
        let (values, outputs) = (self.shape.values_out(), self.shape.outputs);
        let normal = &mut self.normal[..n * values];
        let mut mean = self.mean.clone();
        let mut variance = self.variance.clone();
        if training {
            #[allow(clippy::cast_precision_loss)]
            let rows = (n * values / outputs) as f64;
            let partial = blocks::first(&mut self.partial, n * outputs);
            mean.fill(T::zero());
            sums(partial, outputs, normal, values, |_, v| v);
            blocks::add_rows(&mut mean, partial);
            mean.iter_mut().for_each(|m| *m /= T::of(rows));
            variance.fill(T::zero());
            sums(partial, outputs, normal, values, |c, v| (v - mean[c]) * (v - mean[c]));
            blocks::add_rows(&mut variance, partial);
            let (old, new, unbiased) = (T::of(1.0 - MOMENTUM), T::of(MOMENTUM), T::of(MOMENTUM / (rows - 1.0)));
            for c in 0..outputs {
                self.mean[c] = old * self.mean[c] + new * mean[c];
                self.variance[c] = old * self.variance[c] + unbiased * variance[c];
                variance[c] /= T::of(rows);
            }
        }
        for (inverse, variance) in self.inverse_deviation.iter_mut().zip(&variance) {
            *inverse = T::one() / (*variance + T::of(EPSILON)).sqrt();
        }
        let (inverse, scale, shift) = (&self.inverse_deviation, &self.scale.value, &self.shift.value);
        let output = blocks::first(&mut self.output, n * values);
        blocks::for_each(normal, values, output, values, |_, normal, output| {
            for (normal, output) in normal.chunks_exact_mut(outputs).zip(output.chunks_exact_mut(outputs)) {
                for c in 0..outputs {
                    normal[c] = (normal[c] - mean[c]) * inverse[c];
                    output[c] = relu(scale[c] * normal[c] + shift[c]);
                }
            }
        });
    }

    /// Sets the gradients of the parameters from `dy` (gradient of the output of the last forward pass, in
    /// training), which is overwritten; writes the gradient of the input where it is wanted.
    pub fn backward(&mut self, dy: &mut [T], n: usize, dx: Option<&mut [T]>) {
        let shape = self.shape;
        let (pixels, window, outputs, values) = (shape.pixels(), shape.window(), shape.outputs, shape.values_out());
        self.backward_normalise(dy, n);
        let chosen = &self.chosen[..n * values];
        let convolved = &mut self.convolved[..n * pixels * outputs];
        blocks::for_each_one(convolved, pixels * outputs, |i, convolved| {
            unpool(shape, &dy[i * values..(i + 1) * values], &chosen[i * values..(i + 1) * values], convolved);
        });
        let columns = &mut self.columns[..n * pixels * window];
        let gradient = Mat::new(convolved, n * pixels, outputs);
        gemm(&mut self.weight.gradient, false, T::one(), Mat::new(columns, n * pixels, window).t(), gradient);
        if let Some(dx) = dx {
            // The kernels are slow on a transposed right operand: the small weight is turned round instead.
            let weight_t = blocks::first(&mut self.weight_t, window * outputs);
            for (row, weight) in self.weight.value.chunks_exact(outputs).enumerate() {
                for (column, value) in weight.iter().enumerate() {
                    weight_t[column * window + row] = *value;
                }
            }
            gemm(columns, false, T::one(), gradient, Mat::new(weight_t, outputs, window));
            let image = pixels * shape.inputs;
            blocks::for_each_one(&mut dx[..n * image], image, |i, dx| {
                scatter(shape, &columns[i * pixels * window..(i + 1) * pixels * window], dx);
            });
        }
    }

    /// From the gradient of the output to that of the pooled values, in place.
    fn backward_normalise(&mut self, dy: &mut [T], n: usize) {
        let (values, outputs) = (self.shape.values_out(), self.shape.outputs);
        let (normal, output) = (&self.normal[..n * values], &self.output[..n * values]);
        let partial = blocks::first(&mut self.partial, n * 2 * outputs);
        blocks::for_each(dy, values, partial, 2 * outputs, |i, dy, partial| {
            partial.fill(T::zero());
            let (d_shift, d_scale) = partial.split_at_mut(outputs);
            let rows = i * values..(i + 1) * values;
            let (normal, output) = (&normal[rows.clone()], &output[rows]);
            for (at, dy) in dy.chunks_exact_mut(outputs).enumerate() {
                let row = at * outputs..(at + 1) * outputs;
                let (normal, output) = (&normal[row.clone()], &output[row]);
                for c in 0..outputs {
                    dy[c] = if output[c] > T::zero() { dy[c] } else { T::zero() };
                    d_shift[c] += dy[c];
                    d_scale[c] += dy[c] * normal[c];
                }
            }
        });
        let mut both = vec![T::zero(); 2 * outputs];
        blocks::add_rows(&mut both, partial);
        self.shift.gradient.copy_from_slice(&both[..outputs]);
        self.scale.gradient.copy_from_slice(&both[outputs..]);
        #[allow(clippy::cast_precision_loss)]
        let rows = T::of((n * values / outputs) as f64);
        let factor: Vec<T> = self.scale.value.iter().zip(&self.inverse_deviation).map(|(s, d)| *s * *d).collect();
        both.iter_mut().for_each(|v| *v /= rows);
        let (d_shift, d_scale) = both.split_at(outputs);
        blocks::for_each_one(dy, values, |i, dy| {
            for (at, dy) in dy.chunks_exact_mut(outputs).enumerate() {
                let normal = &normal[i * values + at * outputs..][..outputs];
                for c in 0..outputs {
                    dy[c] = factor[c] * (dy[c] - d_shift[c] - normal[c] * d_scale[c]);
                }
            }
        });
    }
}

/// Sum of `term(channel, value)` by channel, one row of `partial` for each image.
fn sums<T: Real>(
    partial: &mut [T],
    channels: usize,
    values: &[T],
    per_image: usize,
    term: impl Fn(usize, T) -> T + Sync,
) {
    blocks::for_each_one(partial, channels, |i, partial| {
        partial.fill(T::zero());
        for row in values[i * per_image..(i + 1) * per_image].chunks_exact(channels) {
            for c in 0..channels {
                partial[c] += term(c, row[c]);
            }
        }
    });
}

/// Windows of one image as rows: `side side x 9 inputs`.
fn gather<T: Real>(shape: ConvShape, image: &[T], columns: &mut [T]) {
    let (side, inputs) = (shape.side, shape.inputs);
    for (pixel, window) in columns.chunks_exact_mut(shape.window()).enumerate() {
        let (y, x) = (pixel / side, pixel % side);
        for (ky, part) in window.chunks_exact_mut(3 * inputs).enumerate() {
            if y + ky == 0 || y + ky > side {
                part.fill(T::zero());
                continue;
            }
            let row = &image[(y + ky - 1) * side * inputs..][..side * inputs];
            let (from, to) = (x.saturating_sub(1), (x + 2).min(side));
            let skipped = (from + 1 - x) * inputs;
            let end = skipped + (to - from) * inputs;
            part[..skipped].fill(T::zero());
            part[skipped..end].copy_from_slice(&row[from * inputs..to * inputs]);
            part[end..].fill(T::zero());
        }
    }
}

/// The adjoint of [`gather`]: every input value collects from the windows that hold it.
fn scatter<T: Real>(shape: ConvShape, columns: &[T], image: &mut [T]) {
    let (side, inputs, window) = (shape.side, shape.inputs, shape.window());
    image.fill(T::zero());
    for (pixel, columns) in columns.chunks_exact(window).enumerate() {
        let (y, x) = (pixel / side, pixel % side);
        for (ky, part) in columns.chunks_exact(3 * inputs).enumerate() {
            if y + ky == 0 || y + ky > side {
                continue;
            }
            let row = &mut image[(y + ky - 1) * side * inputs..][..side * inputs];
            let (from, to) = (x.saturating_sub(1), (x + 2).min(side));
            let part = &part[(from + 1 - x) * inputs..][..(to - from) * inputs];
            row[from * inputs..to * inputs].iter_mut().zip(part).for_each(|(sum, value)| *sum += *value);
        }
    }
}

/// Largest value of each window and its place in the window (the first of equals).
fn pool<T: Real>(shape: ConvShape, convolved: &[T], pooled: &mut [T], chosen: &mut [u8]) {
    let (side, channels, side_out) = (shape.side, shape.outputs, shape.side_out());
    let rows = pooled.chunks_exact_mut(channels).zip(chosen.chunks_exact_mut(channels));
    for (at, (pooled, chosen)) in rows.enumerate() {
        let (y, x) = (at / side_out * shape.pool, at % side_out * shape.pool);
        pooled.copy_from_slice(&convolved[(y * side + x) * channels..][..channels]);
        chosen.fill(0);
        for place in 1..shape.pool * shape.pool {
            let (dy, dx) = (place / shape.pool, place % shape.pool);
            let row = &convolved[((y + dy) * side + x + dx) * channels..][..channels];
            let code = u8::try_from(place).expect("pooling windows have fewer than 256 places");
            for c in 0..channels {
                let larger = row[c] > pooled[c];
                pooled[c] = if larger { row[c] } else { pooled[c] };
                chosen[c] = if larger { code } else { chosen[c] };
            }
        }
    }
}

/// The adjoint of [`pool`]: the gradient goes to the chosen place, zero elsewhere.
fn unpool<T: Real>(shape: ConvShape, dy: &[T], chosen: &[u8], convolved: &mut [T]) {
    let (side, channels, side_out) = (shape.side, shape.outputs, shape.side_out());
    for (at, (dy, chosen)) in dy.chunks_exact(channels).zip(chosen.chunks_exact(channels)).enumerate() {
        let (y, x) = (at / side_out * shape.pool, at % side_out * shape.pool);
        for place in 0..shape.pool * shape.pool {
            let (down, right) = (place / shape.pool, place % shape.pool);
            let row = &mut convolved[((y + down) * side + x + right) * channels..][..channels];
            for c in 0..channels {
                row[c] = if usize::from(chosen[c]) == place { dy[c] } else { T::zero() };
            }
        }
    }
}
