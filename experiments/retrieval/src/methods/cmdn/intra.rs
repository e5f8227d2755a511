//! Step 1 of CMDN: a stacked autoencoder of one modality, its first layer alone and then both (spec C.8).

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    nn::{
        batches::batch,
        kept::Kept,
        learner::{Descent, Learner, Start},
        losses::half_squares,
        stack::{Activation, Stack},
    },
};

/// Rows a step.
const BATCH: usize = 115;

/// `d -> hidden -> hidden/2 -> hidden -> d` on inputs scaled to 0..1: rectified hidden layers, a logistic output.
#[derive(Debug)]
pub(super) struct Intra {
    name: &'static str,
    learner: Learner,
    steps: u64,
    seed: u64,
}

impl Intra {
    /// An autoencoder that has learnt nothing yet; `steps` for the first layer, as many for both.
    pub(super) fn new(
        name: &'static str,
        (columns, hidden): (usize, usize),
        steps: u64,
        seed: u64,
        on: (&Device, DType),
    ) -> Result<Self> {
        let mut learner = Learner::new(on.0, on.1);
        let code = (hidden / 2).max(1);
        for (part, sizes, start) in [
            ("up-one", (columns, hidden), Start::He),
            ("up-two", (hidden, code), Start::He),
            ("down-two", (code, hidden), Start::He),
            ("down-one", (hidden, columns), Start::Normal),
        ] {
            learner.add_layer(&format!("{name}.intra.{part}"), sizes, start, seed)?;
        }
        Ok(Self { name, learner, steps, seed })
    }

    /// Steps of both parts.
    pub(super) fn steps(&self) -> u64 {
        2 * self.steps
    }

    fn rectified(&self, part: &str, x: &Tensor) -> Result<Tensor> {
        Activation::Rectified.of(&self.learner.affine(&format!("{}.intra.{part}", self.name), x)?)
    }

    /// Half the squared error of rebuilding the rows, with or without the second layer between.
    fn loss(&self, x: &Tensor, both: bool) -> Result<Tensor> {
        let mut hidden = self.rectified("up-one", x)?;
        if both {
            hidden = self.rectified("down-two", &self.rectified("up-two", &hidden)?)?;
        }
        let rebuilt = self.learner.affine(&format!("{}.intra.down-one", self.name), &hidden)?;
        half_squares(&Activation::Logistic.of(&rebuilt)?, x)
    }

    /// One step, counted from 1, on a batch of the rows; gives the loss before it.
    pub(super) fn step(&mut self, x: &Tensor, step: u64) -> Result<f64> {
        let rows = batch(self.seed, &format!("{} intra", self.name), x.dim(0)?, BATCH, step);
        let rows = x.index_select(&Tensor::new(rows, x.device())?, 0)?;
        let both = step > self.steps;
        let (rate, decay) = if both { (0.01, 1e-4) } else { (0.1, 1e-3) };
        let descent = Descent::Momentum { rate, momentum: 0.0, decay, bias_rate: 1.0 };
        self.learner.descend(&self.loss(&rows, both)?, descent, step)
    }

    /// The two layers that make the code.
    pub(super) fn stack(&self) -> Result<Stack> {
        let layer = |part: &str| self.learner.layer(&format!("{}.intra.{part}", self.name), Activation::Rectified);
        Ok(Stack(vec![layer("up-one")?, layer("up-two")?]))
    }

    pub(super) fn state(&self) -> Result<Vec<NamedTensor>> {
        self.learner.state()
    }

    pub(super) fn restore(&mut self, kept: &mut Kept) -> Result<()> {
        self.learner.restore(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_layer_learns_alone_and_then_both() {
        let cpu = Device::Cpu;
        let values: Vec<f32> = (0..80u16).map(|i| f32::from(i % 2) * 0.8 + 0.1 * f32::from(i % 7) / 7.0).collect();
        let x = Tensor::from_vec(values, (20, 4), &cpu).unwrap();
        let mut intra = Intra::new("image", (4, 6), 200, 3, (&cpu, DType::F32)).unwrap();
        let weight = |intra: &Intra, part: &str| {
            intra.learner.weight(&format!("image.intra.{part}.weight")).to_vec2::<f32>().unwrap().concat()
        };
        let idle = weight(&intra, "up-two");
        let first = intra.step(&x, 1).unwrap();
        let mut last = first;
        for step in 2..=200 {
            last = intra.step(&x, step).unwrap();
        }
        assert!(last < 0.5 * first, "{first} {last}");
        assert_eq!(weight(&intra, "up-two"), idle);
        let before = intra.step(&x, 201).unwrap();
        assert_ne!(weight(&intra, "up-two"), idle);
        for step in 202..=400 {
            last = intra.step(&x, step).unwrap();
        }
        assert!(last < before, "{before} {last}");
        assert_eq!(intra.stack().unwrap().apply(&x).unwrap().dims(), [20, 3]);
    }
}
