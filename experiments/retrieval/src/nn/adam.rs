//! Adam on candle tensors, every option of the released code written out (spec A.8).

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::error::Result;

/// Decay of the first moment.
pub const BETA_1: f64 = 0.5;
/// Decay of the second moment.
pub const BETA_2: f64 = 0.999;
/// Added to the root of the second moment.
pub const EPSILON: f64 = 1e-8;

/// One minus `beta` to the power of `step`: what the moments of the first steps lack.
#[must_use]
pub fn correction(beta: f64, step: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // steps are far below 2^53
    let step = step as f64;
    1.0 - libm::pow(beta, step)
}

/// State of one optimiser. No weight decay.
#[derive(Debug)]
pub struct Optimiser {
    /// Steps taken.
    pub step: u64,
    /// First moments by name.
    pub m: BTreeMap<String, Tensor>,
    /// Second moments by name.
    pub v: BTreeMap<String, Tensor>,
}

impl Optimiser {
    /// One step of every tensor that has moments here: `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
    /// `p -= rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`.
    ///
    /// # Errors
    /// When candle refuses.
    ///
    /// # Panics
    /// If `weights` or `gradients` lack one of the tensors: a broken invariant of the caller.
    pub fn update(
        &mut self,
        weights: &BTreeMap<String, Var>,
        gradients: &BTreeMap<String, Tensor>,
        rate: f64,
    ) -> Result<()> {
        self.step += 1;
        let (first, second) = (correction(BETA_1, self.step), correction(BETA_2, self.step));
        for (name, m) in &mut self.m {
            let (weight, gradient) = (&weights[name], &gradients[name]);
            let v = self.v.get_mut(name).expect("both moments have the same tensors");
            *m = ((&*m * BETA_1)? + (gradient * (1.0 - BETA_1))?)?;
            *v = ((&*v * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
            let root = ((&*v / second)?.sqrt()? + EPSILON)?;
            weight.set(&(weight.as_tensor() - (((&*m / first)? / root)? * rate)?)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn two_steps_by_hand() {
        let named = |value: f64| BTreeMap::from([("w".to_owned(), Tensor::new(value, &Device::Cpu).unwrap())]);
        let weights = BTreeMap::from([("w".to_owned(), Var::new(1.0f64, &Device::Cpu).unwrap())]);
        let mut adam = Optimiser { step: 0, m: named(0.0), v: named(0.0) };
        let value = || weights["w"].to_scalar::<f64>().unwrap();
        // Step 1: m = 2, v = 0.016; corrected 4 and 16, so the step is rate * 4 / (4 + 1e-8).
        adam.update(&weights, &named(4.0), 0.1).unwrap();
        assert!((value() - (1.0 - 0.4 / (4.0 + 1e-8))).abs() < 1e-15);
        // Step 2, gradient -2: m = 1 - 1 = 0, so nothing moves; v = 0.016 * 0.999 + 0.004.
        let before = value();
        adam.update(&weights, &named(-2.0), 0.1).unwrap();
        assert!((value() - before).abs() < 1e-17);
        assert!((adam.v["w"].to_scalar::<f64>().unwrap() - 0.019_984).abs() < 1e-15);
        assert_eq!(adam.step, 2);
    }
}
