//! Embeddings as rows of length 1, so that a product of two of them is their cosine similarity
//! (spec D.3), with the authors' z-scoring before it where it is asked for (spec D.4).

use super::{average_precision::count, share::by_units};
use crate::{
    method::{Embedding, EmbeddingValues},
    nn::real::Real,
};

/// Norms are taken as at least this, so that a zero row stays zero: similarity 0 to everything.
const LEAST_NORM: f64 = 1e-12;

/// Larger values are as unusable as infinite ones: their squares overflow.
const LARGEST_VALUE: f64 = 1e100;

/// Place (row, column) and value of the first element that cannot be scored: not a number, infinite,
/// or beyond 1e100 (whose square has no finite sum).
#[must_use]
pub fn find_unusable(embedding: &Embedding) -> Option<(usize, usize, f64)> {
    let (index, value) = match &embedding.values {
        EmbeddingValues::F32(values) => find_in(values),
        EmbeddingValues::F64(values) => find_in(values),
    }?;
    Some((index / embedding.dims, index % embedding.dims, value))
}

fn find_in<T: Real>(values: &[T]) -> Option<(usize, f64)> {
    let usable = |value: &T| value.wide().abs() <= LARGEST_VALUE; // false for NaN
    values.iter().position(|value| !usable(value)).map(|index| (index, values[index].wide()))
}

/// Mean and standard deviation of every column over the rows of one embedding.
#[derive(Debug)]
pub(super) struct Columns {
    mean: Vec<f64>,
    /// With n - 1; a column without deviation gets 1.
    deviation: Vec<f64>,
}

impl Columns {
    /// Statistics of a row-major matrix with `dims` columns and at least one row, in f64. Sums are of differences to
    /// the first row, so that a constant column has deviation exactly 0.
    pub(super) fn of<T: Real>(values: &[T], dims: usize) -> Self {
        let first: Vec<f64> = values[..dims].iter().map(|v| v.wide()).collect();
        let rows = count(values.len() / dims);
        let mut mean = vec![0.0; dims];
        for row in values.chunks_exact(dims) {
            for ((sum, value), first) in mean.iter_mut().zip(row).zip(&first) {
                *sum += value.wide() - first;
            }
        }
        for (sum, first) in mean.iter_mut().zip(&first) {
            *sum = first + *sum / rows;
        }
        let mut deviation = vec![0.0; dims];
        for row in values.chunks_exact(dims) {
            for ((sum, value), mean) in deviation.iter_mut().zip(row).zip(&mean) {
                *sum += (value.wide() - mean) * (value.wide() - mean);
            }
        }
        for sum in &mut deviation {
            *sum = if *sum > 0.0 { (*sum / (rows - 1.0)).sqrt() } else { 1.0 };
        }
        Self { mean, deviation }
    }
}

/// The rows of a row-major matrix scaled to length 1, z-scored first when `columns` are given. The
/// arithmetic is in f64; each result is rounded once.
pub(super) fn unit_rows<T: Real>(values: &[T], dims: usize, columns: Option<&Columns>) -> Vec<T> {
    let mut out = vec![T::default(); values.len()];
    by_units(&mut out, dims, |first, out| {
        let mut wide = vec![0.0; dims];
        let source = values[first * dims..].chunks_exact(dims);
        for (row, out) in source.zip(out.chunks_exact_mut(dims)) {
            match columns {
                None => wide.iter_mut().zip(row).for_each(|(to, from)| *to = from.wide()),
                Some(columns) => {
                    let statistics = columns.mean.iter().zip(&columns.deviation);
                    for ((to, from), (mean, deviation)) in wide.iter_mut().zip(row).zip(statistics) {
                        *to = (from.wide() - mean) / deviation;
                    }
                }
            }
            let norm = sum_of_squares(&wide).sqrt().max(LEAST_NORM);
            out.iter_mut().zip(&wide).for_each(|(to, from)| *to = T::of(from / norm));
        }
    });
    out
}

/// Sum of squares in eight fixed lanes: quick, and always in the same order.
fn sum_of_squares(row: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (chunks, rest) = row.as_chunks::<8>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += value * value);
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|value| value * value).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_length_one_and_zero_rows_stay_zero() {
        let unit = unit_rows(&[3.0f32, 4.0, 0.0, 0.0, -1e30, 0.0], 2, None);
        assert_eq!(unit, [0.6, 0.8, 0.0, 0.0, -1.0, 0.0]);
        let many: Vec<f64> = (0..19).map(f64::from).collect();
        let unit = unit_rows(&many, 19, None);
        assert!((unit.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn z_scores_use_n_minus_one_and_leave_constant_columns_alone() {
        // Column 0: mean 2, deviation sqrt(((-1)^2 + 0 + 1^2)/2) = 1. Column 1 is constant at a value that
        // rounds: a mean by plain summation would leave a tiny deviation, and z-scores of that noise.
        let values = [1.0, 0.1, 2.0, 0.1, 3.0, 0.1];
        let columns = Columns::of(&values, 2);
        assert_eq!((columns.mean[0], columns.deviation[0]), (2.0, 1.0));
        assert_eq!((columns.mean[1], columns.deviation[1]), (0.1, 1.0));
        assert_eq!(unit_rows(&values, 2, Some(&columns)), [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let one_row = Columns::of(&[5.0f32, 7.0], 2);
        assert_eq!(unit_rows(&[5.0f32, 7.0], 2, Some(&one_row)), [0.0, 0.0], "one row has no deviation");
    }

    #[test]
    fn what_cannot_be_scored_is_found_with_its_place() {
        let f32s = |values: Vec<f32>| Embedding { rows: 2, dims: 2, values: EmbeddingValues::F32(values) };
        assert!(find_unusable(&f32s(vec![1.0, f32::MAX, 0.0, -3.0])).is_none());
        let (row, column, value) = find_unusable(&f32s(vec![1.0, 2.0, f32::NAN, 4.0])).expect("a NaN");
        assert!((row, column) == (1, 0) && value.is_nan());
        let huge = Embedding { rows: 1, dims: 3, values: EmbeddingValues::F64(vec![0.0, 1.0, -1e101]) };
        assert_eq!(find_unusable(&huge), Some((0, 2, -1e101)));
        assert_eq!(find_unusable(&f32s(vec![0.0, f32::INFINITY, 0.0, 0.0])), Some((0, 1, f64::INFINITY)));
    }
}
