//! What the daemon's parts share.

use std::sync::Arc;

use experiment_spec::ids::AttemptKey;
use orchestrator_proto::{file_hashes::FileHashes, room::Floor};
use tokio::sync::{Notify, mpsc::UnboundedSender};

use crate::{
    cache::Cache, checkpoints::Checkpoints, config::Config, error::WorkerError, identity::FolderLock, lease::Lease,
    outbox::Outbox, step_folder::StepFolders,
};

/// Handed to every attempt.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) outbox: Outbox,
    pub(crate) cache: Cache,
    pub(crate) checkpoints: Checkpoints,
    /// Hashes of this machine's own files of data sets.
    pub(crate) own_files: FileHashes,
    pub(crate) folders: StepFolders,
    pub(crate) lease: Lease,
    pub(crate) floor: Floor,
    pub(crate) runtime: tokio::runtime::Handle,
    /// There is something to report that should not wait for the next poll.
    pub(crate) news: Notify,
    /// One message for each attempt that has ended: never more than there are slots.
    pub(crate) ended: UnboundedSender<AttemptKey>,
    /// Goes with the last of those who write into the folder.
    pub(crate) _lock: FolderLock,
}

impl Shared {
    /// Does something with the outbox away from the async threads: it may wait for the disk.
    pub(crate) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        what: impl FnOnce(&Self) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, WorkerError> {
        let shared = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || what(&shared)).await;
        done.unwrap_or_else(|died| Err(std::io::Error::other(died))).map_err(WorkerError::State)
    }

    /// Polls as soon as may be.
    pub(crate) fn report_soon(&self) {
        self.news.notify_one();
    }

    /// An attempt has ended and its last word is in the outbox.
    pub(crate) fn ended(&self, key: AttemptKey) {
        // Nobody listens when the daemon is gone already.
        let _ = self.ended.send(key);
        self.report_soon();
    }
}
