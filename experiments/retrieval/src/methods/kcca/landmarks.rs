//! The Nystrom form for many training pairs: a feature map by landmarks, then linear CCA (spec C.3).

use faer::{Mat, MatRef};

use super::kernel::Kernel;
use crate::{
    error::Result,
    linalg::{
        components::scale_columns,
        decompose::{Eigen, symmetric_eigen},
        product::product,
    },
};

/// Eigenvalues of the landmarks' kernel below this are dropped (spec C.3).
const LEAST_EIGENVALUE: f64 = 1e-8;

/// Phi = `K_nm K_mm^(-1/2)`, centred.
pub(super) struct Map {
    /// K_mm^(-1/2) without a common rotation: m x rank.
    pub(super) root: Mat<f64>,
    /// Mean of each column of `K_nm`: m.
    pub(super) offset: Vec<f64>,
    /// The training rows, centred: n x rank.
    pub(super) features: Mat<f64>,
}

impl Map {
    pub(super) fn of(kernel: Kernel, x: MatRef<'_, f64>, points: MatRef<'_, f64>) -> Result<Self> {
        let Eigen { values, vectors } =
            symmetric_eigen(kernel.between(points, points).as_ref(), "the kernel of the landmarks")?;
        let rank = values.iter().take_while(|&&value| value > LEAST_EIGENVALUE).count();
        let scales: Vec<f64> = values[..rank].iter().map(|value| 1.0 / value.sqrt()).collect();
        let root = scale_columns(vectors.subcols(0, rank), &scales);
        let mut between = kernel.between(x, points);
        let offset = centre_columns(&mut between);
        let features = product(between.as_ref(), root.as_ref());
        Ok(Self { root, offset, features })
    }
}

/// Takes the mean off each column, and gives the means.
#[allow(clippy::cast_precision_loss)] // numbers of rows
pub(super) fn centre_columns(matrix: &mut Mat<f64>) -> Vec<f64> {
    let rows = matrix.nrows() as f64;
    let mut means = Vec::with_capacity(matrix.ncols());
    for mut column in matrix.col_iter_mut() {
        let mean = column.as_ref().iter().sum::<f64>() / rows;
        column.as_mut().iter_mut().for_each(|value| *value -= mean);
        means.push(mean);
    }
    means
}
