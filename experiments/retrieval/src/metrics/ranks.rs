//! Ranks of the relevant items in one row of similarities: falling similarity, equal similarity by
//! gallery index (spec D.3).
//!
//! Average precision needs the ranks of the relevant items only. With few of them it is cheapest to
//! count, for each, the items ahead: a pass without branches over the row. With many, the row is
//! sorted. Both give the same ranks, exactly.

use crate::nn::real::Real;

/// A similarity with its place in the order: an element type that can be scored.
pub(super) trait Similarity: Real {
    /// Rises where the similarity falls.
    type Key: Ord + Copy + Send;
    /// Equal for equal similarities (also for 0 and -0), smaller for larger ones. Never called with NaN.
    fn key(self) -> Self::Key;
}

macro_rules! similarity {
    ($ty:ty, $key:ty) => {
        impl Similarity for $ty {
            type Key = $key;
            fn key(self) -> $key {
                const SIGN: $key = 1 << (<$key>::BITS - 1);
                // Adding 0 turns -0 into 0. Read as a whole number, a positive float rises with its value and
                // a negative one falls.
                let bits = (self + 0.0).to_bits();
                if bits & SIGN == 0 { !(bits | SIGN) } else { bits }
            }
        }
    };
}

similarity!(f32, u32);
similarity!(f64, u64);

/// Finds ranks row by row, keeping its buffers.
#[derive(Debug)]
pub(super) struct Ranker<T: Similarity> {
    arch: pulp::Arch,
    keys: Vec<T::Key>,
    order: Vec<(T::Key, u32)>,
    ranks: Vec<u32>,
}

impl<T: Similarity> Ranker<T> {
    pub(super) fn new() -> Self {
        Self { arch: pulp::Arch::new(), keys: Vec::new(), order: Vec::new(), ranks: Vec::new() }
    }

    /// Ranks (from 1, rising) of the items `relevant` of every segment in the ranking of the whole row.
    /// The row's items are numbered through its segments; `relevant` are indices within a segment, rising.
    pub(super) fn ranks(&mut self, row: &[&[T]], relevant: &[u32]) -> &mut Vec<u32> {
        let items: usize = row.iter().map(|segment| segment.len()).sum();
        self.ranks.clear();
        if counting_is_cheaper(items, relevant.len() * row.len()) {
            self.arch.dispatch(Count { row, relevant, ranks: &mut self.ranks });
            self.ranks.sort_unstable();
        } else {
            self.by_sorting(row, relevant);
        }
        &mut self.ranks
    }

    fn by_sorting(&mut self, row: &[&[T]], relevant: &[u32]) {
        self.order.clear();
        for (index, value) in (0u32..).zip(row.iter().copied().flatten()) {
            self.order.push((value.key(), index));
        }
        self.order.sort_unstable();
        let mut rank_of = vec![0; self.order.len()];
        for (rank, &(_, index)) in (1u32..).zip(&self.order) {
            rank_of[index as usize] = rank;
        }
        let mut start = 0;
        for segment in row {
            self.ranks.extend(relevant.iter().map(|&item| rank_of[start + item as usize]));
            start += segment.len();
        }
        self.ranks.sort_unstable();
    }

    /// How many of the row's neighbours in rank have equal similarities: 0 to items - 1.
    pub(super) fn tied_neighbours(&mut self, row: &[&[T]]) -> usize {
        self.keys.clear();
        for segment in row {
            self.keys.extend(segment.iter().map(|value| value.key()));
        }
        self.keys.sort_unstable();
        self.keys.windows(2).filter(|pair| pair[0] == pair[1]).count()
    }
}

/// Counting passes over the row once for each relevant item, sixteen or so items a step; sorting takes
/// about log2(items) steps an item (the factor is measured).
fn counting_is_cheaper(items: usize, relevant: usize) -> bool {
    relevant <= 16 * items.max(2).ilog2() as usize
}

/// Counts, for each relevant item, the items ahead of it.
struct Count<'a, T> {
    row: &'a [&'a [T]],
    relevant: &'a [u32],
    ranks: &'a mut Vec<u32>,
}

impl<T: Similarity> pulp::NullaryFnOnce for Count<'_, T> {
    type Output = ();

    // Inlined into the function that carries the processor's vector instructions, as everything below.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn call(self) {
        for (own, segment) in self.row.iter().enumerate() {
            for &item in self.relevant {
                let (before, after) = segment.split_at(item as usize);
                let value = after[0];
                let mut ahead = count(before, |other| other >= value) + count(after, |other| other > value);
                for (number, other) in self.row.iter().enumerate() {
                    if number < own {
                        ahead += count(other, |other| other >= value);
                    } else if number > own {
                        ahead += count(other, |other| other > value);
                    }
                }
                self.ranks.push(ahead + 1);
            }
        }
    }
}

/// How many values pass. Wrapping, because a check for overflow (which cannot happen: a row has fewer
/// than 2^32 items) would keep the loop from being vectorised.
#[allow(clippy::inline_always)]
#[inline(always)]
fn count<T: Copy>(values: &[T], passes: impl Fn(T) -> bool) -> u32 {
    values.iter().fold(0, |n: u32, &value| n.wrapping_add(u32::from(passes(value))))
}
