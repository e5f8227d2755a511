//! Arrays of `NumPy`'s `.npy` files (versions 1 to 3), of little-endian f32, f64 or bytes, in row-major order.

use super::given_set::Matrix;

/// Reads an array of one or two dimensions; one of one is a single column. `name` stands in messages.
///
/// # Errors
/// A sentence that names the file and what is wrong with it.
pub fn read(bytes: &[u8], name: &str) -> Result<Matrix, String> {
    let fail = |why: &str| format!("{name}: {why}; get the file again");
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
    if !header.contains("'fortran_order': False") && columns != 1 {
        return Err(fail("its array is in column order"));
    }
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
    Ok(Matrix { rows, columns, values, place: name.to_owned() })
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
