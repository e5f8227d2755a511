//! Symmetric positive definite matrices by their Cholesky factor: solving and whitening.

use faer::{
    Mat, MatRef, Par, Spec,
    dyn_stack::{MemBuffer, MemStack},
    linalg::{
        cholesky::llt::factor::{LltRegularization, cholesky_in_place, cholesky_in_place_scratch},
        triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place},
    },
};

use crate::error::{Error, Result};

/// A pivot below this share of the largest diagonal element is rounding noise: the matrix is singular.
const LEAST_PIVOT: f64 = 1e-10;

/// `s = factor factor'`.
#[derive(Clone, Debug)]
pub struct Cholesky {
    factor: Mat<f64>,
}

impl Cholesky {
    /// Factors a symmetric positive definite matrix, of which the lower triangle is read.
    ///
    /// # Errors
    /// [`Error::Data`] naming `what` when it is not positive definite within 1e-10 of its largest diagonal element.
    ///
    /// # Panics
    /// If the matrix is not square: a broken invariant of the caller.
    pub fn new(s: MatRef<'_, f64>, what: &str) -> Result<Self> {
        Self::above(LEAST_PIVOT, s, what)
    }

    /// [`Cholesky::new`] of a matrix that is definite by construction, such as a covariance with a ridge: small pivots
    /// are no noise.
    ///
    /// # Errors
    /// [`Error::Data`] when it is not definite all the same.
    ///
    /// # Panics
    /// As [`Cholesky::new`].
    pub fn definite(s: MatRef<'_, f64>, what: &str) -> Result<Self> {
        Self::above(0.0, s, what)
    }

    fn above(share: f64, s: MatRef<'_, f64>, what: &str) -> Result<Self> {
        assert_eq!(s.nrows(), s.ncols(), "a symmetric matrix is square");
        let n = s.nrows();
        let mut factor = Mat::from_fn(n, n, |i, j| if i >= j { s[(i, j)] } else { 0.0 });
        let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(n, Par::Seq, Spec::default()));
        let stack = MemStack::new(&mut memory);
        let found = cholesky_in_place(factor.as_mut(), LltRegularization::default(), Par::Seq, stack, Spec::default());
        let largest = (0..n).map(|i| s[(i, i)]).fold(0.0, f64::max);
        let least = (0..n).map(|i| factor[(i, i)] * factor[(i, i)]).fold(f64::INFINITY, f64::min);
        if found.is_err() || (n > 0 && (least.is_nan() || least <= share * largest)) {
            return Err(Error::Data(format!(
                "{what} is singular: some columns are sums of others; give a ridge above 0"
            )));
        }
        for column in 1..n {
            factor.col_mut(column).subrows_mut(0, column).fill(0.0);
        }
        Ok(Self { factor })
    }

    /// `factor^-1 b`: with it a covariance s becomes the identity, factor^-1 s factor^-T = I.
    #[must_use]
    pub fn whiten(&self, b: MatRef<'_, f64>) -> Mat<f64> {
        let mut out = b.to_owned();
        solve_lower_triangular_in_place(self.factor.as_ref(), out.as_mut(), Par::Seq);
        out
    }

    /// `factor^-T b`.
    #[must_use]
    pub fn back(&self, b: MatRef<'_, f64>) -> Mat<f64> {
        let mut out = b.to_owned();
        solve_upper_triangular_in_place(self.factor.transpose(), out.as_mut(), Par::Seq);
        out
    }

    /// `s^-1 b`.
    #[must_use]
    pub fn solve(&self, b: MatRef<'_, f64>) -> Mat<f64> {
        self.back(self.whiten(b).as_ref())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linalg::product::product;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn whitened_covariance_is_the_identity_and_solutions_solve(
            n in 1usize..9, values in proptest::collection::vec(-3.0f64..3.0, 64),
        ) {
            let x = Mat::from_fn(n, n, |i, j| values[i * 8 + j]);
            let gram = product(x.transpose(), x.as_ref());
            let s = Mat::from_fn(n, n, |i, j| gram[(i, j)] + if i == j { 0.1 } else { 0.0 });
            let cholesky = Cholesky::new(s.as_ref(), "s").unwrap();
            let once = cholesky.whiten(s.as_ref());
            let twice = cholesky.whiten(once.transpose());
            let solved = product(s.as_ref(), cholesky.solve(x.as_ref()).as_ref());
            for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let identity = if i == j { 1.0 } else { 0.0 };
                prop_assert!((twice[(i, j)] - identity).abs() < 1e-9);
                prop_assert!((solved[(i, j)] - x[(i, j)]).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_singular_matrix_is_refused_in_a_sentence() {
        let sentence = "the covariance of the text features is singular: some columns are sums of others; give a \
                        ridge above 0";
        for values in [[[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]] {
            let s = Mat::from_fn(2, 2, |i, j| values[i][j]);
            let error = Cholesky::new(s.as_ref(), "the covariance of the text features").unwrap_err();
            assert_eq!(error.to_string(), sentence);
        }
    }
}
