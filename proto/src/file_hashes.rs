//! Hashes of files that are somebody else's and may change: read once, and again when their size or time has changed.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use experiment_spec::ids::ContentHash;

use crate::content::hash_of;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    changed_at: SystemTime,
}

/// Hashes by path. Its methods read files: not to be called from an async task.
#[derive(Debug, Default)]
pub struct FileHashes(Mutex<HashMap<PathBuf, (Stamp, ContentHash)>>);

impl FileHashes {
    fn known(&self) -> MutexGuard<'_, HashMap<PathBuf, (Stamp, ContentHash)>> {
        // Every change is one call: a thread that panicked has left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hash and size in bytes of a file as it is now.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn of(&self, path: &Path) -> io::Result<(ContentHash, u64)> {
        let metadata = fs::metadata(path)?;
        let stamp = Stamp { bytes: metadata.len(), changed_at: metadata.modified()? };
        let known = self.known().get(path).filter(|(known, _)| *known == stamp).map(|(_, hash)| *hash);
        if let Some(hash) = known {
            return Ok((hash, stamp.bytes));
        }
        let (hash, bytes) = hash_of(&mut File::open(path)?)?;
        self.known().insert(path.to_owned(), (stamp, hash));
        Ok((hash, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.npy");
        let hashes = FileHashes::default();
        assert_eq!(hashes.of(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "rows").unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(hashes.of(&path).unwrap(), (ContentHash::of(b"rows"), 4));
        // The same size and time: it is not looked into.
        fs::write(&path, "ROWS").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(before).unwrap();
        assert_eq!(hashes.of(&path).unwrap(), (ContentHash::of(b"rows"), 4));
        file.set_modified(before + std::time::Duration::from_secs(1)).unwrap();
        assert_eq!(hashes.of(&path).unwrap(), (ContentHash::of(b"ROWS"), 4));
    }
}
