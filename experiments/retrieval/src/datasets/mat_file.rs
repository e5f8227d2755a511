//! Numeric arrays of MATLAB v5 files.

use std::panic::catch_unwind;

use matfile::{MatFile, NumericData};

use super::given_set::Matrix;

/// Arrays of one file.
#[derive(Debug)]
pub struct Arrays {
    file: MatFile,
    name: String,
}

impl Arrays {
    /// Reads a file; `name` stands in messages.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn read(bytes: &[u8], name: &str) -> Result<Self, String> {
        // The parser multiplies sizes of a damaged file without checks, which may panic.
        match catch_unwind(|| MatFile::parse(bytes)) {
            Ok(Ok(file)) => Ok(Self { file, name: name.to_owned() }),
            Ok(Err(error)) => Err(format!("{name}: no whole MATLAB v5 file ({error}); get the file again")),
            Err(_) => Err(format!("{name}: no whole MATLAB v5 file; get the file again")),
        }
    }

    /// One array, row by row.
    ///
    /// # Errors
    /// A sentence that names the file and the array.
    pub fn matrix(&self, array: &str) -> Result<Matrix, String> {
        let place = format!("{}: array {array}", self.name);
        let found = self.file.find_by_name(array);
        let found = found.ok_or_else(|| format!("{place} is missing: the file is cut or another one; get it again"))?;
        let &[rows, columns] = found.size().as_slice() else {
            return Err(format!("{place} has sizes {:?}, not rows and columns", found.size()));
        };
        let values: Vec<f64> = match found.data() {
            NumericData::Double { real, imag: None } => real.clone(),
            NumericData::Single { real, imag: None } => real.iter().map(|&value| value.into()).collect(),
            NumericData::UInt8 { real, imag: None } => real.iter().map(|&value| value.into()).collect(),
            _ => return Err(format!("{place} is neither of real numbers nor of bytes; get the file again")),
        };
        if rows.checked_mul(columns) != Some(values.len()) {
            return Err(format!(
                "{place} is {rows} x {columns}, but holds {} numbers; get the file again",
                values.len()
            ));
        }
        let by_row = (0..rows).flat_map(|row| (0..columns).map(move |column| column * rows + row));
        Ok(Matrix { rows, columns, values: by_row.map(|at| values[at]).collect(), place })
    }
}
