//! Temperature scaling: logits are divided by one number that makes the validation labels likeliest (Guo et al. 2017).

use candle_core::{DType, Tensor};

use crate::{error::Result, nn::stack::Stack};

/// Temperatures looked at, as powers of e.
const RANGE: (f64, f64) = (-4.0, 4.0);
/// Golden-section steps: the range shrinks to 0.618 of itself in each, below 1e-8 in the end.
const STEPS: u32 = 45;

/// The temperature with the lowest mean cross-entropy of `logits` (`[n, classes]`) to the labels; the mean is convex
/// in its reciprocal, so there is one.
///
/// # Errors
/// When the logits cannot be read back.
pub(super) fn fit(logits: &Tensor, labels: &[u32]) -> Result<f64> {
    let rows = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let cost = |log_temperature: f64| -> f64 {
        let sharpness = libm::exp(-log_temperature);
        rows.iter().zip(labels).map(|(row, &label)| cross_entropy(row, label as usize, sharpness)).sum()
    };
    let golden = (5.0f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = RANGE;
    for _ in 0..STEPS {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if cost(a) <= cost(b) {
            high = b;
        } else {
            low = a;
        }
    }
    Ok(libm::exp(f64::midpoint(low, high)))
}

fn cross_entropy(row: &[f64], label: usize, sharpness: f64) -> f64 {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|value| libm::exp(sharpness * (value - largest))).sum();
    libm::log(sum) - sharpness * (row[label] - largest)
}

/// Divides the logits of the last layer by the temperature.
///
/// # Errors
/// When candle refuses.
///
/// # Panics
/// If the stack is empty: a broken invariant of the caller.
pub(super) fn soften(stack: &mut Stack, temperature: f64) -> Result<()> {
    let last = stack.0.last_mut().expect("a classifier has a layer");
    last.weight = (&last.weight / temperature)?;
    last.bias = (&last.bias / temperature)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::nn::stack::{Activation, Layer};

    #[test]
    fn two_classes_by_hand() {
        // Three of four rows are right by a gap of 2: likeliest when logistic(2 / T) = 3/4, so T = 2 / ln 3.
        let logits = Tensor::new(&[[2.0f64, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 0.0]], &Device::Cpu).unwrap();
        let temperature = fit(&logits, &[0, 0, 1, 1]).unwrap();
        assert!((temperature - 2.0 / 3.0f64.ln()).abs() < 1e-6, "{temperature}");
        // All right: the sharper the better, to the edge of what is looked at.
        let sharp = fit(&logits, &[0, 0, 1, 0]).unwrap();
        assert!((sharp - (-4.0f64).exp()).abs() < 1e-6, "{sharp}");
    }

    #[test]
    fn softened_logits_are_divided() {
        let one = |value: f64| Tensor::new(&[value], &Device::Cpu).unwrap();
        let weight = one(6.0).reshape((1, 1)).unwrap();
        let mut stack = Stack(vec![Layer { weight, bias: one(3.0), activation: Activation::Identity }]);
        soften(&mut stack, 1.5).unwrap();
        let x = Tensor::new(&[[2.0f64]], &Device::Cpu).unwrap();
        assert_eq!(stack.apply(&x).unwrap().to_vec2::<f64>().unwrap(), [[10.0]]);
    }
}
