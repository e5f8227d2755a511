//! The embeddings that a program leaves: files from outside, believed in nothing.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use experiment_spec::run::FailureKind;
use retrieval::{
    error::{Error, Result},
    method::{Embedding, EmbeddingValues},
    npy,
};
use rustix::fs::{Mode, OFlags};

use super::failed;

/// Most columns of an embedding.
const MAX_DIMS: u64 = 1 << 16;
/// Most bytes before the values of a `.npy` file that are taken.
const MAX_HEADER_BYTES: u64 = 1 << 16;

/// Reads `output/SIDE.npy`: `rows` rows, in the order in which the program was given them.
///
/// # Errors
/// A named failure for everything that is no such matrix of finite numbers.
pub(super) fn read(folder: &Path, side: &str, rows: usize) -> Result<Embedding> {
    let name = format!("output/{side}.npy");
    let wrong = |why: &str| failed(FailureKind::UserError, format!("{name}: {why}"));
    let bytes = content(folder, &name, rows)?;
    let array = npy::read(&bytes, &name).map_err(|why| failed(FailureKind::UserError, why))?;
    drop(bytes);
    let npy::Array { rows: found, columns, single, values } = array;
    if found != rows {
        return Err(wrong(&format!(
            "{found} rows; {rows} test {side}s were given, one row each is wanted, in their order"
        )));
    }
    if columns == 0 || columns as u64 > MAX_DIMS {
        return Err(wrong(&format!("{columns} columns; from 1 to {MAX_DIMS} are taken")));
    }
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let (row, column) = (at / columns, at % columns);
        let why = format!("{name}: row {row}, column {column} (counted from 0) is {}, no number", values[at]);
        return Err(failed(FailureKind::Nan, why));
    }
    #[allow(clippy::cast_possible_truncation)] // they were read from f32
    let values = if single {
        EmbeddingValues::F32(values.into_iter().map(|value| value as f32).collect())
    } else {
        EmbeddingValues::F64(values)
    };
    Ok(Embedding { rows, dims: columns, values })
}

/// The bytes of a file that is there, is a file, and is no larger than it may be.
fn content(folder: &Path, name: &str, rows: usize) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let wrong = |why: String| failed(FailureKind::UserError, format!("{name}: {why}"));
    let is_folder = fs::symlink_metadata(folder.join("output")).is_ok_and(|metadata| metadata.is_dir());
    if !is_folder {
        return Err(wrong("the program replaced the folder `output`".to_owned()));
    }
    // Neither a link that leads elsewhere nor a pipe that nobody fills.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => {
            return Err(wrong("the program ended well and left no such file".to_owned()));
        }
        Err(error) => return Err(wrong(format!("it cannot be read: {error}"))),
    };
    let metadata = file.metadata().map_err(Error::file(&path))?;
    let most = MAX_HEADER_BYTES + 8 * MAX_DIMS * rows as u64;
    if !metadata.is_file() || metadata.len() > most {
        return Err(wrong(format!("{} bytes; a file of at most {most} is taken", metadata.len())));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(Error::file(&path))?;
    Ok(bytes)
}

/// Brings rows back into the order of the test split: the program was given row `order[k]` as its row k.
pub(super) fn put_back(embedding: &Embedding, order: &[usize]) -> Embedding {
    fn turned<T: Copy + Default>(values: &[T], dims: usize, order: &[usize]) -> Vec<T> {
        let mut out = vec![T::default(); values.len()];
        for (row, &at) in values.chunks_exact(dims).zip(order) {
            out[at * dims..(at + 1) * dims].copy_from_slice(row);
        }
        out
    }
    let values = match &embedding.values {
        EmbeddingValues::F32(values) => EmbeddingValues::F32(turned(values, embedding.dims, order)),
        EmbeddingValues::F64(values) => EmbeddingValues::F64(turned(values, embedding.dims, order)),
    };
    Embedding { rows: embedding.rows, dims: embedding.dims, values }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
        [&npy::header(descr, shape), values].concat()
    }

    fn said(bytes: &[u8], rows: usize) -> (FailureKind, String) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("output")).unwrap();
        fs::write(folder.path().join("output/image.npy"), bytes).unwrap();
        let error = read(folder.path(), "image", rows).unwrap_err();
        (error.failure_kind(), error.to_string())
    }

    #[test]
    fn rows_come_back_to_their_places() {
        let embedding = Embedding { rows: 3, dims: 2, values: EmbeddingValues::F32(vec![1., 2., 3., 4., 5., 6.]) };
        let back = put_back(&embedding, &[2, 0, 1]);
        assert_eq!(back.values, EmbeddingValues::F32(vec![3., 4., 5., 6., 1., 2.]));
    }

    #[test]
    fn what_is_no_embedding_is_named() {
        let one = 1.0_f32.to_le_bytes();
        let table = [
            (npy("<f4", "(1, 1)", &one), FailureKind::UserError, "1 rows; 2 test images were given"),
            (npy("<f4", "(2, 0)", &[]), FailureKind::UserError, "0 columns"),
            (npy("<i8", "(2, 1)", &[0; 16]), FailureKind::UserError, "type Some(\"<i8\")"),
            (npy("<f4", "(2, 1)", &one), FailureKind::UserError, "4 bytes of values for 2 x 1"),
            (npy("<f4", "(2, 1)", &[one, f32::NAN.to_le_bytes()].concat()), FailureKind::Nan, "row 1, column 0"),
            (b"hello".to_vec(), FailureKind::UserError, "not a .npy file"),
        ];
        for (bytes, kind, part) in table {
            let (found, message) = said(&bytes, 2);
            assert!(found == kind && message.starts_with("output/image.npy: ") && message.contains(part), "{message}");
        }
    }

    #[test]
    fn links_pipes_and_other_folders_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let said = || read(folder.path(), "image", 1).unwrap_err().to_string();
        std::os::unix::fs::symlink("/", &output).unwrap();
        assert!(said().contains("replaced the folder"), "{}", said());
        fs::remove_file(&output).unwrap();
        fs::create_dir(&output).unwrap();
        assert!(said().contains("left no such file"), "{}", said());
        let good = folder.path().join("good.npy");
        fs::write(&good, npy("<f4", "(1, 1)", &1.0_f32.to_le_bytes())).unwrap();
        std::os::unix::fs::symlink(&good, output.join("image.npy")).unwrap();
        assert!(said().contains("cannot be read"), "{}", said());
        fs::remove_file(output.join("image.npy")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, output.join("image.npy"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        assert!(said().contains("a file of at most"), "{}", said());
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(cut in 0usize..200, place in 0usize..200, byte: u8) {
            let mut bytes = npy("<f8", "(2, 3)", &[0; 48]);
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            if let Some(at) = bytes.get_mut(place) {
                *at = byte;
            }
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("output")).unwrap();
            fs::write(folder.path().join("output/image.npy"), bytes).unwrap();
            drop(read(folder.path(), "image", 2));
        }
    }
}
