//! Batch norm and activation of one feature over a batch, forward and backward (spec A.2). Activations
//! stand feature by feature (features x batch), so that a feature's statistics are sums over one row.

#![allow(clippy::inline_always)] // what is not inlined is not compiled for the level of the pass

use super::{
    layers::NORM_EPSILON,
    real::Real,
    vector::{dot, sum_of},
};

/// Statistics of one feature in one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics<T> {
    /// Mean over the batch.
    pub mean: T,
    /// Biased variance over the batch.
    pub variance: T,
    /// 1 / sqrt(variance + eps).
    pub scale: T,
}

#[allow(clippy::cast_precision_loss)] // a batch is far smaller than 2^53
fn count<T: Real>(row: &[T]) -> T {
    T::of(row.len() as f64)
}

/// Normalises `z` in place and writes act(gamma z + beta) to `out`; the activation is
/// max(x, 0) + slope min(x, 0).
#[inline(always)]
pub fn forward<T: Real>(z: &mut [T], out: &mut [T], gamma: T, beta: T, slope: T) -> Statistics<T> {
    let n = count(z);
    let mean = sum_of(z, |x| x) / n;
    let variance = sum_of(z, |x| (x - mean) * (x - mean)) / n;
    let deviation = (variance + T::of(NORM_EPSILON)).sqrt();
    for (z, out) in z.iter_mut().zip(out) {
        *z = (*z - mean) / deviation;
        let y = gamma * *z + beta;
        *out = if y > T::zero() { y } else { slope * y };
    }
    Statistics { mean, variance, scale: T::one() / deviation }
}

/// Turns the gradient of the output, in `g`, into that of the input, in place; gives the gradients of
/// gamma and beta. `normalised` and `out` are what [`forward`] left.
#[inline(always)]
pub fn backward<T: Real>(g: &mut [T], normalised: &[T], out: &[T], gamma: T, scale: T, slope: T) -> (T, T) {
    for (g, &out) in g.iter_mut().zip(out) {
        *g = if out > T::zero() { *g } else { slope * *g };
    }
    let of_beta = sum_of(g, |x| x);
    let of_gamma = dot(g, normalised);
    let n = count(g);
    let (shift, tilt, factor) = (of_beta / n, of_gamma / n, gamma * scale);
    for (g, &x) in g.iter_mut().zip(normalised) {
        *g = factor * (*g - shift - x * tilt);
    }
    (of_gamma, of_beta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backward_pass_agrees_with_finite_differences() {
        let x = [0.3, -1.2, 0.9, 2.1, -0.4, 0.05];
        let weights = [0.5, -0.3, 1.1, 0.2, -0.7, 0.4];
        for slope in [0.0, 0.2] {
            let loss = |x: &[f64], gamma: f64, beta: f64| -> f64 {
                let (mut z, mut out) = (x.to_vec(), vec![0.0; 6]);
                forward(&mut z, &mut out, gamma, beta, slope);
                dot(&out, &weights)
            };
            let (mut z, mut out) = (x.to_vec(), vec![0.0; 6]);
            let (gamma, beta) = (1.3, 0.1);
            let statistics = forward(&mut z, &mut out, gamma, beta, slope);
            let mut g = weights.to_vec();
            let (of_gamma, of_beta) = backward(&mut g, &z, &out, gamma, statistics.scale, slope);
            let step = 1e-6;
            for i in 0..6 {
                let (mut up, mut down) = (x, x);
                up[i] += step;
                down[i] -= step;
                let numeric = (loss(&up, gamma, beta) - loss(&down, gamma, beta)) / (2.0 * step);
                assert!((g[i] - numeric).abs() < 1e-8, "{i}: {} {numeric}", g[i]);
            }
            let numeric = (loss(&x, gamma + step, beta) - loss(&x, gamma - step, beta)) / (2.0 * step);
            assert!((of_gamma - numeric).abs() < 1e-8);
            let numeric = (loss(&x, gamma, beta + step) - loss(&x, gamma, beta - step)) / (2.0 * step);
            assert!((of_beta - numeric).abs() < 1e-8);
        }
    }

    #[test]
    fn a_row_is_normalised_with_its_biased_variance() {
        let (mut z, mut out) = ([1.0f64, 2.0, 3.0, 6.0], [0.0; 4]);
        let statistics = forward(&mut z, &mut out, 2.0, 0.5, 0.0);
        assert!((statistics.mean - 3.0).abs() < 1e-15 && (statistics.variance - 3.5).abs() < 1e-15);
        let want = 2.0 * (6.0 - 3.0) / (3.5f64 + 1e-5).sqrt() + 0.5;
        assert!((out[3] - want).abs() < 1e-14 && out[0].abs() < 1e-15, "{out:?}");
    }
}
