//! Content between this node and the coordinator, in chunks: what comes is checked against its hash as a whole, and a
//! transfer that broke off goes on where it was.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    pin::pin,
    time::Duration,
};

use experiment_spec::ids::ContentHash;
use futures::StreamExt;
use orchestrator_proto::{
    CHUNK_BYTES, MAX_MESSAGE_BYTES,
    content::ContentStore,
    link::Link,
    v1::{Chunk, GetRequest, HasRequest, blobs_client::BlobsClient},
};
use retrieval::checkpoint::CheckpointFile;
use tokio::sync::watch;

use tonic::Status;

use super::CacheError;
use crate::error::at;

/// A transfer that gets nothing for so long is given up and gone on with.
const SILENCE: Duration = Duration::from_secs(30);
const SILENT: &str = "nothing came for 30 s";
/// After its last part was taken an upload is waited for so long: some of it is still on its way, and then it is synced.
const LAST_PART: Duration = Duration::from_mins(5);

/// The coordinator's contents, as they are reached from here.
#[derive(Debug)]
pub(super) struct Transfers(BlobsClient<Link>);

/// A refusal of that content.
fn refused(hash: &ContentHash) -> impl Fn(Status) -> CacheError + Copy {
    let hash = *hash;
    move |status| CacheError::Refused { hash, status: Box::new(status) }
}

/// Waits no longer than that for an answer.
async fn answered<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Status>>,
    what: &'static str,
) -> Result<T, Status> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(Status::deadline_exceeded(what)))
}

impl Transfers {
    pub(super) fn new(link: Link) -> Self {
        let client = BlobsClient::new(link)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self(client)
    }

    /// Fetches content into the store, from where an earlier fetch of it broke off. `bytes` is its size, 0 = not known.
    pub(super) async fn fetch(&self, blobs: &ContentStore, hash: &ContentHash, bytes: u64) -> Result<(), CacheError> {
        let (store, expected) = (blobs.clone(), *hash);
        let resumed = tokio::task::spawn_blocking(move || store.resume(&expected)).await.map_err(io::Error::other)?;
        let mut writer = resumed?;
        if writer.bytes() > 0 {
            tracing::info!(%hash, bytes = writer.bytes(), "a fetch goes on where it broke off");
        }
        let request = GetRequest { hash: hash.to_string(), offset: writer.bytes() };
        let mut client = self.0.clone();
        let refused = refused(hash);
        let mut chunks = match answered(SILENCE, client.get(request), SILENT).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                if status.code() == tonic::Code::OutOfRange {
                    writer.discard();
                }
                return Err(refused(status));
            }
        };
        let wrong = |why: &str| Err(refused(Status::data_loss(why.to_owned())));
        let mut total = bytes;
        loop {
            let chunk = match answered(SILENCE, chunks.message(), SILENT).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(status) => {
                    if status.code() == tonic::Code::OutOfRange {
                        writer.discard();
                    }
                    return Err(refused(status));
                }
            };
            if chunk.offset != writer.bytes() {
                return wrong("a part is missing");
            }
            total = if bytes > 0 { bytes } else { chunk.bytes_total };
            if writer.bytes() + chunk.data.len() as u64 > total {
                writer.discard();
                return wrong("more content came than was announced");
            }
            // Chunks are small: writing one to the page cache is no wait to speak of.
            writer.write_all(&chunk.data)?;
        }
        if writer.bytes() < total {
            return wrong("it ended early");
        }
        match tokio::task::spawn_blocking(move || writer.finish(Some(expected))).await.map_err(io::Error::other)? {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => wrong(&error.to_string()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the coordinator has content; from now on it counts as wanted there.
    pub(super) async fn has(&self, hash: &ContentHash, checkpoint: bool) -> Result<bool, CacheError> {
        let mut client = self.0.clone();
        let asked = client.has(HasRequest { hashes: vec![hash.to_string()], checkpoint });
        let answer = answered(SILENCE, asked, "the coordinator does not answer").await.map_err(refused(hash))?;
        Ok(answer.into_inner().present.first() == Some(&true))
    }

    /// Sends a file of the store.
    pub(super) async fn send(&self, path: &Path, hash: &ContentHash) -> Result<(), CacheError> {
        let file = fs::File::open(path).map_err(at(path))?;
        let bytes = file.metadata().map_err(at(path))?.len();
        self.put(file, bytes, hash, false).await
    }

    /// Sends a checkpoint.
    pub(super) async fn send_checkpoint(&self, file: CheckpointFile, hash: &ContentHash) -> Result<(), CacheError> {
        let bytes = file.bytes().len() as u64;
        self.put(Mapped { file, at: 0 }, bytes, hash, true).await
    }

    async fn put(
        &self,
        file: impl Read + Send + 'static,
        bytes: u64,
        hash: &ContentHash,
        checkpoint: bool,
    ) -> Result<(), CacheError> {
        let mut client = self.0.clone();
        let (taken, was_taken) = watch::channel(());
        let chunks = chunks_of(file, bytes, hash, checkpoint).inspect(move |_| taken.send_replace(()));
        while_it_moves(client.put(chunks), was_taken, SILENCE, LAST_PART).await.map_err(refused(hash))?;
        Ok(())
    }
}

/// Waits for an upload however long it is, as long as parts of it are taken; after the last one was, for `last_part`.
async fn while_it_moves<T>(
    upload: impl Future<Output = Result<T, Status>>,
    mut taken: watch::Receiver<()>,
    silence: Duration,
    last_part: Duration,
) -> Result<T, Status> {
    let mut upload = pin!(upload);
    let mut has_more = true;
    loop {
        let patience = if has_more { silence } else { last_part };
        tokio::select! {
            answer = upload.as_mut() => return answer,
            moved = taken.changed(), if has_more => has_more = moved.is_ok(),
            () = tokio::time::sleep(patience) => {
                return Err(Status::deadline_exceeded("the coordinator takes nothing"));
            }
        }
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn an_upload_may_last_as_long_as_it_moves_and_no_longer() {
        let (silence, last_part) = (Duration::from_millis(500), Duration::from_secs(5));
        let (taken, was_taken) = watch::channel(());
        let slow = async move {
            for _ in 0..20 {
                tokio::time::sleep(silence / 10).await;
                taken.send_replace(());
            }
            drop(taken);
            tokio::time::sleep(2 * silence).await;
            Ok(7)
        };
        let began = Instant::now();
        assert_eq!(while_it_moves(slow, was_taken, silence, last_part).await.unwrap(), 7);
        assert!(began.elapsed() > 2 * silence);
        let (taken, was_taken) = watch::channel(());
        let stalled = async move {
            taken.send_replace(());
            tokio::time::sleep(last_part).await;
            drop(taken);
            Ok(7)
        };
        let stalled = while_it_moves(stalled, was_taken, silence, last_part).await;
        assert_eq!(stalled.unwrap_err().code(), tonic::Code::DeadlineExceeded);
    }
}
