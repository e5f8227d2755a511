//! Content from a mirror into a store: checked as it arrives, gone on with where it broke off.

use std::{
    io::{self, Write},
    time::Duration,
};

use experiment_spec::ids::ContentHash;
use futures::TryStreamExt;
use object_store::{GetOptions, GetRange};
use tokio::{task::spawn_blocking, time::Instant};

use super::{Mirror, MirrorError};
use crate::content::{BlobWriter, ContentStore};

/// A mirror that brings less than this over a fetch is slow: bytes in a second.
const MIN_RATE: u32 = 64 << 10;

impl Mirror {
    /// Fetches content into the store, from where an earlier fetch of it broke off, from wherever it came; false when the
    /// mirror lacks it. `bytes` is its size, 0 = not known. What breaks off here is gone on with by whoever fetches next.
    ///
    /// # Errors
    /// When the mirror is away, slow, or has something else under that hash.
    pub async fn fetch(&self, store: &ContentStore, hash: &ContentHash, bytes: u64) -> Result<bool, MirrorError> {
        let Some(object) = self.object(hash).await? else { return Ok(false) };
        let total = object.bytes;
        if bytes > 0 && total != bytes {
            return Err(self.damaged(hash, &format!("{total} bytes instead of {bytes}")));
        }
        let (resumed, expected) = (store.clone(), *hash);
        let mut writer = spawn_blocking(move || resumed.resume(&expected)).await.map_err(io::Error::other)??;
        if writer.bytes() > total {
            writer.begin_again()?;
        }
        if writer.bytes() > 0 {
            match self.whole(writer, hash, total).await {
                // What was there before may have been the fault.
                Err(MirrorError::Damaged(_)) => {}
                result => return result.map(|()| true),
            }
            let (anew, expected) = (store.clone(), *hash);
            writer = spawn_blocking(move || anew.resume(&expected)).await.map_err(io::Error::other)??;
            writer.begin_again()?;
        }
        self.whole(writer, hash, total).await.map(|()| true)
    }

    /// Brings what is missing, and makes content of it.
    async fn whole(&self, mut writer: BlobWriter, hash: &ContentHash, total: u64) -> Result<(), MirrorError> {
        if writer.bytes() < total {
            self.bring(&mut writer, hash, total).await?;
        }
        let expected = *hash;
        match spawn_blocking(move || writer.finish(Some(expected))).await.map_err(io::Error::other)? {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(self.damaged(hash, &error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    async fn bring(&self, writer: &mut BlobWriter, hash: &ContentHash, total: u64) -> Result<(), MirrorError> {
        let from = writer.bytes();
        let options = GetOptions { range: Some(GetRange::Offset(from)), ..GetOptions::default() };
        let got = self.within(self.answer, self.store.get_opts(&self.path(hash), options)).await?;
        if got.range != (from..total) {
            return Err(MirrorError::Away(format!("{} does not give the part that was asked for", self.url)));
        }
        let (silence, began, mut parts) = (2 * self.answer, Instant::now(), got.into_stream());
        loop {
            let earned = Duration::from_secs((writer.bytes() - from) / u64::from(MIN_RATE));
            let patience = silence.min((silence + earned).saturating_sub(began.elapsed()));
            let Some(part) = self.within(patience, parts.try_next()).await? else { break };
            if writer.bytes() + part.len() as u64 > total {
                writer.begin_again()?;
                return Err(self.damaged(hash, "more came than was announced"));
            }
            // To the page cache: no wait to speak of.
            writer.write_all(&part)?;
        }
        if writer.bytes() < total {
            return Err(MirrorError::Away(format!("{} ended early", self.url)));
        }
        Ok(())
    }

    fn damaged(&self, hash: &ContentHash, why: &str) -> MirrorError {
        MirrorError::Damaged(format!("{hash} in {} is damaged: {why}", self.url))
    }
}
