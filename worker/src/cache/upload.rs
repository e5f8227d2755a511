//! Content to the coordinator, in chunks: an upload that broke off goes on where it was.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use experiment_spec::ids::ContentHash;
use futures::StreamExt;
use orchestrator_proto::{
    CHUNK_BYTES,
    v1::{Chunk, HasRequest},
};
use retrieval::checkpoint::CheckpointFile;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::{
    CacheError,
    transfer::{SILENCE, Transfers, answered, refused},
};
use crate::error::at;

/// After its last part was taken an upload is waited for so long: some of it is still on its way, and then it is synced.
const LAST_PART: Duration = Duration::from_mins(5);

/// What an upload reads.
#[derive(Clone, Debug)]
pub(super) enum Source<'a> {
    /// A file of the store.
    Stored(&'a Path),
    Checkpoint(Arc<CheckpointFile>),
}

impl Transfers {
    /// From where on the coordinator lacks content; none when it has all of it, and from now on it counts as wanted there.
    pub(super) async fn lacks(&self, hash: &ContentHash, checkpoint: bool) -> Result<Option<u64>, CacheError> {
        let mut client = self.0.clone();
        let asked = client.has(HasRequest { hashes: vec![hash.to_string()], checkpoint });
        let answer = answered(SILENCE, asked, "the coordinator does not answer").await.map_err(refused(hash))?;
        let answer = answer.into_inner();
        // A coordinator of before tells of nothing to go on with.
        let partial_bytes = answer.partial_bytes.first().copied().unwrap_or(0);
        Ok((answer.present.first() != Some(&true)).then_some(partial_bytes))
    }

    /// Sends content from that offset on; from its first byte if that does not make a whole of it.
    pub(super) async fn send(&self, source: Source<'_>, hash: &ContentHash, offset: u64) -> Result<(), CacheError> {
        if offset == 0 {
            return self.put(&source, hash, 0).await;
        }
        tracing::info!(%hash, bytes = offset, "an upload goes on where it broke off");
        match self.put(&source, hash, offset).await {
            Err(CacheError::Refused { status, .. }) if matches!(status.code(), Code::OutOfRange | Code::DataLoss) => {
                tracing::info!(%hash, %status, "it begins again");
                self.put(&source, hash, 0).await
            }
            result => result,
        }
    }

    async fn put(&self, source: &Source<'_>, hash: &ContentHash, offset: u64) -> Result<(), CacheError> {
        let (mut client, (taken, was_taken)) = (self.0.clone(), watch::channel(()));
        let (content, bytes_total) = source.open(offset)?;
        let checkpoint = matches!(source, Source::Checkpoint(_));
        let first = Chunk { hash: hash.to_string(), bytes_total, offset, data: Vec::new(), checkpoint };
        let chunks = chunks_of(content, first).inspect(move |_| taken.send_replace(()));
        while_it_moves(client.put(chunks), was_taken, SILENCE, LAST_PART).await.map_err(refused(hash))?;
        Ok(())
    }
}

impl Source<'_> {
    /// Its content from the offset on, and its size in bytes.
    pub(super) fn open(&self, offset: u64) -> io::Result<(Box<dyn Read + Send>, u64)> {
        match self {
            Self::Stored(path) => {
                let mut file = fs::File::open(path).map_err(at(path))?;
                file.seek(SeekFrom::Start(offset)).map_err(at(path))?;
                let bytes = file.metadata().map_err(at(path))?.len();
                Ok((Box::new(file), bytes))
            }
            Self::Checkpoint(file) => {
                let bytes = file.bytes().len();
                let from = usize::try_from(offset).unwrap_or(bytes).min(bytes);
                Ok((Box::new(Mapped { file: Arc::clone(file), at: from }), bytes as u64))
            }
        }
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
    file: Arc<CheckpointFile>,
    at: usize,
}

impl Read for Mapped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&self.file.bytes()[self.at..]).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

/// The chunks of content, like the first one and read as they are sent. A file that cannot be read ends early, and the
/// coordinator refuses what does not match the hash.
fn chunks_of(
    mut content: impl Read + Send + 'static,
    first: Chunk,
) -> impl futures::Stream<Item = Chunk> + Send + 'static {
    let (send, receive) = tokio::sync::mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let mut offset = first.offset;
        loop {
            let mut data = Vec::with_capacity(CHUNK_BYTES);
            let Ok(read) = Read::by_ref(&mut content).take(CHUNK_BYTES as u64).read_to_end(&mut data) else { return };
            // At least one chunk, also of empty content and where all of it was taken before.
            if read == 0 && offset > first.offset {
                return;
            }
            if send.blocking_send(Chunk { offset, data, ..first.clone() }).is_err() || read == 0 {
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
