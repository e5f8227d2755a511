//! Neighbour graphs over rows, without a matrix of all pairs of them: distances are made a block of rows at a time.

use faer::{Mat, MatRef};

use super::product::{product, rows};
use crate::nn::gemm;

/// Rows whose distances to all rows are in memory at a time.
const BLOCK_ROWS: usize = 256;

/// Which rows are neighbours: symmetric, without a row itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    neighbours: Vec<Vec<u32>>,
}

impl Graph {
    /// Joins every row of `x` (rows x columns) with its `nearest` nearest other rows by Euclidean distance, the first
    /// of equals, and these with it.
    ///
    /// # Panics
    /// If there are 2^32 rows or more.
    #[must_use]
    pub fn of_nearest(x: MatRef<'_, f64>, nearest: usize) -> Self {
        let mut neighbours = vec![Vec::new(); x.nrows()];
        for_each_row(x, |row, squares| {
            let others = (0..).zip(squares).filter(|(other, _)| *other as usize != row);
            for (other, _) in smallest(others, nearest) {
                neighbours[row].push(other);
                neighbours[other as usize].push(u32::try_from(row).expect("fewer rows than 2^32"));
            }
        });
        for list in &mut neighbours {
            list.sort_unstable();
            list.dedup();
        }
        Self { neighbours }
    }

    /// Neighbours of a row, rising.
    #[must_use]
    pub fn neighbours(&self, row: usize) -> &[u32] {
        &self.neighbours[row]
    }

    /// X' L X with L = I - D^-1/2 K D^-1/2, where K holds 1 for neighbours and D its row sums.
    #[must_use]
    pub fn smoothness(&self, x: MatRef<'_, f64>) -> Mat<f64> {
        self.less(x, |scaled, dims| {
            let mut sums = vec![0.0; scaled.len()];
            for (list, sum) in self.neighbours.iter().zip(sums.chunks_exact_mut(dims)) {
                for &other in list {
                    let from = &scaled[other as usize * dims..][..dims];
                    sum.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
                }
            }
            sums
        })
    }

    /// The same with the similarities 1 / (1 + exp(distance)) of all pairs of rows in the place of K, but the row
    /// sums of K: what the released code of JRL does (spec C.4, `dense_quirk`).
    #[must_use]
    pub fn dense_smoothness(&self, x: MatRef<'_, f64>) -> Mat<f64> {
        self.less(x, |scaled, dims| {
            let mut sums = vec![0.0; scaled.len()];
            for_each_row(x, |row, squares| {
                let weights: Vec<f64> = squares.iter().map(|&square| similarity(square)).collect();
                let sum = &mut sums[row * dims..][..dims];
                gemm::gemm(
                    sum,
                    false,
                    1.0,
                    gemm::Mat::new(&weights, 1, weights.len()),
                    gemm::Mat::new(scaled, weights.len(), dims),
                );
            });
            sums
        })
    }

    /// X' (X - D^-1/2 S Z), where `weigh` gives S Z row by row from Z = D^-1/2 X and its number of columns.
    fn less(&self, x: MatRef<'_, f64>, weigh: impl FnOnce(&[f64], usize) -> Vec<f64>) -> Mat<f64> {
        let dims = x.ncols();
        #[allow(clippy::cast_precision_loss)] // numbers of neighbours
        let factors: Vec<f64> = self.neighbours.iter().map(|list| 1.0 / (list.len().max(1) as f64).sqrt()).collect();
        let scale = |values: &mut [f64]| {
            for (row, factor) in values.chunks_exact_mut(dims).zip(&factors) {
                for value in row {
                    *value *= factor;
                }
            }
        };
        let values = rows(x);
        let mut scaled = values.clone();
        scale(&mut scaled);
        let mut weighed = weigh(&scaled, dims);
        scale(&mut weighed);
        let rest = Mat::from_fn(x.nrows(), dims, |i, j| values[i * dims + j] - weighed[i * dims + j]);
        product(x.transpose(), rest.as_ref())
    }
}

/// 1 / (1 + exp(distance)), of the squared distance.
#[must_use]
pub fn similarity(square: f64) -> f64 {
    1.0 / (1.0 + libm::exp(square.sqrt()))
}

/// The `count` smallest by value, rising, the first of equals.
pub fn smallest<'a>(values: impl Iterator<Item = (u32, &'a f64)>, count: usize) -> Vec<(u32, f64)> {
    let mut all: Vec<(u32, f64)> = values.map(|(index, value)| (index, *value)).collect();
    let order = |a: &(u32, f64), b: &(u32, f64)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all
}

/// Squared distances of every row of `x` to all of them, one row after the other.
fn for_each_row(x: MatRef<'_, f64>, mut visit: impl FnMut(usize, &[f64])) {
    let (n, dims) = x.shape();
    let values = rows(x);
    let squares: Vec<f64> = values.chunks_exact(dims.max(1)).map(|row| row.iter().map(|v| v * v).sum()).collect();
    let mut block = vec![0.0; BLOCK_ROWS.min(n) * n];
    for first in (0..n).step_by(BLOCK_ROWS) {
        let count = BLOCK_ROWS.min(n - first);
        let part = &values[first * dims..(first + count) * dims];
        let out = &mut block[..count * n];
        gemm::gemm(out, false, -2.0, gemm::Mat::new(part, count, dims), gemm::Mat::new(&values, n, dims).t());
        for (row, distances) in (first..).zip(out.chunks_exact_mut(n)) {
            for (distance, square) in distances.iter_mut().zip(&squares) {
                *distance = (*distance + square + squares[row]).max(0.0);
            }
            distances[row] = 0.0;
            visit(row, distances);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::stream::Stream;

    #[test]
    fn neighbours_on_a_line_by_hand() {
        let x = Mat::from_fn(5, 1, |i, _| [0.0, 1.0, 3.0, 7.0, 20.0][i]);
        let graph = Graph::of_nearest(x.as_ref(), 1);
        let lists: Vec<&[u32]> = (0..5).map(|row| graph.neighbours(row)).collect();
        assert_eq!(lists, [&[1][..], &[0, 2], &[1, 3], &[2, 4], &[3]]);
        assert_eq!(smallest((0..).zip(&[3.0, 1.0, 1.0, 0.5]), 2), [(3, 0.5), (1, 1.0)]);
    }

    #[test]
    fn smoothness_agrees_with_the_matrix_of_all_pairs() {
        let (n, dims) = (300, 4); // more than one block
        let mut stream = Stream::new(1, "graph", 0);
        let x = Mat::from_fn(n, dims, |_, _| stream.normal());
        let graph = Graph::of_nearest(x.as_ref(), 5);
        let wide = |row: usize| u32::try_from(row).unwrap();
        let degree = |row: usize| f64::from(wide(graph.neighbours(row).len()));
        let distance = |i: usize, j: usize| (0..dims).map(|c| (x[(i, c)] - x[(j, c)]).powi(2)).sum::<f64>();
        let sparse = |i: usize, j: usize| f64::from(u8::from(graph.neighbours(i).contains(&wide(j))));
        let dense = |i: usize, j: usize| similarity(distance(i, j));
        let agrees = |weight: &dyn Fn(usize, usize) -> f64, found: Mat<f64>| {
            let laplacian =
                Mat::from_fn(n, n, |i, j| f64::from(u8::from(i == j)) - weight(i, j) / (degree(i) * degree(j)).sqrt());
            let wanted = x.transpose() * &laplacian * &x;
            let largest = (0..dims * dims).map(|k| (found[(k / dims, k % dims)] - wanted[(k / dims, k % dims)]).abs());
            assert!(largest.fold(0.0, f64::max) < 1e-9);
        };
        agrees(&sparse, graph.smoothness(x.as_ref()));
        agrees(&dense, graph.dense_smoothness(x.as_ref()));
        // Symmetric, and never a row itself.
        assert!((0..n).all(|i| !graph.neighbours(i).contains(&wide(i))));
        assert!((0..n).all(|i| graph.neighbours(i).iter().all(|&j| graph.neighbours(j as usize).contains(&wide(i)))));
    }
}
