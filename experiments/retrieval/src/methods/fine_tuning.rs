//! Supervised fine-tuning of one modality: three rectified layers and a softmax layer on top, of which the third
//! hidden layer is kept (spec C.8 step 4; CCL does the same).

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    nn::{
        batches::batch,
        kept::Kept,
        learner::{Descent, Learner, Start},
        losses::cross_entropy,
        stack::{Activation, Stack},
    },
};

/// Rate of the first step; it is halved over every so many.
const RATE: f64 = 0.01;
const HALVED_AFTER: f64 = 10_000.0;
const MOMENTUM: f64 = 0.9;
const DECAY: f64 = 1e-3;
const HIDDEN: [&str; 3] = ["one", "two", "three"];

/// The network of one modality under training.
#[derive(Debug)]
pub struct FineTuning {
    name: &'static str,
    learner: Learner,
    batch: usize,
    seed: u64,
}

impl FineTuning {
    /// A network that has learnt nothing yet: `inputs` columns, three layers of `hidden` units, `classes` scores.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(
        name: &'static str,
        [inputs, hidden, classes]: [usize; 3],
        batch: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut learner = Learner::new(device, DType::F32);
        let mut below = inputs;
        for layer in HIDDEN {
            learner.add_layer(&format!("{name}.tuning.{layer}"), (below, hidden), Start::He, seed)?;
            below = hidden;
        }
        learner.add_layer(&format!("{name}.tuning.out"), (below, classes), Start::Normal, seed)?;
        Ok(Self { name, learner, batch, seed })
    }

    /// One step, counted from 1, on a batch of the rows `x` (`[n, inputs]`) with their classes; gives the mean
    /// cross-entropy before it.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn step(&mut self, x: &Tensor, labels: &[u32], step: u64) -> Result<f64> {
        let rows = batch(self.seed, &format!("{} tuning", self.name), labels.len(), self.batch, step);
        let labels: Vec<u32> = rows.iter().map(|&row| labels[row as usize]).collect();
        let mut x = x.index_select(&Tensor::new(rows, x.device())?, 0)?;
        for layer in HIDDEN {
            x = Activation::Rectified.of(&self.learner.affine(&format!("{}.tuning.{layer}", self.name), &x)?)?;
        }
        let scores = self.learner.affine(&format!("{}.tuning.out", self.name), &x)?;
        let loss = cross_entropy(&scores, &Tensor::new(labels, x.device())?)?;
        let descent = Descent::Momentum { rate: rate(step), momentum: MOMENTUM, decay: DECAY, bias_rate: 1.0 };
        self.learner.descend(&loss, descent, step)
    }

    /// The three hidden layers as they are now.
    ///
    /// # Errors
    /// When the device has no room for the copies.
    pub fn hidden(&self) -> Result<Stack> {
        let layers = HIDDEN.map(|layer| format!("{}.tuning.{layer}", self.name));
        let layers = layers.iter().map(|name| self.learner.layer(name, Activation::Rectified));
        Ok(Stack(layers.collect::<Result<_>>()?))
    }

    /// Everything that further steps depend on.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        self.learner.state()
    }

    /// Puts the network where [`FineTuning::state`] was taken.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        self.learner.restore(kept)
    }
}

/// Exponential decay: half of [`RATE`] after [`HALVED_AFTER`] steps.
#[allow(clippy::cast_precision_loss)] // steps
fn rate(step: u64) -> f64 {
    RATE * libm::exp2(-(step as f64 - 1.0) / HALVED_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Device = Device::Cpu;

    #[test]
    fn rates_by_hand() {
        for (step, wanted) in [(1, 0.01), (10_001, 0.005), (20_001, 0.0025)] {
            assert!((rate(step) - wanted).abs() < 1e-15);
        }
        assert!((rate(5_001) - 0.01 / 2.0f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn it_learns_classes_that_are_apart_and_a_state_goes_on_to_the_same_bits() {
        let labels: Vec<u32> = (0..30).map(|row| row % 3).collect();
        let noise = |row: u32, column: u32| 0.1 * f32::from(u8::try_from(row * 7 + column).unwrap()).sin();
        let value = |row: u32, column: u32| if row % 3 == column { 1.0 } else { noise(row, column) };
        let values: Vec<f32> = (0..30).flat_map(|row| (0..3).map(move |column| value(row, column))).collect();
        let x = Tensor::from_vec(values, (30, 3), &CPU).unwrap();
        let new = || FineTuning::new("image", [3, 8, 3], 10, 2, &CPU).unwrap();
        let (mut network, mut losses, mut middle) = (new(), Vec::new(), Vec::new());
        for step in 1..=200 {
            losses.push(network.step(&x, &labels, step).unwrap());
            if step == 120 {
                middle = network.state().unwrap();
            }
        }
        assert!(losses[199] < 0.2 * losses[0], "{} {}", losses[0], losses[199]);
        let mut again = new();
        let mut kept = Kept::new(middle, &CPU);
        again.restore(&mut kept).unwrap();
        kept.finish().unwrap();
        for (step, loss) in (121..).zip(&losses[120..]) {
            assert_eq!(again.step(&x, &labels, step).unwrap().to_bits(), loss.to_bits(), "step {step}");
        }
        assert_eq!(network.hidden().unwrap().apply(&x).unwrap().dims(), [30, 8]);
    }
}
