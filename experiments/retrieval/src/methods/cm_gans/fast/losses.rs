//! The losses on logits (spec A.6, A.7, A.10), with their gradients, in f64: they are a few numbers a batch.

use crate::nn::{real::Real, vector::dot};

/// log(1 + e^x), exact for all x.
fn softplus(x: f64) -> f64 {
    0.5 * x + 0.5 * x.abs() + libm::log1p(libm::exp(-x.abs()))
}

/// 1 / (1 + e^-x).
fn sigmoid(x: f64) -> f64 {
    let small = libm::exp(-x.abs());
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

#[allow(clippy::cast_precision_loss)] // a batch is far smaller than 2^53
fn size<X>(batch: &[X]) -> f64 {
    batch.len() as f64
}

/// Loss of logits that should say "real": weight * mean sp(-x); its gradient goes to `gradient`.
pub(super) fn real<T: Real>(logits: &[T], weight: f64, gradient: &mut [T]) -> f64 {
    let share = weight / size(logits);
    let mut loss = 0.0;
    for (g, x) in gradient.iter_mut().zip(logits) {
        loss += softplus(-x.wide());
        *g = T::of(-share * sigmoid(-x.wide()));
    }
    share * loss
}

/// Loss of logits that should say "fake": weight * mean sp(x); its gradient goes to `gradient`.
pub(super) fn fake<T: Real>(logits: &[T], weight: f64, gradient: &mut [T]) -> f64 {
    let share = weight / size(logits);
    let mut loss = 0.0;
    for (g, x) in gradient.iter_mut().zip(logits) {
        loss += softplus(x.wide());
        *g = T::of(share * sigmoid(x.wide()));
    }
    share * loss
}

/// Mean of the logits.
pub(super) fn mean<T: Real>(logits: &[T]) -> f64 {
    logits.iter().map(|x| x.wide()).sum::<f64>() / size(logits)
}

/// Class loss: mean of -log softmax(logits)[label]. `logits` (classes x batch) become their gradient.
pub(super) fn class<T: Real>(logits: &mut [T], labels: &[u32]) -> f64 {
    let n = labels.len();
    let share = T::of(1.0 / size(labels));
    let mut loss = 0.0;
    for (item, &label) in labels.iter().enumerate() {
        let column = || (item..logits.len()).step_by(n);
        let largest = column().fold(T::neg_infinity(), |a, i| num_traits::Float::max(a, logits[i]));
        let right = item + label as usize * n;
        let excess = (logits[right] - largest).wide();
        let mut total = T::zero();
        for i in (item..logits.len()).step_by(n) {
            logits[i] = (logits[i] - largest).exp_exact();
            total += logits[i];
        }
        loss += total.ln_exact().wide() - excess;
        for i in (item..logits.len()).step_by(n) {
            logits[i] *= share / total;
        }
        logits[right] -= share;
    }
    loss / size(labels)
}

/// Reconstruction error of `r` against `h` (dims x batch, spec B.2): `weight` times the mean of squares
/// or absolute values over batch and dimensions. Its gradient is written to `gradient`.
#[inline(always)]
pub(super) fn reconstruction<T: Real>(squares: bool, weight: f64, r: &[T], h: &[T], gradient: &mut [T]) -> f64 {
    let share = weight / size(r);
    let factor = T::of(if squares { 2.0 * share } else { share });
    for ((g, &r), &h) in gradient.iter_mut().zip(r).zip(h) {
        *g = r - h;
    }
    let error = if squares { dot(gradient, gradient).wide() } else { gradient.iter().map(|d| d.abs().wide()).sum() };
    for g in gradient {
        let direction = if squares {
            *g
        } else if *g == T::zero() {
            T::zero()
        } else {
            g.signum()
        };
        *g = factor * direction;
    }
    share * error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blind_discriminators_lose_two_logs_of_two() {
        let mut g = [0.0; 4];
        let total = real(&[0.0; 4], 1.0, &mut g) + fake(&[0.0; 4], 0.5, &mut g) + fake(&[0.0; 4], 0.5, &mut g);
        assert!((total - 2.0 * std::f64::consts::LN_2).abs() < 1e-15);
        assert!(g.iter().all(|&g| (g - 0.5 * 0.5 / 4.0f64).abs() < 1e-15));
    }

    #[test]
    fn saturated_logits_stay_finite_with_gradients_in_bounds() {
        for x in [100.0f32, -100.0, 1e30, -1e30] {
            let mut g = [0.0];
            assert!(real(&[x], 1.0, &mut g).is_finite() && (-1.0..=0.0).contains(&g[0]));
            assert!(fake(&[x], 1.0, &mut g).is_finite() && (0.0..=1.0).contains(&g[0]));
        }
        assert!((fake(&[100.0], 1.0, &mut [0.0]) - 100.0).abs() < 1e-12);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let step = 1e-6;
        let logits = [0.7, -1.3, 2.0];
        for loss in [real::<f64>, fake::<f64>] {
            let mut g = [0.0; 3];
            loss(&logits, 0.5, &mut g);
            for i in 0..3 {
                let moved = |by: f64| {
                    let mut x = logits;
                    x[i] += by;
                    loss(&x, 0.5, &mut [0.0; 3])
                };
                assert!((g[i] - (moved(step) - moved(-step)) / (2.0 * step)).abs() < 1e-9);
            }
        }
        let (scores, labels) = ([0.3, 1.2, -0.5, 0.1, 0.0, 2.0], [2, 0]);
        let mut g = scores;
        class(&mut g, &labels);
        let target = [0.4, -0.2, 0.9, 0.3, 0.3, 0.1];
        for i in 0..6 {
            let moved = |by: f64| {
                let mut x = scores;
                x[i] += by;
                let error = |squares| reconstruction(squares, 1.5, &x, &target, &mut [0.0; 6]);
                (class(&mut x.clone(), &labels), error(true), error(false))
            };
            let (up, down) = (moved(step), moved(-step));
            assert!((g[i] - (up.0 - down.0) / (2.0 * step)).abs() < 1e-9);
            let mut of_error = [0.0; 6];
            reconstruction(true, 1.5, &scores, &target, &mut of_error);
            assert!((of_error[i] - (up.1 - down.1) / (2.0 * step)).abs() < 1e-9);
            reconstruction(false, 1.5, &scores, &target, &mut of_error);
            assert!((of_error[i] - (up.2 - down.2) / (2.0 * step)).abs() < 1e-9);
        }
    }

    #[test]
    fn equal_scores_cost_the_log_of_the_number_of_classes() {
        assert!((class(&mut [0.0f64; 20], &[3, 0, 4, 1]) - 5f64.ln()).abs() < 1e-15);
    }
}
