//! Fully connected layer: y = x W + b, x is n x inputs, W is inputs x outputs.

use super::{adam::Parameter, blocks};
use crate::nn::{
    gemm::{Mat, gemm},
    real::Real,
};

/// The layer with its output of the last forward pass.
#[derive(Clone, Debug)]
pub struct Dense<T> {
    /// Columns of x.
    pub inputs: usize,
    /// Columns of y.
    pub outputs: usize,
    /// `inputs x outputs`.
    pub weight: Parameter<T>,
    /// `outputs`.
    pub bias: Parameter<T>,
    output: Vec<T>,
}

impl<T: Real> Dense<T> {
    /// A layer with seeded weights and zero biases.
    #[must_use]
    pub fn new(name: &str, inputs: usize, outputs: usize, seed: u64) -> Self {
        Self {
            inputs,
            outputs,
            weight: Parameter::weight(&format!("{name}.weight"), inputs * outputs, inputs, seed),
            bias: Parameter::new(&format!("{name}.bias"), outputs, false, || 0.0),
            output: Vec::new(),
        }
    }

    /// `n x outputs` from `n x inputs`.
    pub fn forward(&mut self, x: &[T], n: usize) -> &mut [T] {
        let output = blocks::first(&mut self.output, n * self.outputs);
        output.chunks_exact_mut(self.outputs).for_each(|row| row.copy_from_slice(&self.bias.value));
        gemm(
            output,
            true,
            T::one(),
            Mat::new(x, n, self.inputs),
            Mat::new(&self.weight.value, self.inputs, self.outputs),
        );
        output
    }

    /// The output of the last forward pass.
    #[must_use]
    pub fn output(&self, n: usize) -> &[T] {
        &self.output[..n * self.outputs]
    }

    /// Sets the gradients of weight and bias; writes the gradient of x where it is wanted.
    pub fn backward(&mut self, x: &[T], n: usize, dy: &[T], dx: Option<&mut [T]>) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let dy_view = Mat::new(dy, n, outputs);
        gemm(&mut self.weight.gradient, false, T::one(), Mat::new(x, n, inputs).t(), dy_view);
        self.bias.gradient.fill(T::zero());
        blocks::add_rows(&mut self.bias.gradient, dy);
        if let Some(dx) = dx {
            gemm(dx, false, T::one(), dy_view, Mat::new(&self.weight.value, inputs, outputs).t());
        }
    }
}
