//! Content by hash on this node: fetched from the mirror or the coordinator when it is not here, verified before it is used,
//! and gone again when there is too much of it.

mod mirrored;
pub(crate) mod room;
mod transfer;
mod upload;

use std::{
    collections::HashMap,
    convert::Infallible,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use experiment_spec::{ids::ContentHash, run::FailureKind};
use orchestrator_proto::{content::ContentStore, link::Link, mirror::Mirror, v1::Artifact};
use retrieval::checkpoint::CheckpointFile;

use self::{
    mirrored::{Mirrored, Parcel},
    room::Room,
    transfer::Transfers,
    upload::Source,
};
use crate::backoff::Backoff;

/// How often a transfer that the coordinator refuses is tried.
const TRIES: u32 = 5;

/// Why content could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("{0}")]
    Disk(#[from] io::Error),
    #[error("the coordinator does not have {0}: submit again, and what is missing is made anew")]
    Absent(ContentHash),
    #[error("content {hash} could not be fetched: {status}")]
    Refused { hash: ContentHash, status: Box<tonic::Status> },
    #[error("{path} is damaged and there is no other copy: remove it and submit again, and it is made anew", path = .0.display())]
    Damaged(PathBuf),
}

impl CacheError {
    /// Whether the coordinator could not be reached: what it has not refused may be tried again.
    pub(crate) fn is_away(&self) -> bool {
        use tonic::Code::{Aborted, Cancelled, DeadlineExceeded, Unavailable, Unknown};
        let Self::Refused { status, .. } = self else { return false };
        matches!(status.code(), Unavailable | DeadlineExceeded | Cancelled | Unknown | Aborted)
    }

    /// How an attempt fails that needed the content: on another worker's disk there may be room.
    pub(crate) fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Disk(_) => FailureKind::Killed,
            Self::Absent(_) | Self::Refused { .. } | Self::Damaged(_) => FailureKind::Data,
        }
    }
}

/// Size of a file, and when it was last changed or used.
type Stamp = (u64, SystemTime);

/// The content cache of a worker.
#[derive(Debug)]
pub(crate) struct Cache {
    blobs: ContentStore,
    /// The store is the coordinator's own: there is no other copy to fetch.
    shared: bool,
    transfers: Transfers,
    /// Asked before the coordinator.
    mirror: Option<Mirrored>,
    pub(crate) room: Arc<Room>,
    /// Content that this daemon has read and found whole, with the stamp of its file then.
    verified: Mutex<HashMap<ContentHash, Stamp>>,
    /// One transfer at a time: attempts of one data set ask for the same content.
    transfer: tokio::sync::Mutex<()>,
}

impl Cache {
    /// A cache of so many bytes, 0 = without a limit. What the coordinator shares is its own to look after.
    pub(crate) fn new(blobs: ContentStore, shared: bool, limit_bytes: u64, link: Link, mirror: Option<Mirror>) -> Self {
        let limit = (limit_bytes > 0 && !shared).then_some(limit_bytes);
        Self {
            room: Arc::new(Room::new(blobs.clone(), limit)),
            blobs,
            shared,
            transfers: Transfers::new(link),
            mirror: mirror.filter(|_| !shared).map(Mirrored::new),
            verified: Mutex::default(),
            transfer: tokio::sync::Mutex::default(),
        }
    }

    /// Path of content that is whole; fetched if it is not here. `bytes` is its size, 0 = not known. It may go again
    /// unless the caller holds on to it.
    pub(crate) async fn ensure(&self, hash: &ContentHash, bytes: u64) -> Result<PathBuf, CacheError> {
        let path = self.blobs.path(hash);
        if self.is_whole(hash).await? {
            self.note_use(hash);
            return Ok(path);
        }
        let _one = self.transfer.lock().await;
        let mut backoff = Backoff::new();
        let mut tries = 0;
        loop {
            if self.is_whole(hash).await? {
                return Ok(path);
            }
            if self.shared && self.blobs.has(hash) {
                return Err(CacheError::Damaged(path));
            }
            let room = Arc::clone(&self.room);
            tokio::task::spawn_blocking(move || room.tidy(bytes)).await.map_err(io::Error::other)?;
            if let Some(mirror) = &self.mirror
                && mirror.fetch(&self.blobs, hash, bytes).await?
            {
                continue;
            }
            let refused = match self.transfers.fetch(&self.blobs, hash, bytes).await {
                Ok(()) => {
                    self.offer(*hash);
                    continue;
                }
                Err(CacheError::Refused { status, .. }) if status.code() == tonic::Code::NotFound => {
                    return Err(CacheError::Absent(*hash));
                }
                Err(error @ CacheError::Refused { .. }) => error,
                Err(error) => return Err(error),
            };
            // A coordinator that is away comes back: the attempt waits for it, as a poll does.
            if !refused.is_away() {
                tries += 1;
                if tries == TRIES {
                    return Err(refused);
                }
            }
            tracing::warn!(error = %refused, "trying again");
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    fn verified(&self) -> MutexGuard<'_, HashMap<ContentHash, Stamp>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self, hash: &ContentHash) -> Option<Stamp> {
        fs::metadata(self.blobs.path(hash)).and_then(|metadata| Ok((metadata.len(), metadata.modified()?))).ok()
    }

    /// Reads content through once; later calls only look whether its file has changed.
    async fn is_whole(&self, hash: &ContentHash) -> io::Result<bool> {
        let Some(now) = self.stamp(hash) else { return Ok(false) };
        if self.verified().get(hash) == Some(&now) {
            return Ok(true);
        }
        let (blobs, wanted) = (self.blobs.clone(), *hash);
        let whole = tokio::task::spawn_blocking(move || blobs.verify(&wanted)).await.map_err(io::Error::other)??;
        if whole {
            self.verified().insert(*hash, now);
        } else {
            tracing::warn!(path = %self.blobs.path(hash).display(), "content is damaged");
        }
        Ok(whole)
    }

    /// Content that was found whole is used: it goes later than what was not. It need not be read again for that.
    fn note_use(&self, hash: &ContentHash) {
        let mut verified = self.verified();
        let before = self.stamp(hash);
        if before.is_some() && verified.get(hash) == before.as_ref() && self.blobs.want(hash) {
            verified.extend(self.stamp(hash).map(|stamp| (*hash, stamp)));
        }
    }

    /// Makes sure that the coordinator has these artifacts, sending what it lacks.
    ///
    /// # Errors
    /// [`CacheError::Damaged`] when one is lost here as well; everything else may be tried again.
    pub(crate) async fn upload(&self, artifacts: &[Artifact]) -> Result<(), CacheError> {
        for artifact in artifacts {
            let hash: ContentHash =
                artifact.hash.parse().map_err(|_| CacheError::Damaged(PathBuf::from(&artifact.name)))?;
            let Some(offset) = self.transfers.lacks(&hash, false).await? else { continue };
            if !self.is_whole(&hash).await? {
                return Err(CacheError::Damaged(self.blobs.path(&hash)));
            }
            self.transfers.send(Source::Stored(&self.blobs.path(&hash)), &hash, offset).await?;
        }
        Ok(())
    }

    /// Others will fetch this content: the mirror is to have it.
    pub(crate) fn offer(&self, hash: ContentHash) {
        if let Some(mirror) = &self.mirror {
            mirror.offer(Parcel { hash, checkpoint: None });
        }
    }

    /// Gives the mirror, if there is one, what it is to have, as long as the daemon works.
    pub(crate) async fn keep_mirroring(&self) -> Infallible {
        match &self.mirror {
            Some(mirror) => mirror.keep_sending(&self.blobs).await,
            None => std::future::pending().await,
        }
    }

    /// Makes sure that the coordinator has a checkpoint.
    ///
    /// # Errors
    /// Whatever the coordinator answers.
    pub(crate) async fn send_checkpoint(&self, file: CheckpointFile, hash: ContentHash) -> Result<(), CacheError> {
        let Some(offset) = self.transfers.lacks(&hash, true).await? else { return Ok(()) };
        let file = Arc::new(file);
        self.transfers.send(Source::Checkpoint(Arc::clone(&file)), &hash, offset).await?;
        if let Some(mirror) = &self.mirror {
            mirror.offer(Parcel { hash, checkpoint: Some(file) });
        }
        Ok(())
    }
}
