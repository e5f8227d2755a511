//! Losses that stay finite at any logit (spec A.10), as scalars of candle tensors.

use candle_core::{D, Tensor};

use super::exact::{exp, ln};
use crate::error::Result;

/// `sp(x) = log(1 + e^x)`, elementwise, as `x/2 + |x|/2 + log(1 + e^-|x|)`: nothing in it overflows, and
/// its derivative at 0 is 1/2 whatever derivative `|x|` is given there.
///
/// # Errors
/// When candle refuses.
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    let size = x.abs()?;
    let tail = ln(&(exp(&size.neg()?)? + 1.0)?)?;
    Ok((((x + &size)? * 0.5)? + tail)?)
}

/// `mean sp(-x)`: what logits `x` cost that should say "real".
///
/// # Errors
/// When candle refuses.
pub fn judged_real(x: &Tensor) -> Result<Tensor> {
    Ok(softplus(&x.neg()?)?.mean_all()?)
}

/// `mean sp(x)`: what logits `x` cost that should say "fake".
///
/// # Errors
/// When candle refuses.
pub fn judged_fake(x: &Tensor) -> Result<Tensor> {
    Ok(softplus(x)?.mean_all()?)
}

/// Mean over the rows of `-log softmax(logits)[label]`: logits `[n, classes]`, labels u32 `[n]`.
///
/// # Errors
/// When the shapes do not fit or a label is not a column.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    // Any shift gives the same value and gradient, so none needs to flow through this one.
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let normaliser = ln(&exp(&shifted)?.sum_keepdim(D::Minus1)?)?;
    let log_softmax = shifted.broadcast_sub(&normaliser)?;
    Ok(log_softmax.gather(&labels.unsqueeze(1)?, 1)?.mean_all()?.neg()?)
}

/// Mean over rows and columns of the squared difference.
///
/// # Errors
/// When the shapes differ.
pub fn mean_squared(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok((a - b)?.sqr()?.mean_all()?)
}

/// Half the sum over the columns of the squared difference, mean over the rows.
///
/// # Errors
/// When the shapes differ.
#[allow(clippy::cast_precision_loss)] // rows of a batch
pub fn half_squares(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let rows = a.dim(0)? as f64;
    Ok(((a - b)?.sqr()?.sum_all()? * (0.5 / rows))?)
}

/// Mean over rows and columns of the absolute difference.
///
/// # Errors
/// When the shapes differ.
pub fn mean_absolute(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok((a - b)?.abs()?.mean_all()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    fn scalar(tensor: &Tensor) -> f64 {
        tensor.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn softplus_is_finite_with_a_gradient_in_the_unit_interval_at_any_logit() {
        let logits = [-100.0f32, -20.0, 0.0, 20.0, 100.0];
        let x = Var::from_slice(&logits, 5, &Device::Cpu).unwrap();
        let y = softplus(&x).unwrap();
        let values: Vec<f32> = y.to_vec1().unwrap();
        for (x, y) in logits.iter().zip(&values) {
            let exact = f64::from(*x).exp().ln_1p();
            assert!((f64::from(*y) - exact).abs() <= 1e-6 * exact.max(1.0), "sp({x}) = {y}");
        }
        let gradients = y.sum_all().unwrap().backward().unwrap();
        let slopes: Vec<f32> = gradients.get(&x).unwrap().to_vec1().unwrap();
        assert!(slopes.iter().all(|slope| (0.0..=1.0).contains(slope)), "{slopes:?}");
        assert!((slopes[2] - 0.5).abs() < 1e-7 && (slopes[4] - 1.0).abs() < 1e-7 && slopes[0] < 1e-7);
    }

    #[test]
    fn a_blind_judge_pays_two_ln_two_and_a_blind_classifier_ln_c() {
        let logits = Tensor::zeros(64, DType::F64, &Device::Cpu).unwrap();
        let both = scalar(&judged_real(&logits).unwrap()) + scalar(&judged_fake(&logits).unwrap());
        assert!((both - 2.0 * 2.0f64.ln()).abs() < 1e-15);
        let logits = Tensor::zeros((6, 7), DType::F64, &Device::Cpu).unwrap();
        let labels = Tensor::from_slice(&[0u32, 1, 2, 3, 6, 6], 6, &Device::Cpu).unwrap();
        assert!((scalar(&cross_entropy(&logits, &labels).unwrap()) - 7.0f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn cross_entropy_and_errors_by_hand() {
        let logits = Tensor::from_slice(&[1000.0f64, 998.0, -3.0, 0.0], (2, 2), &Device::Cpu).unwrap();
        let labels = Tensor::from_slice(&[1u32, 1], 2, &Device::Cpu).unwrap();
        // Row one: 2 + log(1 + e^-2); row two: log(1 + e^-3).
        let want = f64::midpoint(2.0 + (-2.0f64).exp().ln_1p(), (-3.0f64).exp().ln_1p());
        assert!((scalar(&cross_entropy(&logits, &labels).unwrap()) - want).abs() < 1e-12);
        let a = Tensor::from_slice(&[1.0f64, 2.0, 3.0, 5.0], (2, 2), &Device::Cpu).unwrap();
        let b = Tensor::from_slice(&[0.0f64, 2.0, 6.0, 4.0], (2, 2), &Device::Cpu).unwrap();
        assert!((scalar(&mean_squared(&a, &b).unwrap()) - 2.75).abs() < 1e-15);
        assert!((scalar(&half_squares(&a, &b).unwrap()) - 2.75).abs() < 1e-15, "two rows of two columns");
        assert!((scalar(&mean_absolute(&a, &b).unwrap()) - 1.25).abs() < 1e-15);
    }
}
