//! Splits work over the threads that this process may use, never over more.

use crate::nn::gemm::threads;

/// Calls `work(first unit, units)` on consecutive pieces of `items`, each a whole number of units of
/// `unit` items, at most one piece a thread. What a unit gets done must depend on that unit alone:
/// then the result does not depend on the number of threads.
///
/// # Panics
/// If `items` is not a whole number of units: a broken invariant of the caller.
pub(super) fn by_units<T: Send>(items: &mut [T], unit: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    assert!(unit > 0 && items.len().is_multiple_of(unit), "{} items are no whole units of {unit}", items.len());
    let units = items.len() / unit;
    let per_piece = units.div_ceil(threads()).max(1);
    if per_piece >= units {
        work(0, items);
        return;
    }
    rayon::scope(|scope| {
        for (piece, items) in items.chunks_mut(per_piece * unit).enumerate() {
            let work = &work;
            scope.spawn(move |_| work(piece * per_piece, items));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::by_units;
    use crate::nn::gemm::set_threads;

    #[test]
    fn every_unit_is_worked_on_once_with_its_own_number() {
        for threads in [1, 2, 3, 16] {
            set_threads(threads);
            let mut items = vec![0usize; 3 * 7];
            by_units(&mut items, 3, |first, items| {
                for (unit, items) in items.chunks_exact_mut(3).enumerate() {
                    for item in items {
                        *item += 100 + first + unit;
                    }
                }
            });
            assert_eq!(items, (0..21).map(|i| 100 + i / 3).collect::<Vec<_>>(), "{threads} threads");
        }
        by_units(&mut Vec::<u8>::new(), 4, |_, items| assert!(items.is_empty()));
    }
}
