//! Content to a mirror: whole or not at all.

use std::{
    io::{self, Read},
    time::Duration,
};

use experiment_spec::ids::ContentHash;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, path::Path};
use tokio::task::spawn_blocking;

use super::{Mirror, MirrorError};

/// Larger content goes in parts of this size, in bytes: a store takes at most ten thousand, 80 GiB.
const PART_BYTES: usize = 8 << 20;
/// One part may take so long, and so may the making of one object of all of them.
const PART: Duration = Duration::from_mins(1);

/// Content on its way, read part by part.
struct Parts {
    content: Box<dyn Read + Send>,
    hasher: blake3::Hasher,
}

impl Mirror {
    /// Puts content of so many bytes into the mirror, unless it is there; `replace` puts it there all the same. Returns
    /// whether anything was sent.
    ///
    /// # Errors
    /// When the mirror is away or refuses, and when what is read is not what the hash says: the mirror is then as before.
    pub async fn put(
        &self,
        hash: &ContentHash,
        bytes: u64,
        content: Box<dyn Read + Send>,
        replace: bool,
    ) -> Result<bool, MirrorError> {
        self.is_there().await?;
        if !replace && self.object(hash).await?.is_some_and(|object| object.bytes == bytes) {
            return Ok(false);
        }
        let (path, parts) = (self.path(hash), Parts { content, hasher: blake3::Hasher::new() });
        if bytes > PART_BYTES as u64 {
            self.put_parts(&path, hash, parts).await?;
        } else {
            let (parts, part) = parts.next().await?;
            let (parts, more) = parts.next().await?;
            if !more.is_empty() {
                return Err(changed(hash));
            }
            parts.ends_as(hash)?;
            self.within(PART, self.store.put(&path, PutPayload::from(part))).await?;
        }
        Ok(true)
    }

    async fn put_parts(&self, path: &Path, hash: &ContentHash, parts: Parts) -> Result<(), MirrorError> {
        let mut upload = self.within(self.answer, self.store.put_multipart(path)).await?;
        let sent = match self.send(upload.as_mut(), hash, parts).await {
            Ok(()) => self.within(PART, upload.complete()).await.map(drop).map_err(MirrorError::from),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            // What cannot be taken back now, the store clears away by its own rules.
            let _ = self.within(self.answer, upload.abort()).await;
        }
        sent
    }

    async fn send(
        &self,
        upload: &mut dyn MultipartUpload,
        hash: &ContentHash,
        mut parts: Parts,
    ) -> Result<(), MirrorError> {
        loop {
            let part;
            (parts, part) = parts.next().await?;
            if part.is_empty() {
                return parts.ends_as(hash);
            }
            self.within(PART, upload.put_part(PutPayload::from(part))).await?;
        }
    }
}

impl Parts {
    /// The next part; an empty one is the end.
    async fn next(mut self) -> io::Result<(Self, Vec<u8>)> {
        let read = spawn_blocking(move || {
            let mut part = Vec::new();
            self.content.by_ref().take(PART_BYTES as u64).read_to_end(&mut part)?;
            self.hasher.update(&part);
            Ok((self, part))
        });
        read.await.map_err(io::Error::other)?
    }

    /// Whether all of them are what they should be.
    fn ends_as(&self, hash: &ContentHash) -> Result<(), MirrorError> {
        if ContentHash::from_bytes(*self.hasher.finalize().as_bytes()) == *hash { Ok(()) } else { Err(changed(hash)) }
    }
}

fn changed(hash: &ContentHash) -> MirrorError {
    MirrorError::Disk(io::Error::new(io::ErrorKind::InvalidData, format!("what is here of {hash} is something else")))
}
