//! The layer over both modalities of step 2, and what it says of one of them alone (spec C.8).

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    methods::rbm_stacks::OVER_OTHERS,
    nn::{
        autoencoder::Autoencoder,
        exact::{logistic, product},
        kept::{Kept, named},
        rbm::Machine,
        stack::Layer,
        unit::UnitKind,
    },
};

/// Rounds between the joint layer and the side that is not there.
const ROUNDS: usize = 10;

/// The joint layer under training.
#[derive(Debug)]
pub(super) enum Joint {
    /// A Boltzmann machine on both sides at once.
    Rbm(Machine),
    /// An autoencoder that is shown one side, the other, or both, and rebuilds both.
    Autoencoder(Autoencoder),
}

impl Joint {
    pub(super) fn new(kind: UnitKind, (side, hidden): (usize, usize), seed: u64, on: (&Device, DType)) -> Result<Self> {
        Ok(match kind {
            UnitKind::Rbm => Self::Rbm(Machine::new("joint", (2 * side, hidden), OVER_OTHERS, seed, on)?),
            UnitKind::Autoencoder => {
                let output = crate::nn::stack::Activation::Logistic;
                Self::Autoencoder(Autoencoder::new("joint", (2 * side, hidden), output, seed, on)?)
            }
        })
    }

    /// One step, counted from 1, on a batch of image and text rows that belong together.
    pub(super) fn step(&mut self, image: &Tensor, text: &Tensor, step: u64, seed: u64) -> Result<f64> {
        let both = Tensor::cat(&[image, text], 1)?;
        match self {
            Self::Rbm(machine) => machine.step(&both, step, seed),
            Self::Autoencoder(autoencoder) => {
                let (no_image, no_text) = (image.zeros_like()?, text.zeros_like()?);
                let shown = [Tensor::cat(&[image, &no_text], 1)?, Tensor::cat(&[&no_image, text], 1)?, both.clone()];
                autoencoder.step(&Tensor::cat(&shown, 0)?, &Tensor::cat(&[&both, &both, &both], 0)?, step)
            }
        }
    }

    /// The layer as it is used.
    pub(super) fn trained(&self) -> Result<Trained> {
        match self {
            Self::Rbm(machine) => {
                let [weight, visible, hidden] = machine.parts();
                let half = weight.dim(0)? / 2;
                let side = |at: usize| -> Result<Tensor> { Ok(weight.narrow(0, at * half, half)?.copy()?) };
                let biases = [visible.narrow(0, 0, half)?.copy()?, visible.narrow(0, half, half)?.copy()?];
                Ok(Trained { weights: [side(0)?, side(1)?], free: Some(biases), bias: hidden.copy()? })
            }
            Self::Autoencoder(autoencoder) => {
                let Layer { weight, bias, .. } = autoencoder.upward()?;
                let half = weight.dim(0)? / 2;
                let side = |at: usize| -> Result<Tensor> { Ok(weight.narrow(0, at * half, half)?.copy()?) };
                Ok(Trained { weights: [side(0)?, side(1)?], free: None, bias })
            }
        }
    }

    pub(super) fn state(&self) -> Result<Vec<NamedTensor>> {
        match self {
            Self::Rbm(machine) => machine.state(),
            Self::Autoencoder(autoencoder) => autoencoder.state(),
        }
    }

    pub(super) fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        match self {
            Self::Rbm(machine) => machine.restore(kept),
            Self::Autoencoder(autoencoder) => autoencoder.restore(kept),
        }
    }
}

/// The joint layer once trained.
#[derive(Clone, Debug)]
pub(super) struct Trained {
    /// Of image and of text to the joint units.
    weights: [Tensor; 2],
    /// Biases of both sides where an absent one is filled in; none where it is left at 0.
    free: Option<[Tensor; 2]>,
    bias: Tensor,
}

impl Trained {
    /// Joint means with the rows of one side (0 image, 1 text) given and the other absent: it starts at 0, and is filled
    /// in from the joint units between the rounds.
    pub(super) fn of_one(&self, side: usize, rows: &Tensor) -> Result<Tensor> {
        let other = 1 - side;
        let given = product(rows, &self.weights[side])?.broadcast_add(&self.bias)?;
        let mut joint = logistic(&given)?;
        let Some(biases) = &self.free else { return Ok(joint) };
        for _ in 1..ROUNDS {
            let free = product(&joint, &self.weights[other].t()?)?.broadcast_add(&biases[other])?;
            joint = logistic(&(&given + product(&logistic(&free)?, &self.weights[other])?)?)?;
        }
        Ok(joint)
    }

    pub(super) fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let names = ["joint.image.weight", "joint.text.weight"];
        let mut tensors: Vec<NamedTensor> =
            names.into_iter().zip(&self.weights).map(|(name, it)| named(name, it)).collect::<Result<_>>()?;
        tensors.push(named("joint.bias", &self.bias)?);
        for (name, bias) in ["joint.image.bias", "joint.text.bias"].into_iter().zip(self.free.iter().flatten()) {
            tensors.push(named(name, bias)?);
        }
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_rounds_by_hand_on_one_unit_a_side() {
        let cpu = Device::Cpu;
        let one = |value: f64| Tensor::new(&[[value]], &cpu).unwrap();
        let bias = |value: f64| Tensor::new(&[value], &cpu).unwrap();
        let trained = Trained { weights: [one(0.7), one(-1.3)], free: Some([bias(0.2), bias(-0.4)]), bias: bias(0.1) };
        let l = |x: f64| 1.0 / (1.0 + (-x).exp());
        let (mut free, mut joint) = (0.0, 0.0);
        for _ in 0..10 {
            joint = l(0.7 * 0.9 + free * -1.3 + 0.1);
            free = l(joint * -1.3 - 0.4);
        }
        let found = trained.of_one(0, &one(0.9)).unwrap().to_vec2::<f64>().unwrap()[0][0];
        assert!((found - joint).abs() < 1e-14, "{found} {joint}");
        let absent = Trained { free: None, ..trained };
        let found = absent.of_one(1, &one(0.5)).unwrap().to_vec2::<f64>().unwrap()[0][0];
        assert!((found - l(0.5 * -1.3 + 0.1)).abs() < 1e-15);
    }

    #[test]
    fn the_trained_layer_is_the_machines_own_with_its_sides_apart() {
        let cpu = Device::Cpu;
        for kind in [UnitKind::Rbm, UnitKind::Autoencoder] {
            let mut joint = Joint::new(kind, (2, 3), 4, (&cpu, DType::F64)).unwrap();
            let image = Tensor::new(&[[0.2f64, 0.9], [0.7, 0.1]], &cpu).unwrap();
            let text = Tensor::new(&[[0.5f64, 0.4], [0.3, 0.8]], &cpu).unwrap();
            let before = joint.trained().unwrap().tensors().unwrap();
            joint.step(&image, &text, 1, 4).unwrap();
            let after = joint.trained().unwrap();
            assert_ne!(after.tensors().unwrap(), before);
            assert_eq!(after.of_one(0, &image).unwrap().dims(), [2, 3]);
            if let Joint::Rbm(machine) = &joint {
                let whole = machine.hidden(&Tensor::cat(&[&image, &text], 1).unwrap()).unwrap();
                let sides = product(&image, &after.weights[0]).unwrap() + product(&text, &after.weights[1]).unwrap();
                let apart = logistic(&sides.unwrap().broadcast_add(&after.bias).unwrap()).unwrap();
                let worst: f64 = (whole - apart).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap();
                assert!(worst < 1e-15);
            }
        }
    }
}
