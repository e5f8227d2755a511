//! Products of `faer` matrices by the kernels of this crate.

use faer::{Mat, MatRef};

use crate::nn::gemm;

/// `a b`: (m x k) by (k x n) gives m x n. A transposed operand is `a.transpose()`.
///
/// # Panics
/// If the inner sizes differ: a broken invariant of the caller.
#[must_use]
pub fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let (m, inner, n) = (a.nrows(), a.ncols(), b.ncols());
    assert_eq!(inner, b.nrows(), "inner sizes of a product: {m} x {inner} by {} x {n}", b.nrows());
    let mut out = vec![0.0; m * n];
    if out.is_empty() || inner == 0 {
        return Mat::zeros(m, n);
    }
    // Columns one after another are the rows of the transposed matrix, so (a b)' = b' a' is made.
    let (left, right) = (columns(a), columns(b));
    gemm::gemm(&mut out, false, 1.0, gemm::Mat::new(&right, n, inner), gemm::Mat::new(&left, inner, m));
    drop((left, right)); // before the output is there twice
    Mat::from_fn(m, n, |row, column| out[column * m + row])
}

/// Values column by column.
#[must_use]
pub fn columns(matrix: MatRef<'_, f64>) -> Vec<f64> {
    matrix.col_iter().flat_map(|column| column.iter().copied()).collect()
}

/// Values row by row, as embeddings and kept tensors hold them.
#[must_use]
pub fn rows(matrix: MatRef<'_, f64>) -> Vec<f64> {
    columns(matrix.transpose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_hand_with_transposed_operands() {
        let a = Mat::from_fn(2, 3, |i, j| [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]][i][j]);
        let b = Mat::from_fn(3, 2, |i, j| [[1.0, 0.0], [-1.0, 2.0], [0.5, 1.0]][i][j]);
        assert_eq!(rows(product(a.as_ref(), b.as_ref()).as_ref()), [0.5, 7.0, 2.0, 16.0]);
        assert_eq!(columns(product(a.as_ref(), b.as_ref()).as_ref()), [0.5, 2.0, 7.0, 16.0]);
        assert_eq!(rows(product(a.as_ref(), a.transpose()).as_ref()), [14.0, 32.0, 32.0, 77.0]);
        assert_eq!(product(a.subcols(0, 0), b.subrows(0, 0)), Mat::<f64>::zeros(2, 2));
    }
}
