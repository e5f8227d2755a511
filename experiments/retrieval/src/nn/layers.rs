//! Layers as functions of candle tensors, with the defaults of the methods written out: matrices are
//! (in, out), batch norm has its own biased batch variance, activations have Torch's derivative at 0.

use candle_core::Tensor;

use crate::error::Result;

/// Added to the variance inside the root of batch norm (spec A.4).
pub const NORM_EPSILON: f64 = 1e-5;

/// Mean and biased variance of each column of a batch; no gradient flows through them.
#[derive(Clone, Debug)]
pub struct Moments {
    /// `[columns]`.
    pub mean: Tensor,
    /// `[columns]`, divided by the number of rows.
    pub variance: Tensor,
}

/// `x W + b`: `[n, in]` and `[in, out]` and `[out]` to `[n, out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(x.matmul(weight)?.broadcast_add(bias)?)
}

/// Batch norm in training: each column of `x` (`[n, columns]`) is brought to mean 0 and variance 1 over
/// this batch, then scaled by `gamma` and moved by `beta`.
///
/// # Errors
/// When the shapes do not fit.
pub fn batch_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<(Tensor, Moments)> {
    let mean = x.mean_keepdim(0)?; // [1, columns]
    let centred = x.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim(0)?;
    let normal = centred.broadcast_div(&(&variance + NORM_EPSILON)?.sqrt()?)?;
    let y = normal.broadcast_mul(gamma)?.broadcast_add(beta)?;
    Ok((y, Moments { mean: mean.squeeze(0)?.detach(), variance: variance.squeeze(0)?.detach() }))
}

/// `x` where it is above 0, `slope` times `x` elsewhere; at exactly 0 the derivative is `slope`, as in
/// Torch (candle's own relu has 1 there).
///
/// # Errors
/// When candle refuses.
pub fn rectify(x: &Tensor, slope: f64) -> Result<Tensor> {
    let positive = x.gt(&x.zeros_like()?)?;
    let negative = if slope == 0.0 { x.zeros_like()? } else { (x * slope)? };
    Ok(positive.where_cond(x, &negative)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn column(values: &[f64]) -> Tensor {
        Tensor::from_slice(values, (values.len(), 1), &Device::Cpu).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn batch_norm_by_hand() {
        // Mean 2, biased variance 2/3.
        let (gamma, beta) = (column(&[3.0]).squeeze(1).unwrap(), column(&[0.5]).squeeze(1).unwrap());
        let (y, moments) = batch_norm(&column(&[1.0, 2.0, 3.0]), &gamma, &beta).unwrap();
        let edge = 3.0 / (2.0f64 / 3.0 + 1e-5).sqrt();
        for (got, want) in values(&y).iter().zip([0.5 - edge, 0.5, 0.5 + edge]) {
            assert!((got - want).abs() < 1e-14);
        }
        assert!((values(&moments.mean)[0] - 2.0).abs() < 1e-15);
        assert!((values(&moments.variance)[0] - 2.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn activations_have_their_values_and_torchs_derivative_at_zero() {
        for slope in [0.0, 0.2] {
            let x = Var::from_tensor(&column(&[-2.0, 0.0, 3.0])).unwrap();
            let y = rectify(&x, slope).unwrap();
            assert_eq!(values(&y), [-2.0 * slope, 0.0, 3.0]);
            let gradients = y.sum_all().unwrap().backward().unwrap();
            assert_eq!(values(gradients.get(&x).unwrap()), [slope, slope, 1.0]);
        }
    }
}
