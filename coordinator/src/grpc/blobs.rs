//! Content by hash over the wire: chunks out, verified chunks in.

use std::{
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::Arc,
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::{
    CHUNK_BYTES,
    content::{BlobWriter, ContentStore},
    convert, v1,
};
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking, time::timeout};
use tonic::{Request, Response, Status, Streaming};

use super::streams::{Messages, Outlet, outlet};
use crate::coordinator::Shared;

/// Chunks read ahead of a client.
const CHUNKS_AHEAD: usize = 16;
/// Contents on their way at a time, over all clients.
pub(crate) const MAX_TRANSFERS: usize = 64;
/// Most hashes in one question.
const MAX_HASHES: usize = 10_000;
/// Largest content that is taken: embeddings and models of the largest data sets are far below.
const MAX_BLOB_BYTES: u64 = 64 << 30;

/// The service `Blobs`.
#[derive(Debug)]
pub(crate) struct Blobs(pub(crate) Shared);

#[tonic::async_trait]
impl v1::blobs_server::Blobs for Blobs {
    async fn has(&self, request: Request<v1::HasRequest>) -> Result<Response<v1::HasResponse>, Status> {
        let v1::HasRequest { hashes, checkpoint } = request.into_inner();
        if hashes.len() > MAX_HASHES {
            let sentence = format!("hashes: {}, at most {MAX_HASHES} are taken", hashes.len());
            return Err(Status::invalid_argument(sentence));
        }
        let hashes: Result<Vec<_>, _> = hashes.iter().map(|hash| convert::hash("hashes", hash)).collect();
        let hashes = hashes.map_err(|e| refused(&e))?;
        let content = self.store(checkpoint);
        let looked = spawn_blocking(move || {
            let look = |hash| if content.want(hash) { (true, 0) } else { (false, content.partial_bytes(hash)) };
            hashes.iter().map(look).unzip()
        });
        let (present, partial_bytes) = looked.await.map_err(|e| gone(&e))?;
        Ok(Response::new(v1::HasResponse { present, partial_bytes }))
    }

    type GetStream = Messages<v1::Chunk>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let cut = request.extensions().get().cloned();
        let request = request.into_inner();
        let (outlet, chunks) = outlet(CHUNKS_AHEAD, self.0.config.stall, cut, self.turn().await?);
        let (stores, data) = ([self.store(false), self.store(true)], Arc::clone(&self.0.data_files));
        spawn_blocking(move || {
            let find = |hash: &ContentHash| {
                let in_store = |store: &Arc<ContentStore>| {
                    Some(Source { path: store.path(hash), bytes: store.bytes(hash)?, store: Some(Arc::clone(store)) })
                };
                let in_data = || data.find(hash).map(|(path, bytes)| Source { path, bytes, store: None });
                stores.iter().find_map(in_store).or_else(in_data)
            };
            if let Err(status) = send(find, &request, &outlet) {
                // The client may be gone; then nobody needs the reason.
                outlet.pass_waiting(Err(status));
            }
        });
        Ok(Response::new(chunks))
    }

    async fn put(&self, request: Request<Streaming<v1::Chunk>>) -> Result<Response<v1::PutResponse>, Status> {
        let mut chunks = request.into_inner();
        let _turn = self.turn().await?;
        let Some(first) = self.next_chunk(&mut chunks).await? else {
            return Err(Status::invalid_argument("the first chunk is missing: it names the hash and the size"));
        };
        let hash = convert::hash("hash", &first.hash).map_err(|e| refused(&e))?;
        let total = first.bytes_total;
        if total > MAX_BLOB_BYTES {
            return Err(Status::invalid_argument(format!("bytes_total: {total}, at most {MAX_BLOB_BYTES} are taken")));
        }
        if let Some(why) = self.0.live.halted().filter(|_| first.checkpoint) {
            return Err(Status::resource_exhausted(format!("no checkpoint is taken: {why}")));
        }
        let content = self.store(first.checkpoint);
        if content.want(&hash) {
            return Ok(Response::new(v1::PutResponse { already_present: true }));
        }
        let offset = first.offset;
        let begun = spawn_blocking(move || begin(&content, &hash, offset, total));
        let mut writer = begun.await.map_err(|e| gone(&e))??;
        let mut next = Some(first);
        while let Some(chunk) = next {
            if chunk.offset != writer.bytes() {
                let sentence = format!("offset: expected {}, found {}", writer.bytes(), chunk.offset);
                return Err(Status::invalid_argument(sentence));
            }
            if writer.bytes() + chunk.data.len() as u64 > total {
                writer.discard();
                return Err(Status::invalid_argument(format!(
                    "more than the {total} bytes that the first chunk names"
                )));
            }
            let write = spawn_blocking(move || writer.write_all(&chunk.data).map(|()| writer));
            writer = write.await.map_err(|e| gone(&e))?.map_err(|e| disk(&e))?;
            next = self.next_chunk(&mut chunks).await?;
        }
        if writer.bytes() != total {
            let sentence = format!("content ends after {} of {total} bytes", writer.bytes());
            return Err(Status::invalid_argument(sentence));
        }
        spawn_blocking(move || writer.finish(Some(hash))).await.map_err(|e| gone(&e))?.map_err(|e| disk(&e))?;
        self.0.contents.came(total);
        Ok(Response::new(v1::PutResponse { already_present: false }))
    }
}

impl Blobs {
    /// Waits until there is room for one more transfer.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Status> {
        let turn = timeout(self.0.config.stall, Arc::clone(&self.0.transfers).acquire_owned()).await;
        let busy = || Status::unavailable(format!("{MAX_TRANSFERS} contents are on their way; try again"));
        turn.map_err(|_| busy())?.map_err(|_| busy())
    }

    /// The next part of what a client sends; one that stops sending is not waited for.
    async fn next_chunk(&self, chunks: &mut Streaming<v1::Chunk>) -> Result<Option<v1::Chunk>, Status> {
        let stall = self.0.config.stall;
        let next = timeout(stall, chunks.message()).await;
        next.map_err(|_| Status::deadline_exceeded(format!("nothing came for {} s", stall.as_secs())))?
    }

    /// Where content is kept: what the record names, or what goes when its step needs it no more.
    fn store(&self, checkpoint: bool) -> Arc<ContentStore> {
        let contents = &self.0.contents;
        Arc::clone(if checkpoint { &contents.checkpoints } else { &contents.blobs })
    }
}

/// Where content is.
struct Source {
    path: PathBuf,
    bytes: u64,
    /// None: it is a file of a data set, which is not ours.
    store: Option<Arc<ContentStore>>,
}

impl Source {
    /// All of it was read and it is not what its hash says: nobody is to believe that it is here.
    fn set_aside(self, hash: &ContentHash) -> Status {
        let path = self.path.display();
        tracing::error!(%path, "content is damaged");
        match self.store.map(|store| store.remove(hash)) {
            None => Status::data_loss(format!("{path} changed while it was read; try again when nobody writes to it")),
            Some(Ok(())) => Status::data_loss(format!("{path} was damaged and has been removed")),
            Some(Err(error)) => Status::data_loss(format!("{path} is damaged and could not be removed: {error}")),
        }
    }
}

/// Goes on with an upload at the offset where it broke off, or begins it. What breaks off is kept for the next try.
fn begin(content: &ContentStore, hash: &ContentHash, offset: u64, total: u64) -> Result<BlobWriter, Status> {
    let mut writer = content.resume(hash).map_err(|e| disk(&e))?;
    if offset == 0 && writer.bytes() > 0 {
        writer.begin_again().map_err(|e| disk(&e))?;
    }
    if writer.bytes() != offset || offset > total {
        let sentence = format!("offset: {} of {total} bytes are here, found {offset}; begin at 0", writer.bytes());
        return Err(Status::out_of_range(sentence));
    }
    Ok(writer)
}

/// Reads a blob from the offset on, chunk by chunk, as fast as the client takes them. What is sent from its beginning is
/// checked on the way: who gets the last part has had whole content.
fn send(
    find: impl Fn(&ContentHash) -> Option<Source>,
    request: &v1::GetRequest,
    outlet: &Outlet<v1::Chunk>,
) -> Result<(), Status> {
    let hash = convert::hash("hash", &request.hash).map_err(|e| refused(&e))?;
    let Some(source) = find(&hash) else {
        return Err(Status::not_found(format!("there is no content {hash}")));
    };
    let total = source.bytes;
    if request.offset > total {
        return Err(Status::out_of_range(format!("offset: {} is past the {total} bytes of {hash}", request.offset)));
    }
    let mut file = std::fs::File::open(&source.path).map_err(|e| disk(&e))?;
    file.seek(SeekFrom::Start(request.offset)).map_err(|e| disk(&e))?;
    let mut offset = request.offset;
    let mut hasher = (offset == 0).then(blake3::Hasher::new);
    // At least one chunk, so that the size is told also of empty content.
    loop {
        let mut data = Vec::with_capacity(CHUNK_BYTES);
        (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut data).map_err(|e| disk(&e))?;
        let read = data.len() as u64;
        let is_last = read == 0 || offset + read >= total;
        if let Some(hasher) = &mut hasher {
            hasher.update(&data);
            if is_last && ContentHash::from_bytes(*hasher.finalize().as_bytes()) != hash {
                return Err(source.set_aside(&hash));
            }
        }
        let chunk = v1::Chunk { hash: request.hash.clone(), bytes_total: total, offset, data, checkpoint: false };
        if !outlet.pass_waiting(Ok(chunk)) {
            return Ok(());
        }
        offset += read;
        if is_last {
            return Ok(());
        }
    }
}

fn refused(error: &convert::WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn gone(error: &tokio::task::JoinError) -> Status {
    Status::internal(format!("a blob could not be worked on: {error}"))
}

/// What an error of the content store means for a client.
fn disk(error: &std::io::Error) -> Status {
    match error.kind() {
        std::io::ErrorKind::InvalidData => Status::data_loss(error.to_string()),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Status::resource_exhausted(format!("the disk that holds the blobs is full: {error}"))
        }
        _ => Status::internal(error.to_string()),
    }
}
