//! Normalisation of features before a deep method reads them (spec E.4), fitted on training rows only.

use crate::features::{Reals, Rows};

/// Which normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureNorm {
    /// As stored.
    Raw,
    /// Each column to mean 0 and standard deviation 1 over the training rows.
    Zscore,
    /// Each row to length 1.
    L2,
}

/// A fitted normalisation of one modality.
#[derive(Clone, Debug, PartialEq)]
pub enum Normaliser {
    /// Rows pass as they are.
    Raw,
    /// Mean and standard deviation of each training column, in f64.
    Zscore {
        /// Of each column.
        mean: Vec<f64>,
        /// With n - 1 in the denominator; 1 for a constant column.
        deviation: Vec<f64>,
    },
    /// Rows are divided by their length; a row of zeros stays.
    L2,
}

impl Normaliser {
    /// Fits on training rows.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // numbers of rows
    pub fn fit(norm: FeatureNorm, rows: Rows<'_>) -> Self {
        match norm {
            FeatureNorm::Raw => Self::Raw,
            FeatureNorm::L2 => Self::L2,
            FeatureNorm::Zscore => {
                let count = rows.rows().max(1) as f64;
                let mut mean = vec![0.0; rows.dims()];
                let mut wide = vec![0.0; rows.dims()];
                for row in 0..rows.rows() {
                    rows.row(row).write_f64(&mut wide);
                    mean.iter_mut().zip(&wide).for_each(|(sum, value)| *sum += value);
                }
                for sum in &mut mean {
                    *sum /= count;
                }
                let mut deviation = vec![0.0; rows.dims()];
                for row in 0..rows.rows() {
                    rows.row(row).write_f64(&mut wide);
                    for ((sum, value), mean) in deviation.iter_mut().zip(&wide).zip(&mean) {
                        *sum += (value - mean).powi(2);
                    }
                }
                for sum in &mut deviation {
                    let found = (*sum / (count - 1.0).max(1.0)).sqrt();
                    *sum = if found > 0.0 { found } else { 1.0 };
                }
                Self::Zscore { mean, deviation }
            }
        }
    }

    /// Writes the normalised `row` to `out`; both are as wide as the rows it was fitted on.
    pub fn apply<'a>(&self, row: impl Into<Reals<'a>>, out: &mut [f32]) {
        match (row.into(), self) {
            (row, Self::Raw) => row.write_f32(out),
            (Reals::F32(row), _) => self.scale(row.iter().map(|&value| f64::from(value)), out),
            (Reals::F64(row), _) => self.scale(row.iter().copied(), out),
        }
    }

    #[allow(clippy::cast_possible_truncation)] // what a deep method reads is f32
    fn scale(&self, row: impl Iterator<Item = f64> + Clone, out: &mut [f32]) {
        match self {
            Self::Raw => out.iter_mut().zip(row).for_each(|(out, value)| *out = value as f32),
            Self::Zscore { mean, deviation } => {
                for (j, (out, value)) in out.iter_mut().zip(row).enumerate() {
                    *out = ((value - mean[j]) / deviation[j]) as f32;
                }
            }
            Self::L2 => {
                let length = row.clone().map(|value| value.powi(2)).sum::<f64>().sqrt();
                let divisor = if length > 0.0 { length } else { 1.0 };
                out.iter_mut().zip(row).for_each(|(out, value)| *out = (value / divisor) as f32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_normalisation_by_hand() {
        let matrix = [3.0f32, 7.0, 4.0, 1.0, 7.0, 8.0, 2.0, 7.0, 0.0, 90.0, 90.0, 90.0];
        let rows = Rows::new(&matrix[..], 3, &[0, 1, 2]);
        let of = |norm, row: &[f32]| {
            let mut out = [0.0f32; 3];
            Normaliser::fit(norm, rows).apply(row, &mut out);
            out.map(f32::to_bits)
        };
        assert_eq!(of(FeatureNorm::Raw, &matrix[..3]), [3.0f32, 7.0, 4.0].map(f32::to_bits));
        // Columns: mean 2, deviation 1; constant 7; mean 4, deviation 4. The row 90 was not in training.
        assert_eq!(of(FeatureNorm::Zscore, &matrix[..3]), [1.0f32, 0.0, 0.0].map(f32::to_bits));
        assert_eq!(of(FeatureNorm::Zscore, &matrix[9..]), [88.0f32, 83.0, 21.5].map(f32::to_bits));
        assert_eq!(of(FeatureNorm::L2, &[3.0, 0.0, 4.0]), [0.6f32, 0.0, 0.8].map(f32::to_bits));
        assert_eq!(of(FeatureNorm::L2, &[0.0; 3]), [0.0f32; 3].map(f32::to_bits));
    }
}
