//! Work in pieces over the threads of this crate.
//!
//! What a piece is never depends on the number of threads, and pieces write to parts of their own, so
//! results are the same bits whoever takes which piece.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::gemm::threads;

/// How often to look for the end of the others' last pieces before sleeping: about a tenth of a millisecond.
const PATIENCE: u32 = 10_000;

/// The threads of one model, each with a desk: its scratch space.
#[derive(Debug)]
pub struct Workers<D> {
    desks: Vec<D>,
    /// The threads beside the caller's own. A pool of this size, and not the global one, so that no
    /// idle thread looks for work on a processor that another needs.
    others: Option<rayon::ThreadPool>,
}

impl<D: Send> Workers<D> {
    /// As many as [`threads`] says now, with a `desk` each. Fewer when the system refuses threads.
    pub fn new(desk: impl FnMut() -> D) -> Self {
        let others = match threads() {
            1 => None,
            count => rayon::ThreadPoolBuilder::new().num_threads(count - 1).build().ok(),
        };
        let count = 1 + others.as_ref().map_or(0, rayon::ThreadPool::current_num_threads);
        Self { desks: std::iter::repeat_with(desk).take(count).collect(), others }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.desks.len()
    }

    /// Does `work` on every piece. Threads take the next piece as they become free, so a busy neighbour
    /// costs no more than its share.
    ///
    /// # Panics
    /// If `work` panics.
    pub fn for_each<P: Send>(&mut self, pieces: impl Iterator<Item = P> + Send, work: impl Fn(P, &mut D) + Sync) {
        let (first, desks) = self.desks.split_first_mut().expect("the caller's own desk is always there");
        let Some(others) = &self.others else {
            pieces.for_each(|piece| work(piece, first));
            return;
        };
        let queue = Mutex::new(pieces);
        let next = || queue.lock().expect("taking a piece does not panic").next();
        let at = |desk: &mut D| {
            while let Some(piece) = next() {
                work(piece, desk);
            }
        };
        let working = AtomicUsize::new(desks.len());
        others.in_place_scope(|scope| {
            for desk in desks {
                scope.spawn(|_| {
                    at(desk);
                    working.fetch_sub(1, Ordering::Release);
                });
            }
            at(first);
            // The others are at most a piece behind: sleeping and being woken would take longer.
            let mut patience = PATIENCE;
            while working.load(Ordering::Acquire) > 0 && patience > 0 {
                std::hint::spin_loop();
                patience -= 1;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once_at_any_number_of_desks() {
        for count in [1, 2, 5] {
            let others = (count > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(count - 1).build().unwrap());
            let mut workers = Workers { desks: vec![0usize; count], others };
            let mut squares = vec![0usize; 37];
            workers.for_each(squares.chunks_mut(3).enumerate(), |(first, chunk), done| {
                for (i, value) in chunk.iter_mut().enumerate() {
                    *value += (3 * first + i) * (3 * first + i);
                    *done += 1;
                }
            });
            assert!(squares.iter().enumerate().all(|(i, &v)| v == i * i), "{squares:?}");
            assert_eq!(workers.desks.iter().sum::<usize>(), 37);
        }
    }
}
