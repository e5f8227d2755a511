//! Expected MAP of random rankings (spec D.6).

use super::number;

/// Of one query, `relevant` of `items`.
fn expected(items: usize, relevant: usize) -> f64 {
    let (n, r) = (number(items), number(relevant));
    let harmonic: f64 = (1..=items).map(|k| 1.0 / number(k)).sum();
    (r - 1.0) / (n - 1.0) + harmonic / n * (n - r) / (n - 1.0)
}

/// The same with the query itself among the items, first.
fn self_first(items: usize, relevant: usize) -> f64 {
    let (n, r) = (number(items), number(relevant));
    let share = (r - 1.0) / (n - 1.0);
    let term = |k: usize| (2.0 + (number(k) - 2.0) * (r - 2.0) / (n - 2.0)) / number(k);
    (1.0 + share * (2..=items).map(term).sum::<f64>()) / r
}

/// Bi-modal, all-modal with and without the query, for a test set with these class sizes.
pub(super) fn levels(sizes: &[usize]) -> [f64; 3] {
    let pairs: usize = sizes.iter().sum();
    let mean = |of: &dyn Fn(usize) -> f64| sizes.iter().map(|&c| number(c) * of(c)).sum::<f64>() / number(pairs);
    [
        mean(&|c| expected(pairs, c)),
        mean(&|c| self_first(2 * pairs, 2 * c)),
        mean(&|c| expected(2 * pairs - 1, 2 * c - 1)),
    ]
}
