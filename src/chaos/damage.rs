//! Bytes that change on a disk by themselves.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::content::ContentStore;

use super::random::Draws;

/// Bits of a byte that are turned over.
const FLIP: u8 = 0x20;

/// A byte of a content that was flipped.
#[derive(Clone, Debug)]
pub(super) struct Damaged {
    store: ContentStore,
    hash: ContentHash,
    at: usize,
}

/// Flips a byte of one content, as a reader finds it that opens it from now on. None where there is no content.
pub(super) fn content(blobs: &Path, draws: &mut Draws) -> io::Result<Option<Damaged>> {
    let store = ContentStore::open(blobs)?;
    let mut all: Vec<_> = store.list()?.into_iter().filter(|(_, bytes, _)| *bytes > 0).collect();
    all.sort_unstable_by_key(|(hash, ..)| hash.to_string());
    let Some((hash, bytes, _)) = draws.one_of(&all) else { return Ok(None) };
    let at = usize::try_from(draws.below(*bytes)).map_err(io::Error::other)?;
    let damaged = Damaged { store, hash: *hash, at };
    damaged.flip()?;
    Ok(Some(damaged))
}

impl Damaged {
    /// A new file in place of the old one: what has that one mapped has read it before it was damaged.
    fn flip(&self) -> io::Result<()> {
        let path = self.store.path(&self.hash);
        let mut bytes = fs::read(&path)?;
        if let Some(byte) = bytes.get_mut(self.at) {
            *byte ^= FLIP;
        }
        let beside = path.with_extension("flipped");
        fs::write(&beside, bytes)?;
        fs::rename(beside, path)
    }

    /// As it was, unless somebody has mended it meanwhile.
    pub(super) fn mend(&self) -> io::Result<()> {
        if !self.store.has(&self.hash) || self.store.verify(&self.hash)? {
            return Ok(());
        }
        self.flip()
    }
}

/// Flips a byte in each of the files that a daemon which is down has left of its outbox and its checkpoints; how many.
pub(super) fn folder(worker: &Path, draws: &mut Draws) -> io::Result<usize> {
    let mut paths = files(&worker.join("outbox"), "seg")?;
    for step in folders(&worker.join("steps"))? {
        paths.extend(files(&step, "safetensors")?);
    }
    paths.sort();
    let mut flipped = 0;
    for path in paths {
        let mut bytes = fs::read(&path)?;
        if bytes.is_empty() {
            continue;
        }
        let at = usize::try_from(draws.below(bytes.len() as u64)).map_err(io::Error::other)?;
        bytes[at] ^= FLIP;
        // In place: a second name of the same file shows the damage too.
        fs::write(&path, bytes)?;
        flipped += 1;
    }
    Ok(flipped)
}

/// Paths in a folder; none when it is not there.
fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let of_kind = |path: &PathBuf| path.extension().is_some_and(|found| found == extension) && path.is_file();
    Ok(paths(folder)?.into_iter().filter(of_kind).collect())
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(paths(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Files below a folder that were begun and never finished.
pub(super) fn unfinished(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths(folder)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            found.extend(unfinished(&path)?);
        } else if name.contains("partial") || name.starts_with(".tmp") || folder.ends_with("partial") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_content_is_mended_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::open(folder.path()).unwrap();
        let mut draws = Draws::new(1);
        assert!(content(folder.path(), &mut draws).unwrap().is_none(), "nothing is there");
        let hash = store.put_bytes(b"features").unwrap();
        let damaged = content(folder.path(), &mut draws).unwrap().expect("a content");
        assert!(!store.verify(&hash).unwrap());
        for _ in 0..2 {
            damaged.mend().unwrap();
            assert!(store.verify(&hash).unwrap());
        }
    }

    #[test]
    fn a_worker_that_is_down_has_its_outbox_and_checkpoints_damaged() {
        let worker = tempfile::tempdir().unwrap();
        let step = worker.path().join("steps/abc");
        fs::create_dir_all(&step).unwrap();
        fs::create_dir_all(worker.path().join("outbox")).unwrap();
        for path in ["outbox/1.seg", "steps/abc/checkpoint.safetensors", "steps/abc/attempt", "worker-id"] {
            fs::write(worker.path().join(path), "text").unwrap();
        }
        assert_eq!(folder(worker.path(), &mut Draws::new(1)).unwrap(), 2);
        let is_whole = |path: &str| fs::read(worker.path().join(path)).unwrap() == b"text";
        assert!(!is_whole("outbox/1.seg") && !is_whole("steps/abc/checkpoint.safetensors"));
        assert!(is_whole("steps/abc/attempt") && is_whole("worker-id"));
    }

    #[test]
    fn what_was_never_finished_is_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/partial")).unwrap();
        for name in ["blobs/partial/link-1", "attempt.partial", ".tmpAbC", "attempt", "blobs/whole"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = unfinished(folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, [".tmpAbC", "attempt.partial", "link-1"]);
    }
}
