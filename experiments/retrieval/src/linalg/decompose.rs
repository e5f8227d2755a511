//! Singular values and eigenvalues, largest first.

use faer::{
    Mat, MatRef, Par, Spec,
    diag::Diag,
    dyn_stack::{MemBuffer, MemStack},
    linalg::{
        evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch},
        svd::{ComputeSvdVectors, svd, svd_scratch},
    },
};

use super::{
    components::{NOISE, scale_columns, surviving},
    product::product,
};
use crate::error::{Error, Result};

/// `a = left diag(values) right'`, with min(m, n) columns on both sides.
#[derive(Clone, Debug)]
pub struct Svd {
    /// Left singular vectors as columns: m x min(m, n).
    pub left: Mat<f64>,
    /// Singular values, falling.
    pub values: Vec<f64>,
    /// Right singular vectors as columns: n x min(m, n).
    pub right: Mat<f64>,
}

/// Thin singular value decomposition of an m x n matrix, named `what` in errors. A matrix that is much longer than
/// wide is reduced by a QR decomposition first (faer does so), so 4096 x 300 costs little more than 300 x 300.
///
/// # Errors
/// [`Error::Data`] when a value is not finite or the iteration does not converge.
pub fn thin_svd(a: MatRef<'_, f64>, what: &str) -> Result<Svd> {
    check_finite(a, what)?;
    let ((m, n), size) = (a.shape(), a.nrows().min(a.ncols()));
    let (mut left, mut right) = (Mat::zeros(m, size), Mat::zeros(n, size));
    let mut values = Diag::zeros(size);
    let thin = ComputeSvdVectors::Thin;
    let mut memory = MemBuffer::new(svd_scratch::<f64>(m, n, thin, thin, Par::Seq, Spec::default()));
    svd(
        a,
        values.as_mut(),
        Some(left.as_mut()),
        Some(right.as_mut()),
        Par::Seq,
        MemStack::new(&mut memory),
        Spec::default(),
    )
    .map_err(|_| no_convergence("singular values", what))?;
    Ok(Svd { left, values: values.column_vector().iter().copied().collect(), right })
}

/// Squares of singular values below this share of the largest are not told apart from rounding noise well enough.
const TOLD: f64 = 1e-8;
/// Columns of which the right vectors are made at a time: copies stay small beside the matrix.
const BLOCK: usize = 512;

/// [`thin_svd`] without what is rounding noise (see [`NOISE`]). Of a matrix with fewer rows than columns the values are
/// found at half the time, as the square roots of the eigenvalues of `a a'`, wherever these tell them to eight digits: every
/// value that they do not tell must be seen to be noise on the matrix itself.
///
/// # Errors
/// As [`thin_svd`].
pub fn svd_above_noise(a: MatRef<'_, f64>, what: &str) -> Result<Svd> {
    check_finite(a, what)?;
    if a.nrows() < a.ncols()
        && let Some(found) = by_gram_matrix(a, what)?
    {
        return Ok(found);
    }
    let mut svd = thin_svd(a, what)?;
    let rank = surviving(&svd.values);
    svd.left.truncate(svd.left.nrows(), rank);
    svd.right.truncate(svd.right.nrows(), rank);
    svd.values.truncate(rank);
    Ok(svd)
}

/// The decomposition from `a a'`; none where that does not tell every value.
fn by_gram_matrix(a: MatRef<'_, f64>, what: &str) -> Result<Option<Svd>> {
    let (rows, columns) = a.shape();
    let Eigen { values, vectors } = symmetric_eigen(product(a, a.transpose()).as_ref(), what)?;
    let largest = values.first().copied().unwrap_or(0.0);
    let told = values.iter().take_while(|&&value| value > TOLD * largest).count();
    // What the matrix makes of the other directions is their singular values, up to the rounding of the matrix.
    let others = product(a.transpose(), vectors.subcols(told, rows - told));
    let noise = NOISE * largest.max(0.0).sqrt();
    if others.col_iter().any(|column| column.norm_l2() > noise) {
        return Ok(None);
    }
    let values: Vec<f64> = values[..told].iter().map(|value| value.sqrt()).collect();
    let inverse: Vec<f64> = values.iter().map(|value| 1.0 / value).collect();
    let left = vectors.subcols(0, told).to_owned();
    drop(vectors);
    let scaled = scale_columns(left.as_ref(), &inverse);
    let mut right = Mat::zeros(columns, told);
    for start in (0..columns).step_by(BLOCK) {
        let width = BLOCK.min(columns - start);
        let block = product(a.subcols(start, width).transpose(), scaled.as_ref());
        right.subrows_mut(start, width).copy_from(block);
    }
    Ok(Some(Svd { left, values, right }))
}

/// `a = vectors diag(values) vectors'`.
#[derive(Clone, Debug)]
pub struct Eigen {
    /// Eigenvalues, falling.
    pub values: Vec<f64>,
    /// Eigenvectors as columns, in the same order.
    pub vectors: Mat<f64>,
}

/// Eigenvalues and eigenvectors of a symmetric matrix, of which the lower triangle is read.
///
/// # Errors
/// As [`thin_svd`].
///
/// # Panics
/// If the matrix is not square: a broken invariant of the caller.
pub fn symmetric_eigen(a: MatRef<'_, f64>, what: &str) -> Result<Eigen> {
    assert_eq!(a.nrows(), a.ncols(), "a symmetric matrix is square");
    check_finite(a, what)?;
    let n = a.nrows();
    let (mut vectors, mut values) = (Mat::zeros(n, n), Diag::zeros(n));
    let yes = ComputeEigenvectors::Yes;
    let mut memory = MemBuffer::new(self_adjoint_evd_scratch::<f64>(n, yes, Par::Seq, Spec::default()));
    let stack = MemStack::new(&mut memory);
    self_adjoint_evd(a, values.as_mut(), Some(vectors.as_mut()), Par::Seq, stack, Spec::default())
        .map_err(|_| no_convergence("eigenvalues", what))?;
    drop(memory); // before the vectors are there twice
    // faer gives them rising.
    let values = values.column_vector().iter().rev().copied().collect();
    Ok(Eigen { values, vectors: vectors.as_ref().reverse_cols().to_owned() })
}

fn no_convergence(values: &str, what: &str) -> Error {
    Error::Data(format!("the {values} of {what} were not found: the iteration does not converge"))
}

fn check_finite(a: MatRef<'_, f64>, what: &str) -> Result<()> {
    if a.col_iter().all(|column| column.iter().all(|value| value.is_finite())) {
        return Ok(());
    }
    Err(Error::Data(format!("{what} has values that are not finite: features are too large, or damaged")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::stream::Stream;

    fn largest_difference(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
        (a - b)
            .col_iter()
            .flat_map(|column| column.iter().map(|value| value.abs()).collect::<Vec<_>>())
            .fold(0.0, f64::max)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn factors_are_orthonormal_and_give_the_matrix_back(
            m in 1usize..9, n in 1usize..9, values in proptest::collection::vec(-3.0f64..3.0, 64),
        ) {
            let a = Mat::from_fn(m, n, |i, j| values[i * 8 + j]);
            let found = thin_svd(a.as_ref(), "a").unwrap();
            let again = product(scale_columns(found.left.as_ref(), &found.values).as_ref(), found.right.transpose());
            prop_assert!(largest_difference(&a, &again) < 1e-12);
            let size = m.min(n);
            for side in [&found.left, &found.right] {
                let gram = product(side.transpose(), side.as_ref());
                prop_assert!(largest_difference(&gram, &Mat::identity(size, size)) < 1e-12);
            }
            prop_assert!(found.values.is_sorted_by(|a, b| a >= b));
        }

        #[test]
        fn the_eigen_equation_holds(n in 1usize..9, values in proptest::collection::vec(-3.0f64..3.0, 64)) {
            let a = Mat::from_fn(n, n, |i, j| values[i.max(j) * 8 + i.min(j)]);
            let found = symmetric_eigen(a.as_ref(), "a").unwrap();
            let left = product(a.as_ref(), found.vectors.as_ref());
            prop_assert!(largest_difference(&left, &scale_columns(found.vectors.as_ref(), &found.values)) < 1e-12);
            let gram = product(found.vectors.transpose(), found.vectors.as_ref());
            prop_assert!(largest_difference(&gram, &Mat::identity(n, n)) < 1e-12);
            prop_assert!(found.values.is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        let a = Mat::from_fn(2, 2, |i, j| if i == j { f64::INFINITY } else { 0.0 });
        assert!(thin_svd(a.as_ref(), "the cross-covariance").unwrap_err().to_string().starts_with("the cross-cov"));
        assert!(symmetric_eigen(a.as_ref(), "the kernel").unwrap_err().to_string().starts_with("the kernel has"));
    }

    /// Rows drawn from a stream, each column less its mean.
    fn centred(rows: usize, columns: usize, scale: impl Fn(usize) -> f64) -> Mat<f64> {
        let mut stream = Stream::new(1, "centred", 0);
        let count = f64::from(u32::try_from(rows).unwrap());
        let mut a = Mat::from_fn(rows, columns, |_, _| stream.normal());
        for column in 0..columns {
            let mean = a.col(column).iter().sum::<f64>() / count;
            (0..rows).for_each(|row| a[(row, column)] = (a[(row, column)] - mean) * scale(column));
        }
        a
    }

    #[test]
    fn eigenvalues_give_the_singular_values_of_wide_matrices() {
        // Wider than a block of the right vectors. Of forty rows five are repeated: rank 35.
        let mut a = centred(40, BLOCK + 90, |_| 1.0);
        for row in 0..5 {
            let repeated = a.row(row).to_owned();
            a.row_mut(row + 5).copy_from(repeated);
        }
        let (quick, whole) = (by_gram_matrix(a.as_ref(), "a").unwrap().unwrap(), thin_svd(a.as_ref(), "a").unwrap());
        assert_eq!((quick.values.len(), surviving(&whole.values)), (35, 35));
        assert!(quick.values.iter().zip(&whole.values).all(|(quick, whole)| (quick - whole).abs() < 1e-11 * whole));
        let again = product(scale_columns(quick.left.as_ref(), &quick.values).as_ref(), quick.right.transpose());
        assert!(largest_difference(&a, &again) < 1e-11);
        for side in [&quick.left, &quick.right] {
            let gram = product(side.transpose(), side.as_ref());
            assert!(largest_difference(&gram, &Mat::identity(35, 35)) < 1e-11);
        }
    }

    #[test]
    fn where_eigenvalues_do_not_tell_the_matrix_itself_is_decomposed() {
        // Values of 1e-6 of the largest are lost in a product with itself; three columns of forty carry more.
        let small = centred(20, 40, |column| if column < 3 { 1.0 } else { 1e-6 });
        assert!(by_gram_matrix(small.as_ref(), "a").unwrap().is_none());
        // Below the share that is noise by definition they need not be told.
        let smaller = centred(20, 40, |column| if column < 3 { 1.0 } else { 1e-13 });
        assert_eq!(by_gram_matrix(smaller.as_ref(), "a").unwrap().unwrap().values.len(), 3);
        let tall = centred(40, 20, |_| 1.0);
        for (a, rank) in [(&small, 19), (&tall, 20)] {
            let (found, whole) = (svd_above_noise(a.as_ref(), "a").unwrap(), thin_svd(a.as_ref(), "a").unwrap());
            assert_eq!((found.left.ncols(), found.right.ncols()), (rank, rank));
            assert_eq!(found.values, whole.values[..rank]);
        }
        assert_eq!(svd_above_noise(Mat::zeros(3, 5).as_ref(), "a").unwrap().values.len(), 0);
        assert!(svd_above_noise(Mat::full(3, 5, f64::NAN).as_ref(), "a").is_err());
    }
}
