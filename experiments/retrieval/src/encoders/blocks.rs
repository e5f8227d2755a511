//! Work on equal blocks of memory in several threads. What is computed for a block depends on that block
//! alone, and sums over blocks are taken afterwards in order: bits never depend on the number of threads.

use crate::nn::{gemm, real::Real};

/// Calls `work(i, a_i, b_i)` for every block i of `a` (of `a_len` elements) and of `b` (of `b_len`).
///
/// # Panics
/// If the two hold different numbers of blocks: a broken invariant of the caller.
pub fn for_each<A: Send, B: Send>(
    a: &mut [A],
    a_len: usize,
    b: &mut [B],
    b_len: usize,
    work: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    let count = a.len() / a_len;
    assert!(a.len() == count * a_len && b.len() == count * b_len, "blocks of two kinds differ in number");
    let share = count.div_ceil(gemm::threads()).max(1);
    let run = |first: usize, a: &mut [A], b: &mut [B]| {
        for (i, (a, b)) in a.chunks_mut(a_len).zip(b.chunks_mut(b_len)).enumerate() {
            work(first + i, a, b);
        }
    };
    if share >= count {
        return run(0, a, b);
    }
    rayon::scope(|scope| {
        for (i, (a, b)) in a.chunks_mut(share * a_len).zip(b.chunks_mut(share * b_len)).enumerate() {
            let run = &run;
            scope.spawn(move |_| run(i * share, a, b));
        }
    });
}

/// [`for_each`] over one slice.
pub fn for_each_one<A: Send>(a: &mut [A], a_len: usize, work: impl Fn(usize, &mut [A]) + Sync) {
    let mut nothing = vec![(); a.len() / a_len];
    for_each(a, a_len, &mut nothing, 1, |i, a, _| work(i, a));
}

/// `totals += sum of the rows of partial`, rows taken in order.
pub fn add_rows<T: Real>(totals: &mut [T], partial: &[T]) {
    for row in partial.chunks_exact(totals.len()) {
        totals.iter_mut().zip(row).for_each(|(total, value)| *total += *value);
    }
}

/// The first `len` elements of a buffer that grows when needed and is never given back.
pub fn first<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}
