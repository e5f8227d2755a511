//! Two restricted Boltzmann machines on top of each other for each modality, trained one at a time: what CorrAE, CMDN
//! and CCL start from (spec C.6, "RBM training").

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    nn::{
        batches::batch,
        kept::Kept,
        rbm::{Settings, Sparsity, Visible},
        stack::Stack,
        unit::{Unit, UnitKind},
    },
};

/// Rates of the Gaussian layers of both modalities, and of the second layers of images and of texts.
const GAUSSIAN_RATE: f64 = 0.001;
const SECOND_RATES: [f64; 2] = [0.05, 0.01];
const DECAY: f64 = 1e-3;
const MOMENTUM_STEPS: u64 = 10_000;
const SPARSITY: Sparsity = Sparsity { target: 0.1, cost: 0.01 };

/// Settings of machines over what others say: the joint and combination machines of CMDN (spec C.6), those over both
/// grains of CCL.
pub const OVER_OTHERS: Settings =
    Settings { visible: Visible::Logistic, rate: 0.01, decay: 1e-4, momentum_steps: 5_000, sparsity: None };

/// Features of the training pairs of both modalities, standardised: `[n, columns]`.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Of the images.
    pub image: Tensor,
    /// Of the texts.
    pub text: Tensor,
}

impl Inputs {
    /// Some of the rows of both.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn rows(&self, rows: &[u32]) -> Result<Self> {
        let rows = Tensor::new(rows, self.image.device())?;
        Ok(Self { image: self.image.index_select(&rows, 0)?, text: self.text.index_select(&rows, 0)? })
    }
}

/// Sizes and length of the training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Hidden units of the first and second machine of the images.
    pub image: [usize; 2],
    /// Of the texts.
    pub text: [usize; 2],
    /// Steps of each of the four machines.
    pub steps: u64,
    /// Rows a step.
    pub batch: usize,
    /// Machines, or autoencoders in their place.
    pub units: UnitKind,
}

/// The four machines: of the images first and second, of the texts first and second.
#[derive(Debug)]
pub struct RbmStacks {
    names: [String; 4],
    shape: Shape,
    machines: [Unit; 4],
    seed: u64,
}

impl RbmStacks {
    /// Machines that have learnt nothing yet, for features of these columns. Their names begin with `prefix`: it tells
    /// apart the machines of one method, in its draws and in its checkpoints.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(prefix: &str, shape: Shape, columns: [usize; 2], seed: u64, on: (&Device, DType)) -> Result<Self> {
        let names = ["image.rbm1", "image.rbm2", "text.rbm1", "text.rbm2"].map(|name| format!("{prefix}{name}"));
        let settings = |visible, rate| Settings {
            visible,
            rate,
            decay: DECAY,
            momentum_steps: MOMENTUM_STEPS,
            sparsity: Some(SPARSITY),
        };
        let first = |name: &str, columns, hidden| {
            Unit::new(shape.units, name, (columns, hidden), settings(Visible::Gaussian, GAUSSIAN_RATE), seed, on)
        };
        let second = |name: &str, [below, hidden]: [usize; 2], rate| {
            Unit::new(shape.units, name, (below, hidden), settings(Visible::Logistic, rate), seed, on)
        };
        let machines = [
            first(&names[0], columns[0], shape.image[0])?,
            second(&names[1], shape.image, SECOND_RATES[0])?,
            first(&names[2], columns[1], shape.text[0])?,
            second(&names[3], shape.text, SECOND_RATES[1])?,
        ];
        Ok(Self { names, shape, machines, seed })
    }

    /// Steps of all four machines.
    #[must_use]
    pub fn steps(&self) -> u64 {
        4 * self.shape.steps
    }

    /// One step, counted from 1, of the machine whose turn it is; gives its reconstruction error.
    ///
    /// # Errors
    /// When an operation fails.
    ///
    /// # Panics
    /// After the last step: a broken invariant of the method.
    pub fn step(&mut self, inputs: &Inputs, step: u64) -> Result<f64> {
        assert!((1..=self.steps()).contains(&step), "step {step} of {}", self.steps());
        let turn = (step - 1) / self.shape.steps;
        let within = step - turn * self.shape.steps;
        let turn = usize::try_from(turn).expect("below 4");
        let (machine, name) = (turn, &self.names[turn]);
        let features = if machine < 2 { &inputs.image } else { &inputs.text };
        let rows = batch(self.seed, name, features.dim(0)?, self.shape.batch, within);
        let mut visible = features.index_select(&Tensor::new(rows, features.device())?, 0)?;
        if machine % 2 == 1 {
            visible = self.machines[machine - 1].hidden(&visible)?;
        }
        self.machines[machine].step(&visible, within, self.seed)
    }

    /// The ways up of images and texts, as layers.
    ///
    /// # Errors
    /// When the device has no room for copies.
    pub fn stacks(&self) -> Result<[Stack; 2]> {
        let of = |first: usize| -> Result<Stack> {
            Ok(Stack(vec![self.machines[first].upward()?, self.machines[first + 1].upward()?]))
        };
        Ok([of(0)?, of(2)?])
    }

    /// Everything that further steps depend on.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        let states: Result<Vec<_>> = self.machines.iter().map(Unit::state).collect();
        Ok(states?.concat())
    }

    /// Puts the machines where [`RbmStacks::state`] was taken.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        self.machines.iter_mut().try_for_each(|machine| machine.restore(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Device = Device::Cpu;

    fn inputs() -> Inputs {
        let tensor = |columns: u32, salt: f64| {
            let values: Vec<f32> = (0..20 * columns)
                .map(|i| {
                    #[allow(clippy::cast_possible_truncation)]
                    let value = (f64::from(i / columns % 2) * 2.0 - 1.0 + 0.3 * (f64::from(i) * salt).sin()) as f32;
                    value
                })
                .collect();
            Tensor::from_vec(values, (20, columns as usize), &CPU).unwrap()
        };
        Inputs { image: tensor(6, 0.7), text: tensor(4, 0.3) }
    }

    #[test]
    fn machines_take_turns_and_the_second_reads_what_the_first_says() {
        for units in [UnitKind::Rbm, UnitKind::Autoencoder] {
            take_turns(units);
        }
    }

    fn take_turns(units: UnitKind) {
        let shape = Shape { image: [5, 3], text: [4, 2], steps: 7, batch: 8, units };
        let new = || RbmStacks::new("", shape, [6, 4], 3, (&CPU, DType::F32)).unwrap();
        let weights = |it: &RbmStacks| {
            it.machines.each_ref().map(|machine| machine.upward().unwrap().weight.to_vec2::<f32>().unwrap().concat())
        };
        let (mut stacks, inputs) = (new(), inputs());
        let mut middle = Vec::new();
        for turn in 0..4 {
            let before = weights(&stacks);
            for step in 7 * turn + 1..=7 * turn + 7 {
                stacks.step(&inputs, step).unwrap();
                if step == 10 {
                    middle = stacks.state().unwrap();
                }
            }
            let after = weights(&stacks);
            for machine in 0..4 {
                let moved = before[machine] != after[machine];
                assert_eq!(moved, machine as u64 == turn, "machine {machine} in turn {turn}");
            }
        }
        let mut again = new();
        let mut kept = Kept::new(middle, &CPU);
        again.restore(&mut kept).unwrap();
        kept.finish().unwrap();
        for step in 11..=28 {
            again.step(&inputs, step).unwrap();
        }
        assert_eq!(weights(&again), weights(&stacks));
        let [image, text] = stacks.stacks().unwrap();
        assert_eq!(image.apply(&inputs.image).unwrap().dims(), [20, 3]);
        assert_eq!(text.apply(&inputs.text).unwrap().dims(), [20, 2]);
        let some = inputs.rows(&[3, 3, 0]).unwrap();
        assert_eq!((some.image.dims(), some.text.dims()), (&[3, 6][..], &[3, 4][..]));
    }
}
