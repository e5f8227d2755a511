//! Content from the coordinator, in chunks: what comes is checked against its hash as a whole, and a fetch that broke off
//! goes on where it was.

use std::{
    io::{self, Write},
    time::Duration,
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::{
    MAX_MESSAGE_BYTES,
    content::ContentStore,
    link::Link,
    v1::{GetRequest, blobs_client::BlobsClient},
};
use tonic::Status;

use super::CacheError;

/// A transfer that gets nothing for so long is given up and gone on with.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
const SILENT: &str = "nothing came for 30 s";

/// The coordinator's contents, as they are reached from here.
#[derive(Debug)]
pub(super) struct Transfers(pub(super) BlobsClient<Link>);

/// A refusal of that content.
pub(super) fn refused(hash: &ContentHash) -> impl Fn(Status) -> CacheError + Copy {
    let hash = *hash;
    move |status| CacheError::Refused { hash, status: Box::new(status) }
}

/// Waits no longer than that for an answer.
pub(super) async fn answered<T>(
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
}
