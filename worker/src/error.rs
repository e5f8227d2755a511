//! What ends a worker daemon. What ends an attempt is a report, never an error of the daemon.

use std::{io, path::Path, path::PathBuf};

/// An error of the worker daemon.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The state folder or the content cache cannot be used; the message names the path.
    #[error("the worker's state cannot be used: {0}")]
    State(#[source] io::Error),
    /// Another daemon works in the same folder.
    #[error("{folder} is held by another worker (process {holder}); stop it, or give this one a folder of its own", folder = folder.display())]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Process id of the other daemon, as it wrote it.
        holder: String,
    },
    /// A setting cannot be met on this machine.
    #[error("{0}")]
    Setting(String),
    /// The coordinator does not take this worker.
    #[error("the coordinator refuses this worker: {0}")]
    Refused(String),
}

/// Puts the path in front of what the operating system says.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}
