//! Components: how many survive, in which order, with which sign.

use faer::{Mat, MatRef};

/// Singular values and eigenvalues below this share of the largest are rounding noise (spec C.1).
pub const NOISE: f64 = 1e-10;

/// How many of the falling `values` are above [`NOISE`] of the first.
#[must_use]
pub fn surviving(values: &[f64]) -> usize {
    let largest = values.first().copied().unwrap_or(0.0);
    values.iter().take_while(|&&value| value > NOISE * largest).count()
}

/// `a diag(factors)`.
///
/// # Panics
/// If there are fewer factors than columns: a broken invariant of the caller. So does [`scale_rows`] with rows.
#[must_use]
pub fn scale_columns(a: MatRef<'_, f64>, factors: &[f64]) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] * factors[j])
}

/// `diag(factors) a`.
#[must_use]
pub fn scale_rows(a: MatRef<'_, f64>, factors: &[f64]) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] * factors[i])
}

/// Turns each pair of columns so that the entry of largest magnitude of the image projection, the first of equals, is
/// positive (spec C.0): singular vectors are only known up to the sign of the pair.
///
/// # Panics
/// If the two have different numbers of columns: a broken invariant of the caller.
pub fn fix_signs(image: &mut Mat<f64>, text: &mut Mat<f64>) {
    assert_eq!(image.ncols(), text.ncols(), "components of the two sides");
    for column in 0..image.ncols() {
        let largest = image
            .col(column)
            .iter()
            .fold(0.0f64, |largest, &value| if value.abs() > largest.abs() { value } else { largest });
        if largest < 0.0 {
            image.col_mut(column).iter_mut().for_each(|value| *value = -*value);
            text.col_mut(column).iter_mut().for_each(|value| *value = -*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::product::rows;

    #[test]
    fn noise_is_dropped_signs_are_fixed_and_scaling_is_by_side() {
        assert_eq!(surviving(&[2.0, 1.0, 2.1e-10, 1.9e-10, 0.0]), 3);
        assert_eq!((surviving(&[]), surviving(&[0.0, 0.0])), (0, 0));
        let mut image = Mat::from_fn(2, 2, |i, j| [[1.0, -3.0], [-2.0, 3.0]][i][j]);
        let mut text = Mat::from_fn(1, 2, |_, j| [5.0, 6.0][j]);
        fix_signs(&mut image, &mut text);
        assert_eq!((rows(image.as_ref()), rows(text.as_ref())), (vec![-1.0, 3.0, 2.0, -3.0], vec![-5.0, -6.0]));
        assert_eq!(rows(scale_columns(image.as_ref(), &[2.0, 1.0]).as_ref()), [-2.0, 3.0, 4.0, -3.0]);
        assert_eq!(rows(scale_rows(image.as_ref(), &[2.0, 1.0]).as_ref()), [-2.0, 6.0, 2.0, -3.0]);
    }
}
