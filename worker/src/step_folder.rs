//! Folders of steps: where an attempt leaves its checkpoint and its artifacts, and where the next attempt
//! of the same step finds them.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use experiment_spec::ids::{AttemptKey, ContentHash};

use crate::error::at;

/// File in a folder that names the last attempt which worked there.
const ATTEMPT: &str = "attempt";
/// The same while it is written; an attempt removes what bears this ending.
const PARTIAL_ATTEMPT: &str = "attempt.partial";
/// The checkpoint of a step.
pub(crate) const CHECKPOINT: &str = "checkpoint.safetensors";
/// Fact of a checkpoint that holds the kind of what led to it.
pub(crate) const KIND_FACT: &str = "worker.kind";

/// The folders of all steps of a worker.
#[derive(Debug)]
pub(crate) struct StepFolders {
    root: PathBuf,
    /// Where the attempts of this daemon work: folders that failed attempts have left may be many.
    entered: Mutex<HashMap<AttemptKey, PathBuf>>,
}

impl StepFolders {
    /// Opens the folders below `root`; those that were not touched for longer than `keep` are removed.
    pub(crate) fn open(root: PathBuf, keep: Duration) -> io::Result<Self> {
        fs::create_dir_all(&root).map_err(at(&root))?;
        let folders = Self { root, entered: Mutex::default() };
        for folder in folders.all()? {
            let touched = fs::metadata(folder.join(ATTEMPT)).and_then(|metadata| metadata.modified());
            let age = touched.ok().and_then(|touched| SystemTime::now().duration_since(touched).ok());
            if age.is_some_and(|age| age > keep) {
                tracing::info!(folder = %folder.display(), "removing the folder of a step not touched for long");
                fs::remove_dir_all(&folder).map_err(at(&folder))?;
            }
        }
        Ok(folders)
    }

    fn all(&self) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(&self.root)
            .map_err(at(&self.root))?
            .map(|entry| Ok(entry.map_err(at(&self.root))?.path()))
            .collect()
    }

    /// The folder of a step, for this attempt.
    pub(crate) fn enter(&self, fingerprint: &ContentHash, key: AttemptKey) -> io::Result<PathBuf> {
        let folder = self.root.join(fingerprint.to_string());
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let (path, partial) = (folder.join(ATTEMPT), folder.join(PARTIAL_ATTEMPT));
        // On a full disk the name that stands there stays.
        fs::write(&partial, named(key)).and_then(|()| fs::rename(&partial, &path)).map_err(|error| {
            let _ = fs::remove_file(&partial);
            at(&path)(error)
        })?;
        self.entered().insert(key, folder.clone());
        Ok(folder)
    }

    fn entered(&self) -> MutexGuard<'_, HashMap<AttemptKey, PathBuf>> {
        // Every change is one call: a thread that panicked has left nothing half done.
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This attempt has ended, and its folder stays for the next one.
    pub(crate) fn leave(&self, key: AttemptKey) {
        self.entered().remove(&key);
    }

    /// Removes the folder in which this attempt was the last to work; all are looked at for one of an earlier daemon.
    pub(crate) fn remove(&self, key: AttemptKey) -> io::Result<()> {
        let entered = self.entered().remove(&key);
        for folder in entered.map_or_else(|| self.all(), |folder| Ok(vec![folder]))? {
            if fs::read_to_string(folder.join(ATTEMPT)).is_ok_and(|text| text == named(key)) {
                fs::remove_dir_all(&folder).map_err(at(&folder))?;
            }
        }
        Ok(())
    }
}

fn named(key: AttemptKey) -> String {
    format!("{}.{}\n", key.step, key.attempt)
}

/// The file of that name in a step's folder, if the name is a plain one: no way out of the folder.
pub(crate) fn artifact(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 100
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    plain.then(|| folder.join(name))
}

#[cfg(test)]
mod tests {
    use orchestrator_proto::convert::attempt_key;

    use super::*;

    #[test]
    fn a_folder_stays_for_the_next_attempt_until_it_is_removed_or_old() {
        let root = tempfile::tempdir().unwrap();
        let open = |keep| StepFolders::open(root.path().join("steps"), keep).unwrap();
        let folders = open(Duration::from_hours(1));
        let (one, two) = (ContentHash::of(b"one"), ContentHash::of(b"two"));
        let first = folders.enter(&one, attempt_key(1, 1, 0)).unwrap();
        fs::write(first.join(CHECKPOINT), "weights").unwrap();
        let other = folders.enter(&two, attempt_key(2, 1, 0)).unwrap();
        assert_eq!(folders.enter(&one, attempt_key(1, 2, 0)).unwrap(), first);
        folders.remove(attempt_key(1, 1, 0)).unwrap();
        assert!(first.join(CHECKPOINT).exists(), "a later attempt works here");
        folders.remove(attempt_key(1, 2, 0)).unwrap();
        assert!(!first.exists() && other.exists());
        assert_eq!(folders.entered().len(), 1);
        folders.leave(attempt_key(2, 1, 0));
        assert_eq!(folders.entered().len(), 0);
        let third = folders.enter(&one, attempt_key(1, 3, 0)).unwrap();
        open(Duration::from_hours(1)).remove(attempt_key(1, 3, 0)).unwrap();
        assert!(!third.exists(), "a later daemon finds it too");
        open(Duration::from_hours(1));
        assert!(other.exists());
        std::thread::sleep(Duration::from_millis(20));
        open(Duration::from_millis(10));
        assert!(!other.exists());
    }

    #[test]
    fn names_of_artifacts_lead_nowhere_else() {
        let folder = Path::new("steps/ab");
        assert_eq!(artifact(folder, "model.safetensors"), Some(folder.join("model.safetensors")));
        for bad in ["", "..", ".", "/etc/passwd", "../x", "a/b", ".hidden", "a\0b", &"x".repeat(101)] {
            assert_eq!(artifact(folder, bad), None, "{bad:?}");
        }
    }
}
