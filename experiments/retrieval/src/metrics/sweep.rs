//! One ranking of a gallery by every query, in blocks of queries: never is the whole matrix of
//! similarities in memory.

use std::collections::BTreeMap;

use super::{
    average_precision::average_precision,
    pr_curve,
    ranks::{Ranker, Similarity},
    share::by_units,
};
use crate::nn::gemm::{Mat, gemm};

/// Similarities of one block of queries take about this much memory.
pub(super) const BLOCK_BYTES: usize = 16 << 20;

/// Queries handled by one thread at a time; sums are made per strip, then over strips in order, so
/// that they do not depend on the number of threads.
const STRIP: usize = 32;

/// Queries and what they rank. All matrices are row-major unit rows; row n of each belongs to pair n.
#[derive(Debug)]
pub(super) struct Sweep<'a, T> {
    pub(super) queries: &'a [T],
    /// The gallery, one matrix a modality.
    pub(super) galleries: &'a [&'a [T]],
    /// Which of the galleries holds the queries themselves.
    pub(super) own: Option<usize>,
    pub(super) dims: usize,
    pub(super) labels: &'a [u32],
    /// Whether curves and ties are wanted beside average precision.
    pub(super) in_full: bool,
    /// [`BLOCK_BYTES`], less in tests. The result does not depend on it, but for the last bits of similarities.
    pub(super) block_bytes: usize,
}

/// What one task yields over all queries.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Average precision of each query.
    pub(super) average_precision: Vec<f64>,
    /// Interpolated precision at each recall, summed over queries.
    pub(super) curve: Vec<f64>,
    /// Pairs of neighbours in the ranking that are tied, over all queries.
    pub(super) tied: usize,
    /// Pairs of neighbours, over all queries.
    pub(super) neighbours: usize,
}

/// The same of one strip of queries.
#[derive(Clone)]
struct Part {
    average_precision: Vec<f64>,
    curve: [f64; pr_curve::POINTS],
    tied: usize,
    neighbours: usize,
}

impl Part {
    fn new() -> Self {
        Self { average_precision: Vec::new(), curve: [0.0; pr_curve::POINTS], tied: 0, neighbours: 0 }
    }

    fn add(&mut self, ranks: &[u32], ties: Option<(usize, usize)>) {
        self.average_precision.push(average_precision(ranks));
        if let Some((tied, neighbours)) = ties {
            pr_curve::add(ranks, &mut self.curve);
            self.tied += tied;
            self.neighbours += neighbours;
        }
    }
}

impl Tally {
    fn join(&mut self, part: &Part) {
        self.average_precision.extend(&part.average_precision);
        self.curve.resize(pr_curve::POINTS, 0.0);
        self.curve.iter_mut().zip(&part.curve).for_each(|(sum, value)| *sum += value);
        self.tied += part.tied;
        self.neighbours += part.neighbours;
    }
}

impl<T: Similarity> Sweep<'_, T> {
    /// Ranks the gallery for every query. The first tally is with the query in the gallery where `own` says that
    /// it is there, at rank 1 by force; the second without it (empty where there is no `own`).
    pub(super) fn run(&self) -> [Tally; 2] {
        let pairs = self.labels.len();
        let mut of_class: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (pair, label) in (0u32..).zip(self.labels) {
            of_class.entry(*label).or_default().push(pair);
        }
        let row_bytes = pairs * self.galleries.len() * size_of::<T>();
        let block = (self.block_bytes / row_bytes).next_multiple_of(STRIP).clamp(STRIP, pairs.next_multiple_of(STRIP));
        let mut similarities = vec![T::default(); block.min(pairs) * pairs * self.galleries.len()];
        let mut tallies = [Tally::default(), Tally::default()];
        for first in (0..pairs).step_by(block) {
            let rows = block.min(pairs - first);
            let queries = Mat::new(&self.queries[first * self.dims..(first + rows) * self.dims], rows, self.dims);
            let similarities = &mut similarities[..rows * pairs * self.galleries.len()];
            for (gallery, out) in self.galleries.iter().zip(similarities.chunks_exact_mut(rows * pairs)) {
                gemm(out, false, T::one(), queries, Mat::new(gallery, pairs, self.dims).t());
            }
            if let Some(own) = self.own {
                let own = &mut similarities[own * rows * pairs..];
                (0..rows).for_each(|row| own[row * pairs + first + row] = T::infinity());
            }
            for [with, without] in self.rank_block(first, similarities, &of_class) {
                tallies[0].join(&with);
                tallies[1].join(&without);
            }
        }
        tallies
    }

    /// Ranks the rows of one block, whose first query is `first`: one entry a strip.
    fn rank_block(&self, first: usize, similarities: &[T], of_class: &BTreeMap<u32, Vec<u32>>) -> Vec<[Part; 2]> {
        let pairs = self.labels.len();
        let rows = similarities.len() / pairs / self.galleries.len();
        let mut strips = vec![[Part::new(), Part::new()]; rows.div_ceil(STRIP)];
        by_units(&mut strips, 1, |first_strip, strips| {
            let mut ranker = Ranker::new();
            for (strip, parts) in (first_strip..).zip(strips) {
                for row in strip * STRIP..rows.min((strip + 1) * STRIP) {
                    let row_of = |gallery: usize| &similarities[(gallery * rows + row) * pairs..][..pairs];
                    let relevant = &of_class[&self.labels[first + row]];
                    let segments: Vec<&[T]> = (0..self.galleries.len()).map(row_of).collect();
                    self.rank_query(&mut ranker, &segments, relevant, parts);
                }
            }
        });
        strips
    }

    fn rank_query(&self, ranker: &mut Ranker<T>, row: &[&[T]], relevant: &[u32], parts: &mut [Part; 2]) {
        let neighbours = row.len() * self.labels.len() - 1;
        let tied = self.in_full.then(|| ranker.tied_neighbours(row));
        let ranks = ranker.ranks(row, relevant);
        parts[0].add(ranks, tied.map(|tied| (tied, neighbours)));
        if self.own.is_some() {
            // The query itself stands first and ties with nothing: leaving it out moves the others up by one.
            ranks.remove(0);
            for rank in &mut *ranks {
                *rank -= 1;
            }
            parts[1].add(ranks, tied.map(|tied| (tied, neighbours - 1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_put_together_are_the_whole() {
        // Entries of +-1 in 64 columns: similarities are whole 64ths, the same in any arithmetic.
        let (pairs, dims) = (101, 64);
        let mut stream = crate::nn::stream::Stream::new(1, "blocks", 0);
        let mut side =
            || -> Vec<f32> { (0..pairs * dims).map(|_| if stream.below(2) == 0 { 0.125 } else { -0.125 }).collect() };
        let (image, text) = (side(), side());
        let labels: Vec<u32> = (0..101).map(|pair| pair % 7).collect();
        let run = |block_bytes| {
            let galleries: &[&[f32]] = &[&image, &text];
            let queries = &text[..];
            let sweep = Sweep { queries, galleries, own: Some(1), dims, labels: &labels, in_full: true, block_bytes };
            sweep.run()
        };
        let [whole, without] = run(BLOCK_BYTES);
        assert_eq!((whole.average_precision.len(), whole.neighbours), (pairs, pairs * (2 * pairs - 1)));
        assert_eq!((without.average_precision.len(), without.neighbours), (pairs, pairs * (2 * pairs - 2)));
        for block_bytes in [0, 40_000, 60_000] {
            let [with, self_out] = run(block_bytes);
            assert_eq!((&with.average_precision, with.tied), (&whole.average_precision, whole.tied));
            assert_eq!((&self_out.average_precision, self_out.tied), (&without.average_precision, without.tied));
            assert!(with.curve.iter().zip(&whole.curve).all(|(a, b)| (a - b).abs() < 1e-9));
        }
    }
}
