//! An autoencoder of one logistic hidden layer under Adam: stands in for a Boltzmann machine where that is asked for.

use candle_core::{DType, Device, Tensor};

use super::{
    kept::Kept,
    learner::{Descent, Learner, Start},
    losses::half_squares,
    stack::{Activation, Layer},
};
use crate::{checkpoint::NamedTensor, error::Result};

/// Rate of Adam.
const RATE: f64 = 1e-3;

/// An autoencoder under training.
#[derive(Debug)]
pub struct Autoencoder {
    name: String,
    learner: Learner,
    output: Activation,
}

impl Autoencoder {
    /// One that has learnt nothing yet: `visible` columns through `hidden` logistic units and back, `output` behind
    /// the way back.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(
        name: &str,
        (visible, hidden): (usize, usize),
        output: Activation,
        seed: u64,
        (device, dtype): (&Device, DType),
    ) -> Result<Self> {
        let mut learner = Learner::new(device, dtype);
        learner.add_layer(&format!("{name}.up"), (visible, hidden), Start::Normal, seed)?;
        learner.add_layer(&format!("{name}.back"), (hidden, visible), Start::Normal, seed)?;
        Ok(Self { name: name.into(), learner, output })
    }

    /// One step, counted from 1: `target` is to be rebuilt from `input`, rows of both belong together; gives the mean
    /// squared difference before it.
    ///
    /// # Errors
    /// When the shapes do not fit.
    #[allow(clippy::cast_precision_loss)] // columns
    pub fn step(&mut self, input: &Tensor, target: &Tensor, step: u64) -> Result<f64> {
        let hidden = self.hidden(input)?;
        let rebuilt = self.output.of(&self.learner.affine(&format!("{}.back", self.name), &hidden)?)?;
        let loss = half_squares(&rebuilt, target)?;
        let told = self.learner.descend(&loss, Descent::Adam { rate: RATE, decay: 0.0 }, step)?;
        Ok(2.0 * told / target.dim(1)? as f64)
    }

    /// What the hidden units say: `[n, visible]` to `[n, hidden]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn hidden(&self, input: &Tensor) -> Result<Tensor> {
        Activation::Logistic.of(&self.learner.affine(&format!("{}.up", self.name), input)?)
    }

    /// The way up, as a layer.
    ///
    /// # Errors
    /// When the device has no room for the copy.
    pub fn upward(&self) -> Result<Layer> {
        self.learner.layer(&format!("{}.up", self.name), Activation::Logistic)
    }

    /// Everything that further steps depend on.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        self.learner.state()
    }

    /// Puts it where [`Autoencoder::state`] was taken.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        self.learner.restore(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_to_rebuild_what_it_is_not_shown() {
        let cpu = Device::Cpu;
        let target = Tensor::new(&[[1.0f64, 0.0, 1.0], [0.0, 1.0, 0.0]], &cpu).unwrap();
        let input = Tensor::new(&[[1.0f64, 0.0, 0.0], [0.0, 1.0, 0.0]], &cpu).unwrap();
        let new = || Autoencoder::new("toy", (3, 4), Activation::Logistic, 1, (&cpu, DType::F64)).unwrap();
        let (mut one, mut errors, mut middle) = (new(), Vec::new(), Vec::new());
        for step in 1..=3000 {
            errors.push(one.step(&input, &target, step).unwrap());
            if step == 2000 {
                middle = one.state().unwrap();
            }
        }
        assert!(errors[2999] < 0.02 * errors[0], "{} {}", errors[0], errors[2999]);
        let mut again = new();
        let mut kept = Kept::new(middle, &cpu);
        again.restore(&mut kept).unwrap();
        kept.finish().unwrap();
        assert_eq!(again.step(&input, &target, 2001).unwrap().to_bits(), errors[2000].to_bits());
        assert_eq!(one.upward().unwrap().weight.dims(), [3, 4]);
    }
}
