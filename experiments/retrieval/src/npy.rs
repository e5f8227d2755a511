//! Arrays of `NumPy`'s `.npy` files (versions 1 to 3), of little-endian f32, f64 or bytes: read from data sets and from
//! programs of users' own, written for the latter.

use std::io::{self, Write};

use crate::features::{Reals, Rows};

/// An array of one or two dimensions; one of one is a single column.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Whether its values were written in single precision.
    pub single: bool,
    /// `rows x columns`, row-major.
    pub values: Vec<f64>,
}

/// Reads an array. `name` stands in messages.
///
/// # Errors
/// A sentence that names the file and what is wrong with it.
pub fn read(bytes: &[u8], name: &str) -> Result<Array, String> {
    let fail = |why: &str| format!("{name}: {why}");
    let cut = || fail("cut inside its header");
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(|| fail("not a .npy file"))?;
    let (length, start) = match rest.get(..6).ok_or_else(cut)? {
        [1, _, a, b, ..] => (u32::from(u16::from_le_bytes([*a, *b])), 4),
        [2 | 3, _, a, b, c, d] => (u32::from_le_bytes([*a, *b, *c, *d]), 6),
        _ => return Err(fail("a version of .npy that is not known")),
    };
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(start)).ok_or_else(cut)?;
    let header =
        std::str::from_utf8(rest.get(start..end).ok_or_else(cut)?).map_err(|_| fail("its header is no text"))?;
    let (rows, columns) = shape(header).ok_or_else(|| fail("its header gives no shape of one or two dimensions"))?;
    let data = &rest[end..];
    let (width, values): (usize, Vec<f64>) = match field(header, "descr").map(|text| text.trim_matches('\'')) {
        Some("<f4") => (4, data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()).collect()),
        Some("<f8") => {
            let eight = |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            (8, data.chunks_exact(8).map(eight).collect())
        }
        Some("|u1") => (1, data.iter().map(|&byte| byte.into()).collect()),
        other => return Err(fail(&format!("its values are of type {other:?}; <f4, <f8 and |u1 are read"))),
    };
    let wanted = rows.checked_mul(columns).and_then(|count| count.checked_mul(width));
    if wanted != Some(data.len()) {
        return Err(fail(&format!("{} bytes of values for {rows} x {columns} of {width} bytes each", data.len())));
    }
    let values = match field(header, "fortran_order") {
        Some("True") => (0..rows * columns).map(|at| values[at % columns * rows + at / columns]).collect(),
        _ => values,
    };
    Ok(Array { rows, columns, single: width == 4, values })
}

/// Text of a field of the header up to its comma.
fn field<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let rest = header.split_once(&format!("'{name}':"))?.1;
    rest.split_once(',').map(|(value, _)| value.trim())
}

fn shape(header: &str) -> Option<(usize, usize)> {
    let inside = header.split_once("'shape': (")?.1.split_once(')')?.0;
    let sizes: Option<Vec<usize>> =
        inside.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().ok()).collect();
    match *sizes?.as_slice() {
        [rows] => Some((rows, 1)),
        [rows, columns] => Some((rows, columns)),
        _ => None,
    }
}

/// Writes rows of features, in this order, in the precision that they have.
///
/// # Errors
/// Those of the writer.
pub fn write_rows(out: &mut impl Write, rows: &Rows<'_>, order: &[usize]) -> io::Result<()> {
    let single = order.first().is_none_or(|&at| matches!(rows.row(at), Reals::F32(_)));
    let descr = if single { "<f4" } else { "<f8" };
    out.write_all(&header(descr, &format!("({}, {})", order.len(), rows.dims())))?;
    order.iter().try_for_each(|&at| match rows.row(at) {
        Reals::F32(values) => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())),
        Reals::F64(values) => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())),
    })
}

/// Writes a row of whole numbers.
///
/// # Errors
/// Those of the writer.
pub fn write_labels(out: &mut impl Write, labels: &[u32]) -> io::Result<()> {
    out.write_all(&header("<u4", &format!("({},)", labels.len())))?;
    labels.iter().try_for_each(|label| out.write_all(&label.to_le_bytes()))
}

/// Everything before the values of an array in row-major order, padded so that they are aligned as `NumPy` has them.
/// `descr` is their type (`<f4`), `shape` a tuple as Python writes it.
///
/// # Panics
/// If the two are longer than a header of version 1 can be: they are written by the program.
#[must_use]
pub fn header(descr: &str, shape: &str) -> Vec<u8> {
    const ALIGNMENT: usize = 64;
    const PREFIX: usize = 10;
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let padded = (PREFIX + text.len() + 1).next_multiple_of(ALIGNMENT) - PREFIX - 1;
    text.extend(std::iter::repeat_n(' ', padded - text.len()));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("a header of two small numbers is short");
    [b"\x93NUMPY\x01\x00", &length.to_le_bytes()[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_in_the_order_they_were_written_in() {
        let matrix = [0.5_f64, -1.0, 2.0, 3.5, 4.0, 1e-3];
        let rows = Rows::new(&matrix[..], 2, &[0, 1, 2]);
        let mut file = Vec::new();
        write_rows(&mut file, &rows, &[2, 0]).unwrap();
        assert_eq!(file.len() % 64, 32, "values begin at a multiple of 64 bytes");
        let array = read(&file, "x.npy").unwrap();
        assert_eq!(array, Array { rows: 2, columns: 2, single: false, values: vec![4.0, 1e-3, 0.5, -1.0] });
        let single = [0.5_f32, 1e-3];
        let mut file = Vec::new();
        write_rows(&mut file, &Rows::new(&single[..], 1, &[0, 1]), &[1, 0]).unwrap();
        let array = read(&file, "x.npy").unwrap();
        assert_eq!((array.single, array.values), (true, vec![f64::from(1e-3_f32), 0.5]));
        let mut labels = Vec::new();
        write_labels(&mut labels, &[7, 1]).unwrap();
        assert!(labels.starts_with(b"\x93NUMPY\x01\x00") && labels.ends_with(&[7, 0, 0, 0, 1, 0, 0, 0]));
    }

    #[test]
    fn arrays_in_column_order_are_turned() {
        let text = "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }\n";
        let length = u16::try_from(text.len()).unwrap().to_le_bytes();
        let values: Vec<u8> = [1.0_f64, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let file = [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes(), &values].concat();
        let array = read(&file, "x.npy").unwrap();
        assert_eq!((array.rows, array.columns, array.single), (2, 3, false));
        assert_eq!(array.values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
