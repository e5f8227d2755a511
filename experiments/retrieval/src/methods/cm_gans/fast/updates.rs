//! The Adam steps of weight matrices: a few rows of the gradient are made, and consumed while they are
//! in cache (identity 4).

use super::{buffers::Crew, layers::Products, parameter::Rows};
use crate::nn::{
    gemm::{SimdLevel, gemm_with},
    real::Real,
    vector::{AdamStep, at_level, dot, set_scaled},
};

/// Elements of a weight matrix that are stepped at a time: they, their moments and their gradient stay
/// within a core's second-level cache.
const BLOCK: usize = 32 * 1024;
/// Rows of a gradient that the widest kernel makes at a time; other numbers leave it half-filled.
const PANEL: usize = 6;

/// Some rows of a weight matrix, and where their gradient comes from.
#[derive(Debug)]
pub(super) struct Update<'a, T> {
    rows: Rows<'a, T>,
    source: Source<'a, T>,
}

#[derive(Debug)]
enum Source<'a, T> {
    /// x'g, summed: x is in x batch, g is batch x out.
    Products(Products<'a, T>),
    Judged(Judged<'a, T>),
}

/// A decoder's second layer whose output only a one-layer discriminator sees (identity 3): the gradient
/// is (sum_n g_n d_n) w'.
#[derive(Debug)]
pub(super) struct Judged<'a, T> {
    /// Input of the layer, in x batch.
    pub(super) input: &'a [T],
    /// dL/dlogit of every item.
    pub(super) of_logits: &'a [T],
    /// w, the discriminator's weight.
    pub(super) judge: &'a [T],
    /// Gets W w of the stepped weight: what the discriminator sees of the input from then on.
    pub(super) seen: &'a mut [T],
}

/// How much space a block's gradient takes when the widest matrix has `columns` columns.
pub(super) fn block_size(columns: usize) -> usize {
    BLOCK.max(columns)
}

fn rows_of_block(columns: usize) -> usize {
    let rows = (BLOCK / columns).max(1);
    if rows > PANEL { rows / PANEL * PANEL } else { rows }
}

/// The blocks of a matrix whose gradient is a sum of products.
pub(super) fn of_products<'a, T: Real>(
    rows: Rows<'a, T>,
    products: Products<'a, T>,
) -> impl Iterator<Item = Update<'a, T>> + Send {
    let size = rows_of_block(rows.columns);
    rows.parts(size).map(move |rows| Update { rows, source: Source::Products(products) })
}

/// The blocks of a decoder's second layer.
pub(super) fn of_judged<'a, T: Real>(
    rows: Rows<'a, T>,
    judged: Judged<'a, T>,
) -> impl Iterator<Item = Update<'a, T>> + Send {
    let size = rows_of_block(rows.columns);
    let Judged { input, of_logits, judge, seen } = judged;
    let inputs = input.chunks(size * of_logits.len());
    rows.parts(size).zip(inputs).zip(seen.chunks_mut(size)).map(move |((rows, input), seen)| Update {
        rows,
        source: Source::Judged(Judged { input, of_logits, judge, seen }),
    })
}

/// Makes all updates.
pub(super) fn run<'a, T: Real + 'a>(
    crew: &mut Crew<T>,
    adam: AdamStep<T>,
    updates: impl Iterator<Item = Update<'a, T>> + Send,
) {
    let level = crew.level;
    crew.workers.for_each(updates, |mut update, scratch| {
        let gradient = &mut scratch[..update.rows.value.len()];
        update.source.write(level, &update.rows, gradient);
        update.rows.apply(level, adam, gradient);
        if let Source::Judged(judged) = update.source {
            at_level!(level, {
                for (seen, row) in judged.seen.iter_mut().zip(update.rows.value.chunks_exact(update.rows.columns)) {
                    *seen = dot(row, judged.judge);
                }
            });
        }
    });
}

impl<T: Real> Source<'_, T> {
    fn write(&self, level: SimdLevel, rows: &Rows<'_, T>, gradient: &mut [T]) {
        match self {
            Self::Products(products) => {
                for (index, (x, g)) in products.iter().flatten().enumerate() {
                    gemm_with(level, 1, gradient, index > 0, T::one(), x.row_range(rows.range()), *g);
                }
            }
            Self::Judged(judged) => at_level!(level, {
                let inputs = judged.input.chunks_exact(judged.of_logits.len());
                for (row, input) in gradient.chunks_exact_mut(rows.columns).zip(inputs) {
                    set_scaled(row, dot(input, judged.of_logits), judged.judge);
                }
            }),
        }
    }
}
