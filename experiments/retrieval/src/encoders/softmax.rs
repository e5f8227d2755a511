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
