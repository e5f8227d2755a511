//! Files of the data sets that this coordinator has: workers that lack them get them by content hash, straight from where
//! they are. Nothing is copied.

use std::path::PathBuf;

use experiment_spec::{ids::ContentHash, run::StepSpec};
use orchestrator_proto::file_hashes::FileHashes;

use crate::{service::handle::Assignment, store::scores::Artifact};

/// A data set on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSetFiles {
    /// Its key.
    pub key: String,
    /// Its version, as the catalog has it.
    pub version: String,
    /// Each file as `folder/name`, and where it is.
    pub files: Vec<(String, PathBuf)>,
}

/// All of them. Its methods read files: not to be called from an async task.
#[derive(Debug)]
pub(crate) struct DataFiles {
    sets: Vec<DataSetFiles>,
    hashes: FileHashes,
}

impl DataFiles {
    pub(crate) fn new(sets: Vec<DataSetFiles>) -> Self {
        Self { sets, hashes: FileHashes::default() }
    }

    /// The files that an assignment reads, if it is an extraction of a data set that has any here. None of them when one
    /// cannot be read: a worker may have the data set itself.
    pub(crate) fn of(&self, assignment: &Assignment) -> Vec<Artifact> {
        let is_run = !assignment.told.features.is_empty();
        if is_run || self.sets.is_empty() {
            return Vec::new();
        }
        let Ok(StepSpec::Extraction(spec)) = serde_json::from_str(&assignment.told.spec_json) else {
            return Vec::new();
        };
        let is_read = |set: &&DataSetFiles| set.key == spec.data_set && set.version == spec.data_set_version;
        let named = self.sets.iter().find(is_read).into_iter().flat_map(|set| &set.files).map(|(name, path)| {
            let hashed = self.hashes.of(path);
            hashed
                .map(|(hash, bytes)| Artifact { name: name.clone(), hash, bytes, removed_at_ms: None })
                .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "workers get no such data set"))
        });
        named.collect::<Result<_, _>>().unwrap_or_default()
    }

    /// Where content of that hash is, and its size in bytes.
    pub(crate) fn find(&self, hash: &ContentHash) -> Option<(PathBuf, u64)> {
        let files = self.sets.iter().flat_map(|set| &set.files);
        let found = files.filter_map(|(_, path)| Some((path, self.hashes.of(path).ok()?)));
        found.into_iter().find(|(_, (found, _))| found == hash).map(|(path, (_, bytes))| (path.clone(), bytes))
    }
}
