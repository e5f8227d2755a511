//! Softmax cross-entropy with smoothed targets.

use crate::nn::real::Real;

/// Loss and hits of one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchLoss {
    /// Mean cross-entropy over the batch, in nats.
    pub loss: f64,
    /// Share of rows whose largest logit is the label's.
    pub accuracy: f64,
}

/// Replaces `logits` (`n x classes`) by the gradient of the mean cross-entropy against targets of
/// 1 - `smoothing` on the label and `smoothing` spread over all classes.
#[allow(clippy::cast_precision_loss)]
pub fn cross_entropy<T: Real>(logits: &mut [T], labels: &[u32], classes: usize, smoothing: f64) -> BatchLoss {
    let rows = labels.len() as f64;
    let (mut loss, mut hits) = (0.0, 0.0);
    for (row, &label) in logits.chunks_exact_mut(classes).zip(labels) {
        let label = label as usize;
        hits += if largest(row) == label { 1.0 } else { 0.0 };
        let top = row.iter().fold(T::neg_infinity(), |top, &v| if v > top { v } else { top });
        let total: T = row.iter().map(|&v| (v - top).exp_exact()).sum();
        let log_total = top + total.ln_exact();
        for (class, value) in row.iter_mut().enumerate() {
            let log_p = *value - log_total;
            let target = smoothing / classes as f64 + if class == label { 1.0 - smoothing } else { 0.0 };
            loss -= target * log_p.wide();
            *value = (log_p.exp_exact() - T::of(target)) / T::of(rows);
        }
    }
    BatchLoss { loss: loss / rows, accuracy: hits / rows }
}

/// max(0, x), but what is not a number stays so, and is found by the checks that follow.
pub fn relu<T: Real>(value: T) -> T {
    if value < T::zero() { T::zero() } else { value }
}

/// Index of the largest value, the first of equals.
pub fn largest<T: PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_cost_ln_c_and_large_ones_stay_finite() {
        let mut logits = vec![0.0f64; 8];
        let batch = cross_entropy(&mut logits, &[0, 3], 4, 0.1);
        assert!((batch.loss - 4.0f64.ln()).abs() < 1e-12);
        assert!((batch.accuracy - 0.5).abs() < 1e-12);
        let want = (0.25 - 0.925) / 2.0;
        assert!((logits[0] - want).abs() < 1e-12 && (logits[7] - want).abs() < 1e-12);
        let mut logits = vec![1000.0f32, -1000.0];
        assert_eq!(cross_entropy(&mut logits, &[1], 2, 0.0), BatchLoss { loss: 2000.0, accuracy: 0.0 });
        assert_eq!(logits, [1.0, -1.0]);
    }

    #[test]
    fn what_is_not_a_number_is_not_hidden() {
        assert!(relu(f32::NAN).is_nan());
        assert!(cross_entropy(&mut [f64::NAN, 0.0], &[1], 2, 0.0).loss.is_nan());
        assert!(cross_entropy(&mut [0.0, f64::NAN], &[0], 2, 0.0).loss.is_nan());
    }
}
