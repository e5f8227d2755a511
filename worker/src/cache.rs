//! Content by hash on this node: fetched from the coordinator when it is not here, verified before it is used.

use std::{
    collections::HashMap,
    fs, io,
    io::{Read, Write},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use experiment_spec::{ids::ContentHash, run::FailureKind};
use orchestrator_proto::{
    CHUNK_BYTES, MAX_MESSAGE_BYTES,
    content::ContentStore,
    link::Link,
    v1::{Artifact, Chunk, GetRequest, HasRequest, blobs_client::BlobsClient},
};
use retrieval::checkpoint::CheckpointFile;

use crate::{backoff::Backoff, error::at};

/// A transfer that gets nothing for so long is given up and begun again.
const SILENCE: Duration = Duration::from_secs(30);
/// An upload slower than this is given up and begun again.
const SLOWEST_BYTES_PER_SECOND: u64 = 100_000;
/// How often a transfer that the coordinator refuses is tried.
const TRIES: u32 = 5;

/// Why content could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("{0}")]
    Disk(#[from] io::Error),
    #[error("the coordinator does not have {0}; make the features again")]
    Absent(ContentHash),
    #[error("content {hash} could not be fetched: {status}")]
    Refused { hash: ContentHash, status: Box<tonic::Status> },
    #[error("{path} is damaged and there is no other copy; make it again", path = .0.display())]
    Damaged(PathBuf),
}

impl CacheError {
    /// Whether the coordinator could not be reached: what it has not refused may be tried again.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if is_away(status))
    }

    /// How an attempt fails that needed the content: on another worker's disk there may be room.
    pub(crate) fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Disk(_) => FailureKind::Killed,
            Self::Absent(_) | Self::Refused { .. } | Self::Damaged(_) => FailureKind::Data,
        }
    }
}

/// The content cache of a worker.
#[derive(Debug)]
pub(crate) struct Cache {
    blobs: ContentStore,
    /// The store is the coordinator's own: there is no other copy to fetch.
    shared: bool,
    client: BlobsClient<Link>,
    /// Content that this daemon has read and found whole, with the size and time its file had then.
    verified: Mutex<HashMap<ContentHash, (u64, SystemTime)>>,
    /// One transfer at a time: attempts of one data set ask for the same content.
    transfer: tokio::sync::Mutex<()>,
}

impl Cache {
    pub(crate) fn new(blobs: ContentStore, shared: bool, link: Link) -> Self {
        let client = BlobsClient::new(link)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { blobs, shared, client, verified: Mutex::default(), transfer: tokio::sync::Mutex::default() }
    }

    /// Path of content that is whole; fetched if it is not here. `bytes` is its size, 0 = not known.
    pub(crate) async fn ensure(&self, hash: &ContentHash, bytes: u64) -> Result<PathBuf, CacheError> {
        let path = self.blobs.path(hash);
        if self.is_whole(hash).await? {
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
            let refused = match self.fetch(hash, bytes).await {
                Ok(()) => continue,
                Err(CacheError::Refused { status, .. }) if status.code() == tonic::Code::NotFound => {
                    return Err(CacheError::Absent(*hash));
                }
                Err(error @ CacheError::Refused { .. }) => error,
                Err(error) => return Err(error),
            };
            // A coordinator that is away comes back: the attempt waits for it, as a poll does.
            if !matches!(&refused, CacheError::Refused { status, .. } if is_away(status)) {
                tries += 1;
                if tries == TRIES {
                    return Err(refused);
                }
            }
            tracing::warn!(error = %refused, "trying again");
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Reads content through once; later calls only look whether its file has changed.
    async fn is_whole(&self, hash: &ContentHash) -> io::Result<bool> {
        let stamp = |path: PathBuf| fs::metadata(path).and_then(|m| Ok((m.len(), m.modified()?))).ok();
        let known =
            |hash: &ContentHash| self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(hash).copied();
        let Some(now) = stamp(self.blobs.path(hash)) else { return Ok(false) };
        if known(hash) == Some(now) {
            return Ok(true);
        }
        let (blobs, wanted) = (self.blobs.clone(), *hash);
        let whole = tokio::task::spawn_blocking(move || blobs.verify(&wanted)).await.map_err(io::Error::other)??;
        if whole {
            self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(*hash, now);
        } else {
            tracing::warn!(path = %self.blobs.path(hash).display(), "content is damaged");
        }
        Ok(whole)
    }

    async fn fetch(&self, hash: &ContentHash, bytes: u64) -> Result<(), CacheError> {
        let refused = |status: tonic::Status| CacheError::Refused { hash: *hash, status: Box::new(status) };
        let silent = |_| refused(tonic::Status::deadline_exceeded("nothing came for 30 s"));
        let request = GetRequest { hash: hash.to_string(), offset: 0 };
        let mut client = self.client.clone();
        let answer = tokio::time::timeout(SILENCE, client.get(request)).await.map_err(silent)?.map_err(refused)?;
        let mut chunks = answer.into_inner();
        let mut writer = self.blobs.writer()?;
        while let Some(chunk) =
            tokio::time::timeout(SILENCE, chunks.message()).await.map_err(silent)?.map_err(refused)?
        {
            let wrong = |why: &str| Err(refused(tonic::Status::data_loss(why.to_owned())));
            if chunk.offset != writer.bytes() {
                return wrong("a part is missing");
            }
            if bytes > 0 && writer.bytes() + chunk.data.len() as u64 > bytes {
                return wrong("more content came than was announced");
            }
            // Chunks are small: writing one to the page cache is no wait to speak of.
            writer.write_all(&chunk.data)?;
        }
        let expected = *hash;
        match tokio::task::spawn_blocking(move || writer.finish(Some(expected))).await.map_err(io::Error::other)? {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(refused(tonic::Status::data_loss(error.to_string())))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes sure that the coordinator has these artifacts, sending what it lacks.
    ///
    /// # Errors
    /// [`CacheError::Damaged`] when one is lost here as well; everything else may be tried again.
    pub(crate) async fn upload(&self, artifacts: &[Artifact]) -> Result<(), CacheError> {
        for artifact in artifacts {
            let damaged = || CacheError::Damaged(PathBuf::from(&artifact.name));
            let hash: ContentHash = artifact.hash.parse().map_err(|_| damaged())?;
            let refused = |status: tonic::Status| CacheError::Refused { hash, status: Box::new(status) };
            let mut client = self.client.clone();
            let late = |_| refused(tonic::Status::deadline_exceeded("the coordinator does not answer"));
            let asked = client.has(HasRequest { hashes: vec![hash.to_string()], checkpoint: false });
            let asked = tokio::time::timeout(SILENCE, asked).await.map_err(late)?.map_err(refused)?;
            if asked.into_inner().present.first() == Some(&true) {
                continue;
            }
            if !self.is_whole(&hash).await? {
                return Err(CacheError::Damaged(self.blobs.path(&hash)));
            }
            let patience = SILENCE + Duration::from_secs(artifact.bytes / SLOWEST_BYTES_PER_SECOND);
            let file = fs::File::open(self.blobs.path(&hash)).map_err(at(&self.blobs.path(&hash)))?;
            let put = client.put(chunks_of(file, artifact.bytes, &hash, false));
            tokio::time::timeout(patience, put).await.map_err(late)?.map_err(refused)?;
        }
        Ok(())
    }

    /// Makes sure that the coordinator has a checkpoint.
    ///
    /// # Errors
    /// Whatever the coordinator answers.
    pub(crate) async fn send_checkpoint(&self, file: CheckpointFile, hash: ContentHash) -> Result<(), CacheError> {
        let refused = |status: tonic::Status| CacheError::Refused { hash, status: Box::new(status) };
        let late = |_| refused(tonic::Status::deadline_exceeded("the coordinator does not answer"));
        let mut client = self.client.clone();
        let asked = client.has(HasRequest { hashes: vec![hash.to_string()], checkpoint: true });
        let asked = tokio::time::timeout(SILENCE, asked).await.map_err(late)?.map_err(refused)?;
        if asked.into_inner().present.first() == Some(&true) {
            return Ok(());
        }
        let bytes = file.bytes().len() as u64;
        let patience = SILENCE + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
        let put = client.put(chunks_of(Mapped { file, at: 0 }, bytes, &hash, true));
        tokio::time::timeout(patience, put).await.map_err(late)?.map_err(refused)?;
        Ok(())
    }
}

/// Reads a checkpoint that is mapped into memory.
struct Mapped {
    file: CheckpointFile,
    at: usize,
}

impl Read for Mapped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&self.file.bytes()[self.at..]).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

/// Whether the coordinator could not be reached, rather than refused something.
fn is_away(status: &tonic::Status) -> bool {
    use tonic::Code::{Aborted, Cancelled, DeadlineExceeded, Unavailable, Unknown};
    matches!(status.code(), Unavailable | DeadlineExceeded | Cancelled | Unknown | Aborted)
}

/// The chunks of a file of so many bytes, read as they are sent. A file that cannot be read ends early, and the
/// coordinator refuses what does not match the hash.
fn chunks_of(
    mut file: impl Read + Send + 'static,
    bytes_total: u64,
    hash: &ContentHash,
    checkpoint: bool,
) -> impl futures::Stream<Item = Chunk> + Send + 'static {
    let name = hash.to_string();
    let (send, receive) = tokio::sync::mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let mut offset = 0;
        loop {
            let mut data = Vec::with_capacity(CHUNK_BYTES);
            let Ok(read) = Read::by_ref(&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut data) else { return };
            if read == 0 && offset > 0 {
                return;
            }
            let chunk = Chunk { hash: name.clone(), bytes_total, offset, data, checkpoint };
            if send.blocking_send(chunk).is_err() || read == 0 {
                return;
            }
            offset += read as u64;
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receive)
}
