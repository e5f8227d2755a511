//! Trained values and the Adam steps that change them.

use super::blocks;
use crate::{
    checkpoint::{NamedTensor, Values},
    error::{Error, Result},
    nn::{real::Real, stream::Stream},
};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// Values a thread takes at once.
const BLOCK: usize = 1 << 14;

/// One tensor that is trained, with its gradient and its moments.
#[derive(Clone, Debug)]
pub struct Parameter<T> {
    /// Dotted path.
    pub name: String,
    /// Values.
    pub value: Vec<T>,
    /// Gradient of the loss of the last batch.
    pub gradient: Vec<T>,
    /// Running mean of the gradient.
    first: Vec<T>,
    /// Running mean of its square.
    second: Vec<T>,
    /// Whether weight decay reaches it (weights, not biases and scales).
    decays: bool,
}

impl<T: Real> Parameter<T> {
    /// `len` values from `draw`.
    pub fn new(name: &str, len: usize, decays: bool, mut draw: impl FnMut() -> f64) -> Self {
        let value = (0..len).map(|_| T::of(draw())).collect();
        let zeros = vec![T::zero(); len];
        Self { name: name.into(), value, gradient: zeros.clone(), first: zeros.clone(), second: zeros, decays }
    }

    /// Normal values of variance 2 / `fan_in` (He's initialisation for `ReLU`), from the stream of this name.
    #[must_use]
    pub fn weight(name: &str, len: usize, fan_in: usize, seed: u64) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let deviation = libm::sqrt(2.0 / fan_in as f64);
        let mut stream = Stream::new(seed, &format!("init {name}"), 0);
        Self::new(name, len, true, || deviation * stream.normal())
    }

    /// One Adam step with decoupled weight decay; `step` counts from 1.
    pub fn step(&mut self, step: u64, rate: f64, decay: f64) {
        #[allow(clippy::cast_precision_loss)]
        let corrected = |beta: f64| 1.0 - libm::pow(beta, step as f64);
        let rate_1 = T::of(rate / corrected(BETA_1));
        let scale_2 = T::of(1.0 / corrected(BETA_2));
        let keep = T::of(if self.decays { 1.0 - rate * decay } else { 1.0 });
        let (b1, b2, epsilon) = (T::of(BETA_1), T::of(BETA_2), T::of(EPSILON));
        let (c1, c2) = (T::one() - b1, T::one() - b2);
        let gradient = &self.gradient;
        let mut state: Vec<_> = self
            .value
            .chunks_mut(BLOCK)
            .zip(self.first.chunks_mut(BLOCK))
            .zip(self.second.chunks_mut(BLOCK))
            .zip(gradient.chunks(BLOCK))
            .collect();
        blocks::for_each_one(&mut state, 1, |_, block| {
            let (((value, first), second), gradient) = &mut block[0];
            for (((x, m), v), g) in value.iter_mut().zip(first.iter_mut()).zip(second.iter_mut()).zip(gradient.iter()) {
                *m = b1 * *m + c1 * *g;
                *v = b2 * *v + c2 * *g * *g;
                *x = *x * keep - rate_1 * *m / ((*v * scale_2).sqrt() + epsilon);
            }
        });
    }
}

impl Parameter<f32> {
    /// Values and moments, to be kept in a checkpoint.
    #[must_use]
    pub fn tensors(&self) -> Vec<NamedTensor> {
        [("", &self.value), (".m", &self.first), (".v", &self.second)]
            .map(|(suffix, values)| tensor(&format!("{}{suffix}", self.name), values))
            .into()
    }

    /// Takes values and moments back from a checkpoint.
    ///
    /// # Errors
    /// [`Error::Data`] when one is missing or has another size.
    pub fn restore(&mut self, tensors: &[NamedTensor]) -> Result<()> {
        let name = self.name.clone();
        restore(&mut self.value, tensors, &name)?;
        restore(&mut self.first, tensors, &format!("{name}.m"))?;
        restore(&mut self.second, tensors, &format!("{name}.v"))
    }
}

/// A flat tensor of a checkpoint.
#[must_use]
pub fn tensor(name: &str, values: &[f32]) -> NamedTensor {
    NamedTensor { name: name.into(), shape: vec![values.len()], values: Values::F32(values.to_vec()) }
}

/// Takes a flat tensor back from a checkpoint.
///
/// # Errors
/// [`Error::Data`] when it is missing or has another size.
pub fn restore(into: &mut [f32], tensors: &[NamedTensor], name: &str) -> Result<()> {
    match tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.values) {
        Some(Values::F32(values)) if values.len() == into.len() => into.copy_from_slice(values),
        _ => {
            return Err(Error::Data(format!(
                "the checkpoint of the extraction has no tensor `{name}` of {} values; remove it and run again",
                into.len()
            )));
        }
    }
    Ok(())
}
