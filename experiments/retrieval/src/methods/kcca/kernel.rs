//! Kernels and the median distance.

use faer::{Mat, MatRef};

use crate::{
    error::{Error, Result},
    linalg::product::product,
};

/// What a pair of rows is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// exp(-||a - b||^2 / (2 s^2)).
    Gaussian,
    /// a'b.
    Linear,
}

/// Names of the kernels.
pub const KERNELS: [(&str, Kind); 2] = [("gaussian", Kind::Gaussian), ("linear", Kind::Linear)];

/// A kernel with its bandwidth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernel {
    /// Of bandwidth s.
    Gaussian(f64),
    /// Without parameter.
    Linear,
}

impl Kernel {
    /// The kernel for training rows `x`: s is `factor` times the median distance of two of them.
    ///
    /// # Errors
    /// [`Error::Data`] when more than half of the rows of `side` are the same.
    pub fn fit(kind: Kind, factor: f64, x: MatRef<'_, f64>, side: &str) -> Result<Self> {
        if kind == Kind::Linear {
            return Ok(Self::Linear);
        }
        let median = median_distance(x);
        if median > 0.0 {
            return Ok(Self::Gaussian(factor * median));
        }
        Err(Error::Data(format!(
            "the median distance of the {side} features is 0: most of them are the same; use the linear kernel"
        )))
    }

    /// Kernel of every row of `a` (m x d) with every row of `b` (n x d): m x n.
    #[must_use]
    pub fn between(self, a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
        match self {
            Self::Linear => product(a, b.transpose()),
            Self::Gaussian(bandwidth) => {
                let mut kernel = squared_distances(a, b);
                let scale = -0.5 / (bandwidth * bandwidth);
                for column in kernel.col_iter_mut() {
                    column.iter_mut().for_each(|value| *value = libm::exp(*value * scale));
                }
                kernel
            }
        }
    }
}

/// Squared distances of the rows of `a` to those of `b`, never below 0.
fn squared_distances(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let norms = |m: MatRef<'_, f64>| -> Vec<f64> {
        m.row_iter().map(|row| row.iter().map(|value| value * value).sum()).collect()
    };
    let (left, right) = (norms(a), norms(b));
    let mut out = product(a, b.transpose());
    for (column, right) in out.col_iter_mut().zip(right) {
        column.iter_mut().zip(&left).for_each(|(value, left)| *value = (left + right - 2.0 * *value).max(0.0));
    }
    out
}

/// Median distance over the n(n-1)/2 pairs of distinct rows; the mean of the two in the middle of an even number.
fn median_distance(x: MatRef<'_, f64>) -> f64 {
    let squared = squared_distances(x, x);
    let mut pairs: Vec<f64> =
        (1..x.nrows()).flat_map(|j| (0..j).map(|i| squared[(i, j)]).collect::<Vec<_>>()).collect();
    if pairs.is_empty() {
        return 0.0;
    }
    let (half, even) = (pairs.len() / 2, pairs.len().is_multiple_of(2));
    let (below, middle, _) = pairs.select_nth_unstable_by(half, f64::total_cmp);
    let upper = middle.sqrt();
    if even { f64::midpoint(below.iter().copied().fold(0.0, f64::max).sqrt(), upper) } else { upper }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_and_kernels_by_hand() {
        let x = Mat::from_fn(3, 1, |i, _| [0.0, 1.0, 4.0][i]); // distances 1, 4, 3
        assert!((median_distance(x.as_ref()) - 3.0).abs() < 1e-12);
        let x = Mat::from_fn(4, 1, |i, _| [0.0, 1.0, 3.0, 7.0][i]); // 1, 2, 3, 4, 6, 7
        assert!((median_distance(x.as_ref()) - 3.5).abs() < 1e-12);
        let kernel = Kernel::fit(Kind::Gaussian, 2.0, x.as_ref(), "image").unwrap();
        assert_eq!(kernel, Kernel::Gaussian(7.0));
        let between = kernel.between(x.as_ref(), x.subrows(3, 1));
        assert!((between[(0, 0)] - (-0.5f64).exp()).abs() < 1e-15 && (between[(3, 0)] - 1.0).abs() < 1e-15);
        let linear = Kernel::Linear.between(x.as_ref(), x.subrows(2, 1))[(3, 0)];
        assert!((linear - 21.0).abs() < 1e-12, "{linear}");
        let same = Mat::<f64>::zeros(3, 1);
        let error = Kernel::fit(Kind::Gaussian, 1.0, same.as_ref(), "text").unwrap_err().to_string();
        assert!(error.starts_with("the median distance of the text features is 0"), "{error}");
    }
}
