//! LGCFL: local group based consistent feature learning (spec C.5), in the simplified form that the spec states.

use std::{collections::BTreeMap, ops::Range};

use experiment_spec::catalog::{MethodEntry, Parameters};
use faer::Mat;

use super::projection::Projection;
use crate::{
    error::Result,
    features::Rows,
    linalg::{cholesky::Cholesky, components::scale_rows, product::product, standardise::Standardisation},
    method::FitRecord,
    parameters::{Reader, count, float, floats, tuned},
    tuning::closed_form::{ClosedForm, Problem, Visit},
};

/// Norms of groups are taken as at least this.
const LEAST_NORM: f64 = 1e-8;
/// Rounds end when the objective falls by less than this share.
const LEAST_FALL: f64 = 1e-4;
/// Banks of maps of the word CNN, by window size; other texts are cut into as many groups.
const TEXT_GROUPS: usize = 3;

/// The method.
#[derive(Clone, Copy, Debug)]
pub struct Lgcfl;

impl ClosedForm for Lgcfl {
    fn entry(&self) -> MethodEntry {
        let l1 = float("l1", (0.0, 1e6), 1.0, "Weight of the group norms (inferred).");
        let l2 = float("l2", (1e-12, 1e6), 1.0, "Weight of the squared norms (inferred).");
        MethodEntry {
            key: "lgcfl".into(),
            label: "LGCFL".into(),
            revision: 1,
            objective: "min over Wi, Wt of ||X Wi - Y||^2 + ||T Wt - Y||^2 + l1 sum over groups g of (||Wi[g]||_F + \
                        ||Wt[g]||_F) + l2 (||Wi||^2 + ||Wt||^2)"
                .into(),
            reference: "Kang, Xiang, Liao, Xu, Pan: Learning consistent feature representation for cross-modal \
                        multimedia retrieval. IEEE TMM 17(3), 2015"
                .into(),
            parameters: vec![
                tuned(l1, floats([0.1, 1.0, 10.0, 100.0])),
                tuned(l2, floats([1e-2, 1.0, 100.0])),
                count("image-group", (1, 4096), 64, "Columns of an image group (inferred)."),
                count("rounds", (1, 1000), 30, "Most rounds of reweighting (inferred)."),
            ],
            presets: vec![],
            departures: vec![
                "simplified: neither the authors' code nor the full text was at hand; the stated objective is solved by \
                 reweighting"
                    .into(),
                "image features have no spatial blocks here: groups are runs of columns, which is arbitrary".into(),
            ],
        }
    }

    fn solve(&self, problem: &Problem<'_>, settings: &[Parameters], visit: &mut Visit<'_>) -> Result<()> {
        let entry = self.entry();
        let targets = centred_targets(problem.train.labels, problem.classes);
        let image = Side::new("image", problem.train.image, &targets)?;
        let text = Side::new("text", problem.train.text, &targets)?;
        for (index, setting) in settings.iter().enumerate() {
            let reader = Reader::new(&entry, setting)?;
            let weights = (reader.float("l1"), reader.float("l2"));
            let dims = (image.x.ncols(), text.x.ncols());
            let groups = (runs(dims.0, reader.size("image-group")), parts(dims.1, TEXT_GROUPS));
            let found = fit((&image, &groups.0), (&text, &groups.1), &targets, weights, reader.size("rounds"));
            visit(
                index,
                found.map(|([image_map, text_map], record)| {
                    let sides = ((image.standardisation.clone(), image_map), (text.standardisation.clone(), text_map));
                    Box::new(Projection::as_found(sides.0, sides.1, record)) as _
                }),
            )?;
        }
        Ok(())
    }
}

/// One-hot labels with centred columns: n x classes.
#[must_use]
pub fn centred_targets(labels: &[u32], classes: usize) -> Mat<f64> {
    #[allow(clippy::cast_precision_loss)] // numbers of pairs
    let share =
        |class: usize| labels.iter().filter(|&&label| label as usize == class).count() as f64 / labels.len() as f64;
    let shares: Vec<f64> = (0..classes).map(share).collect();
    Mat::from_fn(labels.len(), classes, |i, c| f64::from(u8::from(labels[i] as usize == c)) - shares[c])
}

/// Runs of `size` columns; the last may be short.
fn runs(columns: usize, size: usize) -> Vec<Range<usize>> {
    (0..columns).step_by(size).map(|first| first..(first + size).min(columns)).collect()
}

/// `count` parts whose sizes differ by at most one, the larger first.
fn parts(columns: usize, count: usize) -> Vec<Range<usize>> {
    let mut first = 0;
    let size = |part: usize| columns / count + usize::from(part < columns % count);
    let mut next = |part| {
        let range = first..first + size(part);
        first = range.end;
        range
    };
    (0..count).map(&mut next).filter(|range| !range.is_empty()).collect()
}

/// What the solutions of one modality have in common.
struct Side {
    standardisation: Standardisation,
    /// Standardised features: n x d.
    x: Mat<f64>,
    /// X'X where there are at least as many pairs as columns; X X' is made anew for each weighting otherwise.
    gram: Option<Mat<f64>>,
    /// X'Y.
    cross: Mat<f64>,
}

impl Side {
    fn new(name: &str, features: Rows<'_>, targets: &Mat<f64>) -> Result<Self> {
        let standardisation = Standardisation::fit(name, features)?;
        let x = standardisation.apply(features);
        let gram = (x.nrows() >= x.ncols()).then(|| product(x.transpose(), x.as_ref()));
        let cross = product(x.transpose(), targets.as_ref());
        Ok(Self { standardisation, x, gram, cross })
    }

    /// (X'X + D)^-1 X'Y for a diagonal D; by (X'X + D)^-1 X'Y = D^-1 X' (X D^-1 X' + I)^-1 Y with fewer pairs than
    /// columns.
    fn solve(&self, diagonal: &[f64], targets: &Mat<f64>) -> Result<Mat<f64>> {
        let what = "the weighted covariance of features";
        if let Some(gram) = &self.gram {
            let size = gram.nrows();
            let s = Mat::from_fn(size, size, |i, j| gram[(i, j)] + if i == j { diagonal[i] } else { 0.0 });
            return Ok(Cholesky::definite(s.as_ref(), what)?.solve(self.cross.as_ref()));
        }
        let inverse: Vec<f64> = diagonal.iter().map(|value| 1.0 / value).collect();
        let scaled = scale_rows(self.x.transpose(), &inverse);
        let mut s = product(self.x.as_ref(), scaled.as_ref());
        for i in 0..s.nrows() {
            s[(i, i)] += 1.0;
        }
        Ok(product(scaled.as_ref(), Cholesky::definite(s.as_ref(), what)?.solve(targets.as_ref()).as_ref()))
    }

    fn objective(&self, map: &Mat<f64>, groups: &[Range<usize>], targets: &Mat<f64>, (l1, l2): (f64, f64)) -> f64 {
        let residual = product(self.x.as_ref(), map.as_ref()) - targets;
        let norms: f64 = groups.iter().map(|group| norm(map, group)).sum();
        residual.squared_norm_l2() + l1 * norms + l2 * map.squared_norm_l2()
    }
}

fn norm(map: &Mat<f64>, group: &Range<usize>) -> f64 {
    map.subrows(group.start, group.len()).norm_l2()
}

/// Both maps by reweighting from the ridge solution, and the objective after each round as facts.
fn fit(
    image: (&Side, &[Range<usize>]),
    text: (&Side, &[Range<usize>]),
    targets: &Mat<f64>,
    (l1, l2): (f64, f64),
    rounds: usize,
) -> Result<([Mat<f64>; 2], FitRecord)> {
    let sides = [image, text];
    let mut maps = Vec::with_capacity(2);
    for (side, _) in sides {
        maps.push(side.solve(&vec![l2; side.x.ncols()], targets)?);
    }
    let total = |maps: &[Mat<f64>]| -> f64 {
        sides.iter().zip(maps).map(|((side, groups), map)| side.objective(map, groups, targets, (l1, l2))).sum()
    };
    let mut objectives = vec![total(&maps)];
    let mut converged = false;
    while objectives.len() <= rounds && !converged {
        for ((side, groups), map) in sides.iter().zip(&mut maps) {
            let mut diagonal = vec![l2; side.x.ncols()];
            for group in *groups {
                let weight = l1 / (2.0 * norm(map, group).max(LEAST_NORM));
                diagonal[group.clone()].iter_mut().for_each(|value| *value += weight);
            }
            *map = side.solve(&diagonal, targets)?;
        }
        let (before, now) = (objectives[objectives.len() - 1], total(&maps));
        objectives.push(now);
        converged = before - now < LEAST_FALL * before;
    }
    let mut record = FitRecord { facts: objective_facts(&objectives), ..FitRecord::default() };
    if !converged {
        record.notes.push(format!(
            "not converged: after {rounds} rounds the objective still falls by more than {} % a round",
            100.0 * LEAST_FALL
        ));
    }
    let maps = <[Mat<f64>; 2]>::try_from(maps).expect("one map a side");
    Ok((maps, record))
}

fn objective_facts(objectives: &[f64]) -> BTreeMap<String, f64> {
    objectives.iter().enumerate().map(|(round, value)| (format!("objective-{round:02}"), *value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_every_column_once() {
        assert_eq!(runs(130, 64), [0..64, 64..128, 128..130]);
        assert_eq!(parts(10, 3), [0..4, 4..7, 7..10]);
        assert_eq!(parts(2, 3), [0..1, 1..2]);
        let targets = centred_targets(&[0, 1, 1, 1], 2);
        let first = [targets[(0, 0)], targets[(1, 0)], targets[(3, 1)]].map(f64::to_bits);
        assert_eq!(first, [0.75, -0.25, 0.25].map(f64::to_bits));
    }

    #[test]
    fn the_two_forms_of_the_solution_agree() {
        for (n, dims) in [(12, 5), (5, 12)] {
            let values: Vec<f64> =
                (0..n * dims).map(|k| libm::sin(1.7 * f64::from(u32::try_from(k).unwrap()))).collect();
            let selection: Vec<u32> = (0..u32::try_from(n).unwrap()).collect();
            let labels: Vec<u32> = selection.iter().map(|row| row % 3).collect();
            let targets = centred_targets(&labels, 3);
            let mut side = Side::new("image", Rows::new(&values[..], dims, &selection), &targets).unwrap();
            let diagonal: Vec<f64> = (0..dims).map(|k| 0.5 + f64::from(u32::try_from(k).unwrap())).collect();
            assert_eq!(side.gram.is_some(), n >= dims);
            side.gram = Some(product(side.x.transpose(), side.x.as_ref()));
            let primal = side.solve(&diagonal, &targets).unwrap();
            side.gram = None;
            let dual = side.solve(&diagonal, &targets).unwrap();
            assert!((&primal - &dual).norm_max() < 1e-8 && primal.norm_max() > 1e-3);
        }
    }
}
