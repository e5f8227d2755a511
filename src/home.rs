//! The state folder: `$ORCHESTRATOR_HOME`, else the platform's data folder. Nothing is written elsewhere
//! without being told.

use std::path::{Path, PathBuf};

use retrieval::datasets::folders::DataFolders;

use crate::exit::{Failure, Outcome};

/// Paths inside a state folder.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    root: PathBuf,
}

impl Home {
    /// The folder named on the command line or by the environment (both through clap), else the
    /// platform's own.
    pub(crate) fn resolve(named: Option<PathBuf>) -> Outcome<Self> {
        let root = match named {
            Some(root) => std::path::absolute(&root)
                .map_err(|error| Failure::request(format!("state folder {}: {error}", root.display())))?,
            None => directories::ProjectDirs::from("", "", "orchestrator")
                .ok_or_else(|| {
                    Failure::request("no home folder is known here; set ORCHESTRATOR_HOME to a folder of yours")
                })?
                .data_dir()
                .to_path_buf(),
        };
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where data sets are looked for: in the folders that were named, then in `data` in the state folder.
    pub(crate) fn data_folders(&self, named: &[PathBuf]) -> DataFolders {
        let named = named.iter().filter(|folder| !folder.as_os_str().is_empty());
        // An attempt has a working folder of its own. A folder that cannot be made absolute is looked in as named.
        let whole = named.map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.clone()));
        DataFolders(whole.chain([self.root.join("data")]).collect())
    }

    /// Content-addressed blobs of the coordinator.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// State of the worker that `run` starts in place.
    pub(crate) fn local_worker(&self) -> PathBuf {
        self.root.join("worker")
    }

    /// Tables and figures of a submission.
    pub(crate) fn report(&self, submission: &str) -> PathBuf {
        self.root.join("reports").join(submission)
    }

    /// Where a running coordinator writes its address, so that other commands on this machine find it.
    pub(crate) fn endpoint(&self) -> PathBuf {
        self.root.join("endpoint")
    }

    /// The authority and the tokens of a coordinator that listens on a network.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.root.join("credentials.toml")
    }

    /// Whether a coordinator has ever worked here.
    pub(crate) fn has_database(&self) -> bool {
        self.root.join("orchestrator.db").exists()
    }
}
