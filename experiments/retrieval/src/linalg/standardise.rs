//! Standardisation of columns by the statistics of the training rows (spec C.0).

use faer::Mat;

use crate::{
    checkpoint::{NamedTensor, Values},
    error::{Error, Result},
    features::Rows,
};

/// Mean and standard deviation of every training column.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardisation {
    mean: Vec<f64>,
    /// With n - 1 in the denominator; 1 for a constant column.
    deviation: Vec<f64>,
}

impl Standardisation {
    /// Fits on the training rows of one side, named `side` in errors.
    ///
    /// # Errors
    /// [`Error::Data`] when there are fewer than two rows or a value is not finite: row and column are named.
    #[allow(clippy::cast_precision_loss)] // numbers of rows
    pub fn fit(side: &str, rows: Rows<'_>) -> Result<Self> {
        check(side, rows)?;
        let dims = rows.dims();
        // Sums are of differences to the first row, so that a constant column has deviation exactly 0.
        let first = rows.row(0).to_f64();
        let (mut mean, mut deviation, mut row) = (vec![0.0; dims], vec![0.0; dims], vec![0.0; dims]);
        for index in 0..rows.rows() {
            rows.row(index).write_f64(&mut row);
            for ((sum, value), first) in mean.iter_mut().zip(&row).zip(&first) {
                *sum += value - first;
            }
        }
        for (sum, first) in mean.iter_mut().zip(&first) {
            *sum = first + *sum / rows.rows() as f64;
        }
        for index in 0..rows.rows() {
            rows.row(index).write_f64(&mut row);
            for ((sum, value), mean) in deviation.iter_mut().zip(&row).zip(&mean) {
                *sum += (value - mean).powi(2);
            }
        }
        for sum in &mut deviation {
            *sum = if *sum > 0.0 { (*sum / (rows.rows() as f64 - 1.0)).sqrt() } else { 1.0 };
        }
        Ok(Self { mean, deviation })
    }

    /// To 0 for the least and 1 for the largest of the training rows; a constant column is only moved. Other rows may
    /// lie outside (spec C.8 step 1).
    ///
    /// # Errors
    /// As [`Standardisation::fit`].
    pub fn unit_range(side: &str, rows: Rows<'_>) -> Result<Self> {
        check(side, rows)?;
        let dims = rows.dims();
        let (mut least, mut largest, mut row) = (vec![f64::MAX; dims], vec![f64::MIN; dims], vec![0.0; dims]);
        for index in 0..rows.rows() {
            rows.row(index).write_f64(&mut row);
            for ((least, largest), &value) in least.iter_mut().zip(&mut largest).zip(&row) {
                *least = least.min(value);
                *largest = largest.max(value);
            }
        }
        let range = |(least, largest): (&f64, &f64)| if largest > least { largest - least } else { 1.0 };
        let deviation = least.iter().zip(&largest).map(range).collect();
        Ok(Self { mean: least, deviation })
    }

    /// Leaves `dims` columns as they are.
    #[must_use]
    pub fn none(dims: usize) -> Self {
        Self { mean: vec![0.0; dims], deviation: vec![1.0; dims] }
    }

    /// The rows, standardised: rows x columns.
    ///
    /// # Panics
    /// If they have other columns than the training rows: a broken invariant of the caller.
    #[must_use]
    pub fn apply(&self, rows: Rows<'_>) -> Mat<f64> {
        assert_eq!(rows.dims(), self.mean.len(), "columns of the rows and of the training rows");
        let values = rows.to_f64();
        let dims = self.mean.len();
        Mat::from_fn(rows.rows(), dims, |i, j| (values[i * dims + j] - self.mean[j]) / self.deviation[j])
    }

    /// The rows, standardised and rounded to f32, row-major.
    ///
    /// # Panics
    /// As [`Standardisation::apply`].
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // what a deep method reads is f32
    pub fn apply_f32(&self, rows: Rows<'_>) -> Vec<f32> {
        assert_eq!(rows.dims(), self.mean.len(), "columns of the rows and of the training rows");
        let mut values = rows.to_f64();
        for row in values.chunks_exact_mut(self.mean.len()) {
            for ((value, mean), deviation) in row.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *value = (*value - mean) / deviation;
            }
        }
        values.into_iter().map(|value| value as f32).collect()
    }

    /// As tensors `SIDE.mean` and `SIDE.deviation`.
    #[must_use]
    pub fn tensors(&self, side: &str) -> Vec<NamedTensor> {
        let tensor = |name: &str, values: &[f64]| NamedTensor {
            name: format!("{side}.{name}"),
            shape: vec![values.len()],
            values: Values::F64(values.to_vec()),
        };
        vec![tensor("mean", &self.mean), tensor("deviation", &self.deviation)]
    }
}

/// Two rows at least, and every value finite.
fn check(side: &str, rows: Rows<'_>) -> Result<()> {
    if rows.rows() < 2 {
        let found = rows.rows();
        return Err(Error::Data(format!("{found} training pairs cannot be standardised; give two or more")));
    }
    for index in 0..rows.rows() {
        if let Some(column) = rows.row(index).first_unusable() {
            return Err(Error::Data(format!(
                "row {index}, column {column} of the {side} features for training is not finite; extract the features \
                 again"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::product::rows as values;

    #[test]
    fn columns_by_hand() {
        // Means 2, 0.1 (a constant whose sum is not exact), 4; deviations 1, 1 for the constant, 4.
        let matrix = [3.0, 0.1, 4.0, 1.0, 0.1, 8.0, 2.0, 0.1, 0.0, 5.0, 0.6, -4.0];
        let training = Rows::new(&matrix[..], 3, &[0, 1, 2]);
        let fitted = Standardisation::fit("image", training).unwrap();
        let standardised = fitted.apply(training.with_selection(&[0, 1, 3]));
        assert_eq!(values(standardised.as_ref()), [1.0, 0.0, 0.0, -1.0, 0.0, 1.0, 3.0, 0.5, -2.0]);
        let narrow = fitted.apply_f32(training.with_selection(&[0, 1, 3]));
        assert_eq!(narrow, [1.0, 0.0, 0.0, -1.0, 0.0, 1.0, 3.0, 0.5, -2.0]);
        let unit = Standardisation::unit_range("image", training).unwrap();
        assert_eq!(unit.apply_f32(training.with_selection(&[0, 1, 3])), [1.0, 0.0, 0.5, 0.0, 0.0, 1.0, 2.0, 0.5, -0.5]);
        let same = Standardisation::none(3).apply_f32(training.with_selection(&[1]));
        assert_eq!(same, [1.0, 0.1, 8.0]);
        let names: Vec<String> = fitted.tensors("image").into_iter().map(|tensor| tensor.name).collect();
        assert_eq!(names, ["image.mean", "image.deviation"]);
    }

    #[test]
    fn what_cannot_be_standardised_is_named() {
        let matrix = [1.0, 2.0, 3.0, f64::NAN];
        let refused = |selection| Standardisation::fit("text", Rows::new(&matrix[..], 2, selection)).unwrap_err();
        assert!(refused(&[0, 1]).to_string().contains("row 1, column 1 of the text features"));
        assert!(refused(&[0]).to_string().contains("1 training pairs"));
    }
}
