//! The contents of a state folder, and how much it holds against the limit it is given. Contents are counted as they come and
//! go, and from time to time anew, since others (`gc`, people) may remove some as well.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::{content::ContentStore, room::size};

/// Name of the folder of blobs.
pub(crate) const BLOBS_FOLDER: &str = "blobs";
/// Name of the folder of checkpoints: content by hash as well, which goes when its step needs it no more.
pub(crate) const CHECKPOINTS_FOLDER: &str = "checkpoints";

/// What came of a checkpoint that broke off is kept for so long: its attempt has made a newer one long before, which is
/// other content.
const PARTIAL_CHECKPOINT: Duration = Duration::from_hours(1);

/// Both stores of content, and the bytes of them and of the database.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) blobs: Arc<ContentStore>,
    pub(crate) checkpoints: Arc<ContentStore>,
    /// 0: there is no limit.
    limit_bytes: u64,
    bytes: AtomicU64,
    database_bytes: AtomicU64,
}

impl Contents {
    /// Opens the folders in a state folder; the error names which one.
    pub(crate) fn open(home: &Path, limit_bytes: u64) -> io::Result<Self> {
        let blobs = Arc::new(ContentStore::open(home.join(BLOBS_FOLDER))?);
        let checkpoints = ContentStore::open(home.join(CHECKPOINTS_FOLDER))?;
        let checkpoints = Arc::new(checkpoints.keeping_partial_for(PARTIAL_CHECKPOINT));
        let contents =
            Self { blobs, checkpoints, limit_bytes, bytes: AtomicU64::new(0), database_bytes: AtomicU64::new(0) };
        if limit_bytes > 0 {
            contents.recount()?;
        }
        Ok(contents)
    }

    /// Content came.
    pub(crate) fn came(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So much of the database is in use.
    pub(crate) fn set_database_bytes(&self, bytes: u64) {
        self.database_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts anew what is there, unless something came or went meanwhile.
    pub(crate) fn recount(&self) -> io::Result<()> {
        let before = self.bytes.load(Ordering::Relaxed);
        let mut bytes = 0;
        for store in [&self.blobs, &self.checkpoints] {
            bytes += store.list()?.into_iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        }
        // Lost: then it is right next time.
        let _ = self.bytes.compare_exchange(before, bytes, Ordering::Relaxed, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes of both stores.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What there is too much of, in a sentence; none while there is room.
    pub(crate) fn excess(&self) -> Option<String> {
        let held = self.bytes() + self.database_bytes.load(Ordering::Relaxed);
        let (limit, is_over) = (self.limit_bytes, self.limit_bytes > 0 && held >= self.limit_bytes);
        is_over.then(|| {
            let (held, limit) = (size(held), size(limit));
            format!(
                "the state folder holds {held}, and may hold {limit} (`serve --max-size`): keep rules, `gc` and `thin` make room"
            )
        })
    }

    /// Whether nobody has sent or asked for a blob for so long: it may be named by a report that is on its way else.
    pub(crate) fn is_at_rest(&self, blob: &ContentHash, youth: Duration) -> bool {
        let wanted_at = self.blobs.wanted_at(blob);
        wanted_at.is_none_or(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age >= youth))
    }

    /// Removes contents of checkpoints. What cannot be removed is left to `gc`.
    pub(crate) fn remove_checkpoints(self: &Arc<Self>, checkpoints: Vec<ContentHash>) {
        self.remove_behind(checkpoints, |contents, hash| contents.remove(&contents.checkpoints, hash));
    }

    /// Removes blobs that nothing names any more, but for those that somebody wants again.
    pub(crate) fn remove_blobs(self: &Arc<Self>, blobs: Vec<ContentHash>, youth: Duration) {
        self.remove_behind(blobs, move |contents, hash| {
            if contents.is_at_rest(hash, youth) { contents.remove(&contents.blobs, hash) } else { Ok(()) }
        });
    }

    fn remove_behind(
        self: &Arc<Self>,
        hashes: Vec<ContentHash>,
        remove: impl Fn(&Self, &ContentHash) -> io::Result<()> + Send + 'static,
    ) {
        if hashes.is_empty() {
            return;
        }
        let contents = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            for hash in hashes {
                if let Err(error) = remove(&contents, &hash) {
                    tracing::warn!(%error, "content that is needed no more could not be removed");
                }
            }
        });
    }

    fn remove(&self, store: &ContentStore, hash: &ContentHash) -> io::Result<()> {
        let Some(bytes) = store.bytes(hash) else { return Ok(()) };
        store.remove(hash)?;
        // The closure always gives a number.
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(bytes)));
        Ok(())
    }
}
