//! One level of step 5 of CMDN: a code that either side alone, or both, must do for (spec C.8).

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::NamedTensor,
    error::Result,
    methods::rbm_stacks::Inputs,
    nn::{
        batches::batch,
        kept::Kept,
        learner::{Descent, Learner, Start},
        losses::{cross_entropy, half_squares},
        schedule::{decayed, rising_momentum},
        stack::{Activation, Layer},
    },
};

/// Rows a step, of the triples.
const BATCH: usize = 231;
const RATE: f64 = 0.05;
const MOMENTUM_STEPS: u64 = 10_000;
const DECAY: f64 = 1e-4;

/// A level under training.
#[derive(Debug)]
pub(super) struct Level {
    name: String,
    learner: Learner,
    labelled: bool,
    seed: u64,
}

impl Level {
    /// A level that has learnt nothing yet: `inputs` columns of each side, `code` units, `classes` scores on the code
    /// where it is labelled.
    pub(super) fn new(
        number: usize,
        [inputs, code, classes]: [usize; 3],
        labelled: bool,
        seed: u64,
        on: (&Device, DType),
    ) -> Result<Self> {
        let name = format!("level{number}");
        let mut learner = Learner::new(on.0, on.1);
        for side in ["image", "text"] {
            learner.add_layer(&format!("{name}.{side}.up"), (inputs, code), Start::Normal, seed)?;
            learner.add_layer(&format!("{name}.{side}.down"), (code, inputs), Start::Normal, seed)?;
        }
        if labelled {
            learner.add_layer(&format!("{name}.class"), (code, classes), Start::Normal, seed)?;
        }
        Ok(Self { name, learner, labelled, seed })
    }

    /// What rebuilding both sides from the code costs, and the class of it: half squares and cross-entropy.
    fn loss(&self, shown: &Inputs, wanted: &Inputs, labels: &Tensor) -> Result<Tensor> {
        let part = |layer: &str, x: &Tensor| self.learner.affine(&format!("{}.{layer}", self.name), x);
        let code = Activation::Logistic.of(&(part("image.up", &shown.image)? + part("text.up", &shown.text)?)?)?;
        let rebuilt = |side: &str| Activation::Logistic.of(&part(&format!("{side}.down"), &code)?);
        let mut loss =
            (half_squares(&rebuilt("image")?, &wanted.image)? + half_squares(&rebuilt("text")?, &wanted.text)?)?;
        if self.labelled {
            loss = (loss + cross_entropy(&part("class", &code)?, labels)?)?;
        }
        Ok(loss)
    }

    /// One step, counted from 1: a batch of the triples (image alone, text alone, both) of the pairs.
    pub(super) fn step(&mut self, pairs: &Inputs, labels: &[u32], step: u64) -> Result<f64> {
        let chosen = batch(self.seed, &self.name, 3 * labels.len(), BATCH, step);
        let rows: Vec<u32> = chosen.iter().map(|triple| triple / 3).collect();
        let wanted = pairs.rows(&rows)?;
        let shown = |absent: u32, x: &Tensor| -> Result<Tensor> {
            let there: Vec<f32> = chosen.iter().map(|triple| f32::from(u8::from(triple % 3 != absent))).collect();
            let there = Tensor::from_vec(there, (chosen.len(), 1), x.device())?.to_dtype(x.dtype())?;
            Ok(x.broadcast_mul(&there)?)
        };
        // Of a triple, 0 is the image alone, 1 the text alone.
        let shown = Inputs { image: shown(1, &wanted.image)?, text: shown(0, &wanted.text)? };
        let labels: Vec<u32> = rows.iter().map(|&row| labels[row as usize]).collect();
        let labels = Tensor::new(labels, pairs.image.device())?;
        let descent = Descent::Momentum {
            rate: decayed(RATE, step),
            momentum: rising_momentum(step, MOMENTUM_STEPS),
            decay: DECAY,
            bias_rate: 1.0,
        };
        self.learner.descend(&self.loss(&shown, &wanted, &labels)?, descent, step)
    }

    /// The code of image and of text alone, the other absent.
    pub(super) fn one_sided(&self) -> Result<[Layer; 2]> {
        let up = |side: &str| self.learner.layer(&format!("{}.{side}.up", self.name), Activation::Logistic);
        let (image, text) = (up("image")?, up("text")?);
        let bias = (&image.bias + &text.bias)?;
        Ok([Layer { bias: bias.clone(), ..image }, Layer { bias, ..text }])
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
    use crate::nn::stack::Stack;

    const CPU: Device = Device::Cpu;

    fn pairs() -> Inputs {
        let side = |salt: f64| -> Tensor {
            let values: Vec<f64> = (0..12u8).map(|i| 0.5 + 0.4 * (f64::from(i) * salt).sin()).collect();
            Tensor::from_vec(values, (4, 3), &CPU).unwrap()
        };
        Inputs { image: side(1.3), text: side(0.7) }
    }

    fn level(labelled: bool) -> Level {
        Level::new(1, [3, 2, 2], labelled, 6, (&CPU, DType::F64)).unwrap()
    }

    #[test]
    fn every_step_learns_from_triples_and_its_slope_is_that_of_finite_differences() {
        for labelled in [true, false] {
            let labels = [0, 1, 0, 1];
            // 231 rows of 12 triples: every triple comes 19 times, three of them once more.
            let loss = |level: &Level| -> f64 {
                let mut other = self::level(labelled);
                other.restore(&mut Kept::new(level.state().unwrap(), &CPU)).unwrap();
                other.step(&pairs(), &labels, 1).unwrap()
            };
            let mut level = level(labelled);
            let before = level.state().unwrap();
            let slope = |name: &str| {
                let moved = |by: f64| {
                    let mut state = before.clone();
                    let tensor = state.iter_mut().find(|tensor| tensor.name == name).unwrap();
                    let crate::checkpoint::Values::F64(values) = &mut tensor.values else { panic!("f64") };
                    values[1] += by;
                    let mut other = self::level(labelled);
                    other.restore(&mut Kept::new(state, &CPU)).unwrap();
                    loss(&other)
                };
                (moved(1e-5) - moved(-1e-5)) / 2e-5
            };
            let names: Vec<String> = before.iter().map(|tensor| tensor.name.clone()).collect();
            assert_eq!(names.iter().any(|name| name.contains("class")), labelled);
            let slopes: Vec<f64> = names.iter().map(|name| slope(name)).collect();
            level.step(&pairs(), &labels, 1).unwrap();
            for ((name, slope), tensor) in names.iter().zip(slopes).zip(&before) {
                let crate::checkpoint::Values::F64(old) = &tensor.values else { panic!("f64") };
                let new: Vec<f64> = level.learner.weight(name).flatten_all().unwrap().to_vec1().unwrap();
                let decay = if name.ends_with("weight") { DECAY * old[1] } else { 0.0 };
                let step = (old[1] - new[1]) / RATE - decay;
                assert!((step - slope).abs() < 1e-7, "{name}: {step} {slope}");
            }
        }
    }

    #[test]
    fn one_side_alone_gives_the_code_that_training_gave_it() {
        let level = level(false);
        let [image, text] = level.one_sided().unwrap();
        let code = |shown: &Inputs| {
            let up = |side: &str, x: &Tensor| level.learner.affine(&format!("level1.{side}.up"), x).unwrap();
            Activation::Logistic.of(&(up("image", &shown.image) + up("text", &shown.text)).unwrap()).unwrap()
        };
        let pairs = pairs();
        let no = pairs.image.zeros_like().unwrap();
        for (layer, x, shown) in [
            (image, &pairs.image, Inputs { text: no.clone(), ..pairs.clone() }),
            (text, &pairs.text, Inputs { image: no.clone(), ..pairs.clone() }),
        ] {
            let found = Stack(vec![layer]).apply(x).unwrap();
            let worst: f64 = (found - code(&shown)).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap();
            assert!(worst < 1e-15);
        }
    }
}
