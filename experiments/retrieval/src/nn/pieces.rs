//! Work in pieces over the threads of this crate.
//!
//! What a piece is never depends on the number of threads, and pieces write to parts of their own, so
//! results are the same bits whoever takes which piece.

use std::sync::Mutex;

/// Does `work` on every piece, on one thread a desk; a desk is the scratch space of one thread. Threads
/// take the next piece as they become free, so a busy neighbour costs no more than its share.
///
/// # Panics
/// If there is no desk, or `work` panics.
pub fn for_each<P: Send, D: Send>(
    pieces: impl Iterator<Item = P> + Send,
    desks: &mut [D],
    work: impl Fn(P, &mut D) + Sync,
) {
    let (first, others) = desks.split_first_mut().expect("there is at least one thread");
    if others.is_empty() {
        pieces.for_each(|piece| work(piece, first));
        return;
    }
    let queue = Mutex::new(pieces);
    let next = || queue.lock().expect("taking a piece does not panic").next();
    let at = |desk: &mut D| {
        while let Some(piece) = next() {
            work(piece, desk);
        }
    };
    rayon::in_place_scope(|scope| {
        for desk in others {
            scope.spawn(|_| at(desk));
        }
        at(first);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once_at_any_number_of_desks() {
        for desks in [1, 2, 5] {
            let mut squares = vec![0usize; 37];
            let mut done = vec![0usize; desks];
            for_each(squares.chunks_mut(3).enumerate(), &mut done, |(first, chunk), done| {
                for (i, value) in chunk.iter_mut().enumerate() {
                    *value += (3 * first + i) * (3 * first + i);
                    *done += 1;
                }
            });
            assert!(squares.iter().enumerate().all(|(i, &v)| v == i * i), "{squares:?}");
            assert_eq!(done.iter().sum::<usize>(), 37);
        }
    }
}
