//! The objective of DCCA and its gradient, in f64 (Andrew et al. 2013; spec C.7).

use candle_core::{DType, Device, Tensor};
use faer::Mat;

use crate::{
    error::Result,
    linalg::{
        components::scale_columns,
        decompose::{symmetric_eigen, thin_svd},
        product::{product, rows},
    },
};

/// Total correlation of two sets of outputs, and how it changes with each of them.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// Sum of the singular values of T.
    pub total: f64,
    /// Gradient by the image outputs: n x columns.
    pub image: Mat<f64>,
    /// Gradient by the text outputs: n x columns.
    pub text: Mat<f64>,
}

/// Total correlation of outputs H1 and H2 (n x columns each), `ridge` on the diagonals of both covariances.
///
/// # Errors
/// [`crate::error::Error::Data`] when a value is not finite or a decomposition does not converge.
#[allow(clippy::cast_precision_loss, clippy::similar_names)] // rows of a batch; m11, m12, m22 of the spec
pub fn correlation(image: &Mat<f64>, text: &Mat<f64>, ridge: f64) -> Result<Correlation> {
    let degrees = image.nrows() as f64 - 1.0;
    let ((h1, _), (h2, _)) = (centred(image), centred(text));
    let covariance = |a: &Mat<f64>, b: &Mat<f64>| product(a.transpose(), b.as_ref()) / faer::Scale(degrees);
    let raised = |a: &Mat<f64>| {
        let plain = covariance(a, a);
        Mat::from_fn(plain.nrows(), plain.ncols(), |i, j| plain[(i, j)] + if i == j { ridge } else { 0.0 })
    };
    let root1 = inverse_root(&raised(&h1), ridge, "the covariance of the image outputs")?;
    let root2 = inverse_root(&raised(&h2), ridge, "the covariance of the text outputs")?;
    let t = product(product(root1.as_ref(), covariance(&h1, &h2).as_ref()).as_ref(), root2.as_ref());
    let svd = thin_svd(t.as_ref(), "the whitened cross-covariance of the outputs")?;
    let (u, v) = (product(root1.as_ref(), svd.left.as_ref()), product(root2.as_ref(), svd.right.as_ref()));
    // u = S11^(-1/2) U and v = S22^(-1/2) V hold all three matrices of the gradient.
    let m12 = product(u.as_ref(), v.transpose());
    let half = |side: &Mat<f64>| {
        product(scale_columns(side.as_ref(), &svd.values).as_ref(), side.transpose()) * faer::Scale(-0.5)
    };
    let (m11, m22) = (half(&u), half(&v));
    let gradient = |own: &Mat<f64>, within: &Mat<f64>, other: &Mat<f64>, between: faer::MatRef<'_, f64>| {
        let both = product(own.as_ref(), within.as_ref()) * faer::Scale(2.0) + product(other.as_ref(), between);
        both / faer::Scale(degrees)
    };
    Ok(Correlation {
        total: svd.values.iter().sum(),
        image: gradient(&h1, &m11, &h2, m12.transpose()),
        text: gradient(&h2, &m22, &h1, m12.as_ref()),
    })
}

/// `a^(-1/2)` of a symmetric matrix whose eigenvalues are at least `floor` but for rounding.
fn inverse_root(a: &Mat<f64>, floor: f64, what: &str) -> Result<Mat<f64>> {
    let eigen = symmetric_eigen(a.as_ref(), what)?;
    let scales: Vec<f64> = eigen.values.iter().map(|value| 1.0 / value.max(floor).sqrt()).collect();
    Ok(product(scale_columns(eigen.vectors.as_ref(), &scales).as_ref(), eigen.vectors.transpose()))
}

/// The matrix with its column means taken off, and the means.
#[must_use]
#[allow(clippy::cast_precision_loss)] // rows
pub fn centred(matrix: &Mat<f64>) -> (Mat<f64>, Vec<f64>) {
    let means: Vec<f64> = matrix.col_iter().map(|column| column.iter().sum::<f64>() / matrix.nrows() as f64).collect();
    (Mat::from_fn(matrix.nrows(), matrix.ncols(), |i, j| matrix[(i, j)] - means[j]), means)
}

/// A tensor `[n, columns]` as a matrix in f64.
///
/// # Errors
/// When it cannot be read back from its device.
pub fn columns_of(tensor: &Tensor) -> Result<Mat<f64>> {
    let (n, columns) = tensor.dims2()?;
    let values: Vec<f64> = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    Ok(Mat::from_fn(n, columns, |i, j| values[i * columns + j]))
}

/// A matrix as a tensor of the type and on the device of `like`.
///
/// # Errors
/// When the device has no room.
pub fn tensor_of(matrix: &Mat<f64>, like: &Tensor) -> Result<Tensor> {
    let tensor = Tensor::from_vec(rows(matrix.as_ref()), matrix.shape(), &Device::Cpu)?;
    Ok(tensor.to_dtype(like.dtype())?.to_device(like.device())?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(n: usize, columns: usize, values: &[f64]) -> Mat<f64> {
        Mat::from_fn(n, columns, |i, j| values[i * 4 + j])
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn the_gradient_is_that_of_finite_differences(
            values in proptest::collection::vec(-1.0f64..1.0, 64), ridge in 1e-3f64..1.0,
            (row, column) in (0usize..8, 0usize..3),
        ) {
            let (image, text) = (matrix(8, 3, &values), matrix(8, 2, &values[32..]));
            let found = correlation(&image, &text, ridge).unwrap();
            let step = 1e-5;
            let moved = |by: f64, of_image: bool| {
                let (mut image, mut text) = (image.clone(), text.clone());
                if of_image { image[(row, column)] += by } else { text[(row, column.min(1))] += by }
                correlation(&image, &text, ridge).unwrap().total
            };
            for of_image in [true, false] {
                let numeric = (moved(step, of_image) - moved(-step, of_image)) / (2.0 * step);
                let exact = if of_image { found.image[(row, column)] } else { found.text[(row, column.min(1))] };
                prop_assert!((numeric - exact).abs() < 1e-6 * (1.0 + exact.abs()), "{numeric} {exact}");
            }
        }

        #[test]
        fn it_is_the_sum_of_canonical_correlations_and_no_more_than_the_columns(
            values in proptest::collection::vec(-1.0f64..1.0, 64), ridge in 1e-3f64..1.0,
        ) {
            use crate::methods::cca::Shared;
            let (image, text) = (matrix(8, 3, &values), matrix(8, 2, &values[32..]));
            let found = correlation(&image, &text, ridge).unwrap().total;
            let linear = Shared::primal(&centred(&image).0, &centred(&text).0).solve(ridge).unwrap();
            prop_assert!((found - linear.correlations.iter().sum::<f64>()).abs() < 1e-9);
            prop_assert!(found <= 2.0 + 1e-12);
        }
    }

    #[test]
    fn tensors_and_matrices_are_the_same_rows() {
        let like = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).unwrap();
        let m = Mat::from_fn(2, 3, |i, j| [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]][i][j]);
        let tensor = tensor_of(&m, &like).unwrap();
        assert_eq!(tensor.to_vec2::<f32>().unwrap(), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]]);
        assert_eq!(columns_of(&tensor).unwrap(), m);
        let (centre, means) = centred(&m);
        assert_eq!((means, centre[(0, 2)]), (vec![2.5, 3.5, 4.75], -1.75));
    }
}
