//! JRL: joint representation learning with sparse and semi-supervised regularisation (spec C.4).

use std::collections::BTreeMap;

use experiment_spec::catalog::{MethodEntry, ParameterValue, Parameters};
use faer::{Mat, MatRef};

use super::{nearest_labels::NearestLabels, projection::Projection};
use crate::{
    error::Result,
    features::Rows,
    linalg::{cholesky::Cholesky, graph::Graph, product::product, standardise::Standardisation},
    method::FitRecord,
    nn::stream::Stream,
    parameters::{Reader, choice, count, flag, float},
    tuning::closed_form::{ClosedForm, Problem, Visit},
};

/// Row norms are taken as at least this.
const LEAST_NORM: f64 = 1e-8;
/// Every entry of both projections under `init: const`.
const CONSTANT: f64 = 0.5;

/// Rows whose labels are not learnt from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum UnlabelledRows {
    Validation,
    None,
    Test,
}

const UNLABELLED: [(&str, UnlabelledRows); 3] =
    [("validation", UnlabelledRows::Validation), ("none", UnlabelledRows::None), ("test", UnlabelledRows::Test)];
const INITS: [(&str, bool); 2] = [("uniform", false), ("const", true)];
const SIMILARITIES: [(&str, bool); 2] = [("cosine", false), ("knn-label", true)];

/// The method.
#[derive(Clone, Copy, Debug)]
pub struct Jrl;

impl ClosedForm for Jrl {
    fn entry(&self) -> MethodEntry {
        MethodEntry {
            key: "jrl".into(),
            label: "JRL".into(),
            revision: 1,
            objective: "min over Pi, Pt of mu (||X Pi - Y||^2 + ||T Pt - Y||^2) + lam ||X Pi - T Pt||^2 + sig (tr Pi' \
                        X^' Lx X^ Pi + tr Pt' T^' Lt T^ Pt) + gam (||Pi||_21 + ||Pt||_21)"
                .into(),
            reference: "Zhai, Peng, Xiao: Learning cross-media joint representation with sparse and semisupervised \
                        regularization. IEEE TCSVT 24(6), 2014"
                .into(),
            parameters: vec![
                float("gam", (0.0, 1e9), 1000.0, "Weight of the sparsity of rows (released code)."),
                float("sig", (0.0, 1e9), 1000.0, "Weight of smoothness over the neighbour graphs (released code)."),
                float("lam", (0.0, 1e9), 1.0, "Weight of the distance of paired items (released code)."),
                float("mu", (1e-9, 1e9), 1.0, "Weight of the regression to labels (released code)."),
                count("k", (1, 10_000), 100, "Neighbours of an item (released code)."),
                choice("unlabelled", &UNLABELLED, "Rows that the graphs hold beside the training rows; test is transductive, as the released code is."),
                choice("init", &INITS, "Both projections at the start: uniform in 0..1 (released code) or 0.5 throughout."),
                count("updates", (1, 1000), 5, "Most updates of both projections (released code)."),
                float("tolerance", (0.0, 1.0), 0.02, "Updates end when the objective falls by less than this share (released code); 0 is never."),
                flag("dense-quirk", false, "Subtract the similarities of all pairs of rows instead of the graph (released code, taken for a slip)."),
                choice("similarity", &SIMILARITIES, "Cosine of the projections (paper's protocol), or classes of nearest training items (released code)."),
            ],
            presets: vec![],
            departures: vec![
                "unlabelled rows are those of validation, where there are any: the released code takes the test rows"
                    .into(),
                "the last update counts; the released code gives back the projections before it".into(),
                "both projections start from streams of their own; in the released code one starts as a part of the other"
                    .into(),
            ],
        }
    }

    fn transductive(&self, parameters: &Parameters) -> bool {
        parameters.get("unlabelled") == Some(&ParameterValue::Text("test".into()))
    }

    fn solve(&self, problem: &Problem<'_>, settings: &[Parameters], visit: &mut Visit<'_>) -> Result<()> {
        let entry = self.entry();
        for (index, setting) in settings.iter().enumerate() {
            let reader = Reader::new(&entry, setting)?;
            let found = Fit::new(problem, reader).and_then(|fit| fit.run(problem, reader));
            visit(
                index,
                found.and_then(|projection| {
                    if reader.choice("similarity", &SIMILARITIES) {
                        return Ok(Box::new(NearestLabels::new(
                            projection,
                            problem.train,
                            problem.classes,
                            reader.size("k"),
                        )?) as _);
                    }
                    Ok(Box::new(projection) as _)
                }),
            )?;
        }
        Ok(())
    }
}

/// One modality: its inner matrix without the sparsity, and what ties it to the labels and the other one.
struct Side {
    standardisation: Standardisation,
    x: Mat<f64>,
    /// X'X.
    gram: Mat<f64>,
    /// X^' L X^.
    smoothness: Mat<f64>,
    /// X'Y.
    labels: Mat<f64>,
}

struct Fit {
    image: Side,
    text: Side,
    /// X'T.
    cross: Mat<f64>,
    /// One-hot labels: n x classes.
    targets: Mat<f64>,
    weights: Weights,
    notes: Vec<String>,
}

#[derive(Clone, Copy)]
struct Weights {
    gam: f64,
    sig: f64,
    lam: f64,
    mu: f64,
}

impl Fit {
    fn new(problem: &Problem<'_>, reader: Reader<'_>) -> Result<Self> {
        let labels = problem.train.labels;
        let targets = Mat::from_fn(labels.len(), problem.classes, |i, c| f64::from(u8::from(labels[i] as usize == c)));
        let mut notes = Vec::new();
        let unlabelled = match reader.choice("unlabelled", &UNLABELLED) {
            UnlabelledRows::None => None,
            UnlabelledRows::Test => problem.unlabelled.map(|rows| (rows.image, rows.text)),
            UnlabelledRows::Validation if problem.validation.rows() == 0 => {
                notes.push("no validation rows: the graphs hold the training rows alone".into());
                None
            }
            UnlabelledRows::Validation => Some((problem.validation.image, problem.validation.text)),
        };
        let (nearest, dense) = (reader.size("k"), reader.flag("dense-quirk"));
        let side = |name: &str, rows: Rows<'_>, more: Option<Rows<'_>>| -> Result<Side> {
            let standardisation = Standardisation::fit(name, rows)?;
            let x = standardisation.apply(rows);
            let more = more.map(|more| stacked(x.as_ref(), standardisation.apply(more).as_ref()));
            let whole = more.as_ref().unwrap_or(&x).as_ref();
            let graph = Graph::of_nearest(whole, nearest);
            let smoothness = if dense { graph.dense_smoothness(whole) } else { graph.smoothness(whole) };
            let (gram, labels) = (product(x.transpose(), x.as_ref()), product(x.transpose(), targets.as_ref()));
            Ok(Side { standardisation, x, gram, smoothness, labels })
        };
        let image = side("image", problem.train.image, unlabelled.map(|(image, _)| image))?;
        let text = side("text", problem.train.text, unlabelled.map(|(_, text)| text))?;
        let cross = product(image.x.transpose(), text.x.as_ref());
        let weights = Weights {
            gam: reader.float("gam"),
            sig: reader.float("sig"),
            lam: reader.float("lam"),
            mu: reader.float("mu"),
        };
        Ok(Self { image, text, cross, targets, weights, notes })
    }

    /// Updates both projections from their old values, as the released code does.
    fn run(self, problem: &Problem<'_>, reader: Reader<'_>) -> Result<Projection> {
        let constant = reader.choice("init", &INITS);
        let start = |name: &str, rows: usize| {
            let mut stream = Stream::new(problem.seed, name, 0);
            Mat::from_fn(rows, problem.classes, |_, _| if constant { CONSTANT } else { stream.uniform() })
        };
        let mut maps = (start("jrl image", self.image.x.ncols()), start("jrl text", self.text.x.ncols()));
        let (most, tolerance) = (reader.size("updates"), reader.float("tolerance"));
        let mut objectives = vec![self.objective(&maps)];
        let mut converged = false;
        while objectives.len() <= most && !converged {
            let image = self.update(&self.image, &maps.0, &product(self.cross.as_ref(), maps.1.as_ref()))?;
            let text = self.update(&self.text, &maps.1, &product(self.cross.transpose(), maps.0.as_ref()))?;
            maps = (image, text);
            let (before, now) = (objectives[objectives.len() - 1], self.objective(&maps));
            objectives.push(now);
            converged = before - now < tolerance * before && tolerance > 0.0;
        }
        let updates = objectives.len() - 1;
        let mut notes = self.notes;
        if tolerance > 0.0 && !converged {
            notes.push(format!(
                "not converged: the objective still falls by {tolerance} or more after {updates} updates"
            ));
        }
        let mut facts: BTreeMap<String, f64> =
            objectives.iter().enumerate().map(|(n, value)| (format!("objective-{n:02}"), *value)).collect();
        #[allow(clippy::cast_precision_loss)] // at most 1,000
        facts.insert("updates".into(), updates as f64);
        let record = FitRecord { tuning: None, notes, facts };
        let sides = ((self.image.standardisation, maps.0), (self.text.standardisation, maps.1));
        Ok(Projection::as_found(sides.0, sides.1, record))
    }

    /// (gam D + sig X^'LX^ + (lam + mu) X'X)^-1 (lam X'T Pt + mu X'Y), D from the norms of the rows of `old`.
    fn update(&self, side: &Side, old: &Mat<f64>, paired: &Mat<f64>) -> Result<Mat<f64>> {
        let Weights { gam, sig, lam, mu } = self.weights;
        let rows = old.nrows();
        let s = Mat::from_fn(rows, rows, |i, j| {
            let sparsity = if i == j { gam / (2.0 * old.row(i).norm_l2().max(LEAST_NORM)) } else { 0.0 };
            sig * side.smoothness[(i, j)] + (lam + mu) * side.gram[(i, j)] + sparsity
        });
        let right = Mat::from_fn(rows, old.ncols(), |i, c| lam * paired[(i, c)] + mu * side.labels[(i, c)]);
        Ok(Cholesky::definite(s.as_ref(), "the inner matrix of JRL")?.solve(right.as_ref()))
    }

    fn objective(&self, maps: &(Mat<f64>, Mat<f64>)) -> f64 {
        let Weights { gam, sig, lam, mu } = self.weights;
        let (image, text) =
            (product(self.image.x.as_ref(), maps.0.as_ref()), product(self.text.x.as_ref(), maps.1.as_ref()));
        let regression = (&image - &self.targets).squared_norm_l2() + (&text - &self.targets).squared_norm_l2();
        let smoothness = |side: &Side, map: &Mat<f64>| inner(map, &product(side.smoothness.as_ref(), map.as_ref()));
        let sparsity = |map: &Mat<f64>| -> f64 { (0..map.nrows()).map(|row| map.row(row).norm_l2()).sum() };
        mu * regression
            + lam * (&image - &text).squared_norm_l2()
            + sig * (smoothness(&self.image, &maps.0) + smoothness(&self.text, &maps.1))
            + gam * (sparsity(&maps.0) + sparsity(&maps.1))
    }
}

/// Sum of the products of entries.
fn inner(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
    a.col_iter().zip(b.col_iter()).map(|(a, b)| a.iter().zip(b.iter()).map(|(a, b)| a * b).sum::<f64>()).sum()
}

/// The rows of `a`, then those of `b`.
fn stacked(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let first = a.nrows();
    Mat::from_fn(first + b.nrows(), a.ncols(), |i, j| if i < first { a[(i, j)] } else { b[(i - first, j)] })
}
