//! CCA: regularised canonical correlation analysis (spec C.1).

use std::collections::BTreeMap;

use experiment_spec::catalog::{MethodEntry, Parameters};
use faer::{Mat, MatRef};

use super::projection::Projection;
use crate::{
    error::{Error, Result},
    linalg::{
        cholesky::Cholesky,
        components::{scale_columns, scale_rows, surviving},
        decompose::{Svd, svd_above_noise, thin_svd},
        product::product,
        standardise::Standardisation,
    },
    method::FitRecord,
    parameters::{Reader, count, flag, float, floats, integers, tuned},
    tuning::closed_form::{ClosedForm, Problem, Visit},
};

/// Correlations that are kept as facts of a fit.
const SHOWN: usize = 10;

/// The method.
#[derive(Clone, Copy, Debug)]
pub struct Cca;

impl ClosedForm for Cca {
    fn entry(&self) -> MethodEntry {
        let ridge = float("ridge", (0.0, 1e6), 1e-4, "r, added to the diagonals of both covariances (inferred).");
        let dims = count("dims", (1, 4096), 10, "Components kept (inferred).");
        MethodEntry {
            key: "cca".into(),
            label: "CCA".into(),
            revision: 3,
            objective: "max over a, b of a'Sxy b subject to a'(Sx + rI)a = b'(Sy + rI)b = 1, each next pair \
                        uncorrelated with those before"
                .into(),
            reference: "Hotelling: Relations between two sets of variates. Biometrika 28(3/4), 1936".into(),
            parameters: vec![
                tuned(ridge, floats([1e-4, 1e-2, 1e-1, 1.0, 10.0])),
                tuned(dims, integers([10, 20, 50, 100, 200, 300])),
                flag("scale-by-correlation", false, "Weight each component by its canonical correlation."),
            ],
            presets: vec![],
            departures: vec![
                "ridge and components are chosen on validation pairs: the authors' settings are not recorded".into(),
            ],
        }
    }

    fn solve(&self, problem: &Problem<'_>, settings: &[Parameters], visit: &mut Visit<'_>) -> Result<()> {
        let entry = self.entry();
        let image = Standardisation::fit("image", problem.train.image)?;
        let text = Standardisation::fit("text", problem.train.text)?;
        let (x, y) = (image.apply(problem.train.image), text.apply(problem.train.text));
        let shared = Shared::of(&x, &y)?;
        for (index, setting) in settings.iter().enumerate() {
            let reader = Reader::new(&entry, setting)?;
            let scale = reader.flag("scale-by-correlation");
            let found = shared.solve(reader.float("ridge"));
            visit(
                index,
                found.map(|found| {
                    let mut notes = Vec::new();
                    let (components, most) = (found.correlations.len(), x.ncols().min(y.ncols()).min(x.nrows() - 1));
                    if components < most {
                        notes.push(format!(
                            "{components} of {most} components carry correlation: the features are of lower rank"
                        ));
                    }
                    let facts = (1..).zip(&found.correlations).take(SHOWN);
                    let facts: BTreeMap<String, f64> =
                        facts.map(|(n, value)| (format!("canonical-correlation-{n}"), *value)).collect();
                    let kept = components.min(problem.most_dims);
                    let found = found.first(kept, scale);
                    let record = FitRecord { tuning: None, notes, facts };
                    Box::new(
                        Projection::new((image.clone(), found.image), (text.clone(), found.text), record)
                            .with_worth("correlations", found.correlations),
                    ) as _
                }),
            )?;
        }
        Ok(())
    }
}

/// Maps of both sides and the correlation of each component, falling.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// A: image columns x components.
    pub image: Mat<f64>,
    /// B: text columns x components.
    pub text: Mat<f64>,
    /// Correlations on the training pairs, with the ridge in the denominators.
    pub correlations: Vec<f64>,
}

impl Canonical {
    /// The first components, each weighted by its correlation where that is asked for.
    fn first(self, kept: usize, scale: bool) -> Self {
        let correlations = self.correlations[..kept].to_vec();
        let cut = |map: &Mat<f64>| {
            let map = map.subcols(0, kept);
            if scale { scale_columns(map, &correlations) } else { map.to_owned() }
        };
        Self { image: cut(&self.image), text: cut(&self.text), correlations: correlations.clone() }
    }
}

/// What the solutions for all ridges have in common.
#[derive(Clone, Debug)]
pub enum Shared {
    /// With at least as many pairs as columns on each side: covariances, factored anew for each ridge.
    Primal {
        /// Covariance of each side, and between them.
        image: Mat<f64>,
        text: Mat<f64>,
        cross: Mat<f64>,
    },
    /// With fewer: thin SVDs X = Ux Dx Vx', Y = Uy Dy Vy' without what is rounding noise, and Ux'Uy.
    Dual {
        /// Values and right vectors of each side.
        image: (Vec<f64>, Mat<f64>),
        text: (Vec<f64>, Mat<f64>),
        cross: Mat<f64>,
        /// n - 1.
        degrees: f64,
    },
}

impl Shared {
    /// The form that is cheaper for the shapes of centred X (n x d1) and Y (n x d2).
    ///
    /// # Errors
    /// [`Error::Data`] when a decomposition fails.
    pub fn of(x: &Mat<f64>, y: &Mat<f64>) -> Result<Self> {
        if x.nrows() >= x.ncols().max(y.ncols()) { Ok(Self::primal(x, y)) } else { Self::dual(x, y) }
    }

    /// The primal form, whatever the shape.
    #[must_use]
    pub fn primal(x: &Mat<f64>, y: &Mat<f64>) -> Self {
        let degrees = degrees(x.as_ref());
        let covariance = |a: &Mat<f64>, b: &Mat<f64>| product(a.transpose(), b.as_ref()) / faer::Scale(degrees);
        Self::Primal { image: covariance(x, x), text: covariance(y, y), cross: covariance(x, y) }
    }

    /// The dual form, whatever the shape.
    ///
    /// # Errors
    /// As [`Shared::of`].
    pub fn dual(x: &Mat<f64>, y: &Mat<f64>) -> Result<Self> {
        let image = svd_above_noise(x.as_ref(), "the image features")?;
        let text = svd_above_noise(y.as_ref(), "the text features")?;
        let cross = product(image.left.transpose(), text.left.as_ref());
        let degrees = degrees(x.as_ref());
        Ok(Self::Dual { image: (image.values, image.right), text: (text.values, text.right), cross, degrees })
    }

    /// The solution for one ridge.
    ///
    /// # Errors
    /// [`Error::Data`] when a covariance without ridge is singular (primal form), or the decomposition
    /// fails.
    pub fn solve(&self, ridge: f64) -> Result<Canonical> {
        match self {
            Self::Primal { image, text, cross } => {
                let factor = |covariance: &Mat<f64>, what: &str| {
                    let n = covariance.nrows();
                    let raised = Mat::from_fn(n, n, |i, j| covariance[(i, j)] + if i == j { ridge } else { 0.0 });
                    // With a ridge the matrix is definite however small its smallest pivot is.
                    if ridge > 0.0 {
                        Cholesky::definite(raised.as_ref(), what)
                    } else {
                        Cholesky::new(raised.as_ref(), what)
                    }
                };
                let image = factor(image, "the covariance of the image features")?;
                let text = factor(text, "the covariance of the text features")?;
                let half = image.whiten(cross.as_ref());
                let whitened = text.whiten(half.transpose());
                let found = correlated(whitened.transpose())?;
                Ok(Canonical {
                    image: image.back(found.left.as_ref()),
                    text: text.back(found.right.as_ref()),
                    correlations: found.values,
                })
            }
            Self::Dual { image, text, cross, degrees } => {
                let weights = |values: &[f64]| -> Vec<f64> {
                    values.iter().map(|value| value / (value * value + degrees * ridge).sqrt()).collect()
                };
                let weighted = scale_rows(cross.as_ref(), &weights(&image.0));
                let found = correlated(scale_columns(weighted.as_ref(), &weights(&text.0)).as_ref())?;
                let back = |(values, right): &(Vec<f64>, Mat<f64>), vectors: &Mat<f64>| {
                    let scales: Vec<f64> =
                        values.iter().map(|value| 1.0 / (value * value / degrees + ridge).sqrt()).collect();
                    product(right.as_ref(), scale_rows(vectors.as_ref(), &scales).as_ref())
                };
                Ok(Canonical {
                    image: back(image, &found.left),
                    text: back(text, &found.right),
                    correlations: found.values,
                })
            }
        }
    }
}

/// SVD of the whitened cross-covariance without components whose correlation is rounding noise.
fn correlated(whitened: MatRef<'_, f64>) -> Result<Svd> {
    let found = thin_svd(whitened, "the whitened cross-covariance")?;
    // A correlation is at most 1, so noise is measured against 1 where all of them are noise.
    let kept =
        if found.values.first().is_some_and(|&largest| largest > f64::EPSILON) { surviving(&found.values) } else { 0 };
    if kept == 0 {
        return Err(Error::Data("images and texts are not correlated: all features are constant".into()));
    }
    let first = |vectors: &Mat<f64>| vectors.subcols(0, kept).to_owned();
    Ok(Svd { left: first(&found.left), right: first(&found.right), values: found.values[..kept].to_vec() })
}

#[allow(clippy::cast_precision_loss)] // numbers of rows
fn degrees(x: MatRef<'_, f64>) -> f64 {
    x.nrows() as f64 - 1.0
}
