//! KCCA: one eigendecomposition of each centred kernel per bandwidth, then one SVD per penalty.
//!
//! Memory, counted from the code: the exact form holds about eight n x n matrices of f64 at a time, 0.3 GB for 2,173
//! training pairs and 1 GB for 4,000 (measured: a process of 0.4 GB for 1,376, features and all); the form with m
//! landmarks about six n x m ones, 3 GB for 32,000 pairs.

use std::collections::BTreeMap;

use experiment_spec::catalog::{MethodEntry, Parameters};
use faer::Mat;

use super::{
    entry::{LANDMARKS, LARGEST_EXACT, entry},
    kernel::{KERNELS, Kernel, Kind},
    landmarks::{Map, centre_columns},
    model::{Model, Side},
};
use crate::{
    error::{Error, Result},
    features::Rows,
    linalg::{
        components::{scale_columns, scale_rows, surviving},
        decompose::{Eigen, Svd, symmetric_eigen, thin_svd},
        product::product,
        standardise::Standardisation,
    },
    method::FitRecord,
    methods::cca::Shared,
    nn::stream::Stream,
    parameters::Reader,
    tuning::closed_form::{ClosedForm, Problem, Visit},
};

/// Correlations that are kept as facts of a fit.
const SHOWN: usize = 10;

/// The method.
#[derive(Clone, Copy, Debug)]
pub struct Kcca;

/// Features of one modality. What is standardised is made anew where it is read: beside the decompositions it would
/// be the largest matrix of all.
struct Features<'a> {
    standardisation: Standardisation,
    source: Rows<'a>,
}

impl<'a> Features<'a> {
    fn of(name: &str, source: Rows<'a>) -> Result<Self> {
        Ok(Self { standardisation: Standardisation::fit(name, source)?, source })
    }

    /// n x columns.
    fn rows(&self) -> Mat<f64> {
        self.standardisation.apply(self.source)
    }
}

/// What all penalties have in common, for one kernel of each modality.
#[allow(clippy::large_enum_variant)] // there is one at a time
enum Prepared {
    /// K = V diag(l) V' of both sides, and Vx'Vy.
    Exact { sides: [Decomposed; 2], cross: Mat<f64> },
    /// Feature maps of both sides, and their linear CCA.
    Landmarks { sides: [Mapped; 2], shared: Shared },
}

struct Decomposed {
    kernel: Kernel,
    offset: Vec<f64>,
    eigen: Eigen,
}

struct Mapped {
    kernel: Kernel,
    points: Mat<f64>,
    offset: Vec<f64>,
    root: Mat<f64>,
}

impl ClosedForm for Kcca {
    fn entry(&self) -> MethodEntry {
        entry()
    }

    fn solve(&self, problem: &Problem<'_>, settings: &[Parameters], visit: &mut Visit<'_>) -> Result<()> {
        let entry = entry();
        let sides = [Features::of("image", problem.train.image)?, Features::of("text", problem.train.text)?];
        let mut last: Option<((Kind, u64, usize), Result<Prepared>)> = None;
        for (index, setting) in settings.iter().enumerate() {
            let reader = Reader::new(&entry, setting)?;
            let (kind, factor) = (reader.choice("kernel", &KERNELS), reader.float("bandwidth-factor"));
            let landmarks = landmarks(reader.size("landmarks"), problem.train.rows());
            let key = (kind, factor.to_bits(), landmarks);
            if last.as_ref().is_none_or(|(of, _)| *of != key) {
                drop(last.take()); // frees the kernels before the next ones are made
                last = Some((key, prepare(&sides, kind, factor, landmarks, problem.seed)));
            }
            let found = match &last {
                Some((_, Ok(prepared))) => prepared.solve(&sides, reader.float("kappa"), problem.most_dims),
                Some((_, Err(why))) => Err(Error::Data(why.to_string())),
                None => continue,
            };
            visit(index, found.map(|model| Box::new(model) as _))?;
        }
        Ok(())
    }
}

/// Landmarks to use for n training pairs; 0 for the exact form.
fn landmarks(asked: usize, n: usize) -> usize {
    match asked {
        0 if n <= LARGEST_EXACT => 0,
        0 => LANDMARKS,
        asked if asked >= n => 0,
        asked => asked,
    }
}

fn prepare(sides: &[Features<'_>; 2], kind: Kind, factor: f64, landmarks: usize, seed: u64) -> Result<Prepared> {
    let names = ["image", "text"];
    if landmarks == 0 {
        let decomposed = |at: usize| -> Result<Decomposed> {
            let rows = sides[at].rows();
            let kernel = Kernel::fit(kind, factor, rows.as_ref(), names[at])?;
            let mut centred = kernel.between(rows.as_ref(), rows.as_ref());
            drop(rows);
            let offset = centre_columns(&mut centred);
            centred = centred.transpose().to_owned();
            centre_columns(&mut centred);
            let mut eigen = symmetric_eigen(centred.as_ref(), &format!("the kernel of the {} features", names[at]))?;
            let rank = surviving(&eigen.values);
            eigen.vectors.truncate(eigen.vectors.nrows(), rank);
            eigen.values.truncate(rank);
            Ok(Decomposed { kernel, offset, eigen })
        };
        let sides = [decomposed(0)?, decomposed(1)?];
        let cross = product(sides[0].eigen.vectors.transpose(), sides[1].eigen.vectors.as_ref());
        return Ok(Prepared::Exact { sides, cross });
    }
    let order = Stream::new(seed, "kcca landmarks", 0).permutation(sides[0].source.rows());
    let mapped = |at: usize| -> Result<(Mapped, Mat<f64>)> {
        let x = sides[at].rows();
        let points = Mat::from_fn(landmarks, x.ncols(), |i, j| x[(order[i], j)]);
        let kernel = Kernel::fit(kind, factor, points.as_ref(), names[at])?;
        let Map { root, offset, features } = Map::of(kernel, x.as_ref(), points.as_ref())?;
        Ok((Mapped { kernel, points, offset, root }, features))
    };
    let ((image, x), (text, y)) = (mapped(0)?, mapped(1)?);
    Ok(Prepared::Landmarks { shared: Shared::of(&x, &y)?, sides: [image, text] })
}

impl Prepared {
    /// The solution for the penalty k = kappa n.
    #[allow(clippy::cast_precision_loss)] // numbers of rows
    fn solve(&self, features: &[Features<'_>; 2], kappa: f64, most_dims: usize) -> Result<Model> {
        let n = features[0].source.rows() as f64;
        let penalty = kappa * n;
        let mut record = FitRecord::default();
        let (coefficients, correlations) = match self {
            Self::Exact { sides, cross } => exact(sides, cross, penalty, most_dims)?,
            Self::Landmarks { sides, shared } => {
                record
                    .notes
                    .push(format!("kernels are approximated by {} landmarks (Nystrom)", sides[0].points.nrows()));
                let found = shared.solve(penalty / (n - 1.0))?;
                let kept = found.correlations.len().min(most_dims);
                let back = |side: &Mapped, map: &Mat<f64>| product(side.root.as_ref(), map.subcols(0, kept));
                let maps = [back(&sides[0], &found.image), back(&sides[1], &found.text)];
                (maps, found.correlations[..kept].to_vec())
            }
        };
        let facts = (1..).zip(&correlations).take(SHOWN);
        record.facts =
            facts.map(|(n, value)| (format!("canonical-correlation-{n}"), *value)).collect::<BTreeMap<_, _>>();
        let [image, text] = coefficients;
        let side = |at: usize, coefficients: Mat<f64>| {
            let standardisation = features[at].standardisation.clone();
            let (kernel, points, offset) = match self {
                Self::Exact { sides, .. } => (sides[at].kernel, features[at].rows(), sides[at].offset.clone()),
                Self::Landmarks { sides, .. } => (sides[at].kernel, sides[at].points.clone(), sides[at].offset.clone()),
            };
            Side { standardisation, kernel, points, offset, coefficients }
        };
        Ok(Model::new(side(0, image), side(1, text), correlations, record))
    }
}

/// H alpha, H beta and the correlations: with P = K (K + kI)^-1 = V diag(l / (l + k)) V', the SVD of Px Py is that of
/// the small matrix between the V's, and alpha = (Kx + kI)^-1 U.
fn exact(
    sides: &[Decomposed; 2],
    cross: &Mat<f64>,
    penalty: f64,
    most_dims: usize,
) -> Result<([Mat<f64>; 2], Vec<f64>)> {
    let shrunk = |side: &Decomposed| -> Vec<f64> { side.eigen.values.iter().map(|l| l / (l + penalty)).collect() };
    let middle = scale_columns(scale_rows(cross.as_ref(), &shrunk(&sides[0])).as_ref(), &shrunk(&sides[1]));
    let Svd { left, values, right } = thin_svd(middle.as_ref(), "the product of the two kernels")?;
    let kept = surviving(&values).min(most_dims);
    let back = |side: &Decomposed, vectors: &Mat<f64>| {
        let inverse: Vec<f64> = side.eigen.values.iter().map(|l| 1.0 / (l + penalty)).collect();
        let scaled = scale_rows(vectors.subcols(0, kept), &inverse);
        let mut coefficients = product(side.eigen.vectors.as_ref(), scaled.as_ref());
        // Centring of a test row over its own mean, moved to the other factor.
        centre_columns(&mut coefficients);
        coefficients
    };
    Ok(([back(&sides[0], &left), back(&sides[1], &right)], values[..kept].to_vec()))
}
