//! A table as a value: columns, rows, cells, notes and the facts printed under it.

use super::Measure;
use crate::{
    scores::Normalisation,
    spec::{Spread, TableKind},
};

/// A table, ready to print.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Printed above it.
    pub title: String,
    /// Name of the submission, empty when there are no records.
    pub submission: String,
    /// Which tasks it shows.
    pub kind: TableKind,
    /// Which of the stored scores it shows.
    pub normalisation: Normalisation,
    /// Digits after the point of means and deviations.
    pub digits: u8,
    /// Data sets in order; each is a block of rows, as in the paper.
    pub data_sets: Vec<String>,
    /// Columns, in the order of the paper.
    pub columns: Vec<Measure>,
    /// Rows in the order asked for, those of a data set together, each with one cell a column.
    pub rows: Vec<Row>,
    /// Reasons for what is missing; cells refer to them by index.
    pub notes: Vec<String>,
    /// How the numbers came about.
    pub facts: Vec<Fact>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Key of its data set.
    pub data_set: String,
    /// Its label, as in the submission.
    pub label: String,
    /// One cell a column.
    pub cells: Vec<Cell>,
}

/// One cell. An empty one always says why.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// No seed has a score.
    Empty {
        /// Index of the reason in [`Table::notes`].
        note: usize,
    },
    /// At least one seed has a score.
    Scored {
        /// Mean and deviation over the seeds that have one.
        summary: Summary,
        /// Place in its column among the rows of its data set.
        rank: Option<Rank>,
        /// Fewer seeds than in other cells: the cell shows its n.
        short: bool,
        /// Index of what is missing in [`Table::notes`].
        note: Option<usize>,
    },
}

impl Table {
    /// Rows by data set.
    pub fn blocks(&self) -> impl Iterator<Item = &[Row]> {
        self.rows.chunk_by(|a, b| a.data_set == b.data_set)
    }

    /// Whether data sets must be named beside the rows, or one name for all will do.
    #[must_use]
    pub fn has_blocks(&self) -> bool {
        self.data_sets.len() > 1
    }
}

impl Cell {
    /// Index in [`Table::notes`] of what it lacks.
    #[must_use]
    pub fn note(&self) -> Option<usize> {
        match self {
            Self::Empty { note } => Some(*note),
            Self::Scored { note, .. } => *note,
        }
    }

    /// Number of seeds with a score.
    #[must_use]
    pub fn n(&self) -> usize {
        match self {
            Self::Empty { .. } => 0,
            Self::Scored { summary, .. } => summary.n,
        }
    }
}

/// Place of a mean in its column; means that print alike share theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The highest.
    Best,
    /// The next.
    Second,
}

/// A fact printed under the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// The fact.
    pub value: String,
}

/// Mean and deviation of the values of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Number of values, at least 1.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); none for a single value.
    pub std: Option<f64>,
}

impl Summary {
    /// Of these values, summed in the order given; `None` when there are none.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts of runs are far below 2^52")]
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let std = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Self { n, mean, std })
    }

    /// Of values by encoder seed, with the deviation that `spread` asks for. The groups and their values are summed in
    /// the order given; `None` when there is no value.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts of runs are far below 2^52")]
    pub fn of_groups(groups: &[Vec<f64>], spread: Spread) -> Option<Self> {
        let summaries: Vec<Self> = groups.iter().filter_map(|group| Self::of(group)).collect();
        match spread {
            _ if summaries.len() < 2 => summaries.into_iter().next(),
            Spread::Both => Self::of(&groups.concat()),
            Spread::EncoderSeeds => Self::of(&summaries.iter().map(|group| group.mean).collect::<Vec<_>>()),
            Spread::MethodSeeds => {
                let n: usize = summaries.iter().map(|group| group.n).sum();
                let mean = summaries.iter().map(|group| group.mean * group.n as f64).sum::<f64>() / n as f64;
                let squares = summaries.iter().filter_map(|group| Some(group.std?.powi(2) * (group.n - 1) as f64));
                let degrees = n - summaries.len();
                let std = (degrees > 0).then(|| (squares.sum::<f64>() / degrees as f64).sqrt());
                Some(Self { n, mean, std })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, Summary};

    #[test]
    fn mean_and_deviation_by_hand() {
        // 0.25, 0.5, 0.75, 1: mean 0.625; squares 0.140625 + 0.015625 + 0.015625 + 0.140625 = 0.3125; /3.
        let four = Summary::of(&[0.25, 0.5, 0.75, 1.0]).unwrap();
        assert_eq!((four.n, four.mean, four.std), (4, 0.625, Some((0.3125_f64 / 3.0).sqrt())));
        let one = Summary::of(&[0.5]).unwrap();
        assert_eq!((one.n, one.mean, one.std), (1, 0.5, None));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn the_three_spreads_by_hand() {
        // Two encoder seeds: 0.2, 0.4 (mean 0.3, squares 0.02) and 0.5, 0.6, 0.7 (mean 0.6, squares 0.02).
        let groups = [vec![0.2, 0.4], vec![], vec![0.5, 0.6, 0.7]];
        let near = |found: Option<Summary>, n: usize, mean: f64, std: f64| {
            let found = found.unwrap();
            assert_eq!(found.n, n);
            assert!((found.mean - mean).abs() < 1e-15 && (found.std.unwrap() - std).abs() < 1e-15, "{found:?}");
        };
        near(Summary::of_groups(&groups, Spread::MethodSeeds), 5, 0.48, (0.04f64 / 3.0).sqrt());
        near(Summary::of_groups(&groups, Spread::EncoderSeeds), 2, 0.45, 0.045f64.sqrt());
        // All five: squares 0.28^2 + 0.08^2 + 0.02^2 + 0.12^2 + 0.22^2 = 0.148.
        near(Summary::of_groups(&groups, Spread::Both), 5, 0.48, (0.148f64 / 4.0).sqrt());
        for spread in Spread::ALL {
            near(Summary::of_groups(&groups[..2], spread), 2, 0.3, 0.02f64.sqrt());
            assert_eq!(Summary::of_groups(&[], spread), None);
        }
    }
}
