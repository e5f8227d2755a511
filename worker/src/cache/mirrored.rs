//! The mirror of contents as this daemon stands with it: asked before the coordinator while it answers, left alone for a
//! while when it does not, and given in the background what it lacks. Nothing depends on it.

use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::{
    content::ContentStore,
    mirror::{Mirror, MirrorError},
};
use retrieval::checkpoint::CheckpointFile;
use tokio::sync::Notify;

use super::upload::Source;

/// A mirror that did not answer is left alone for so long, then twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// Contents that wait for the mirror at most, and checkpoints among them, which hold their files: the oldest go.
const MAX_WAITING: usize = 1_000;
const MAX_CHECKPOINTS: usize = 4;

/// Content that the mirror is to have.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) hash: ContentHash,
    /// A checkpoint; without one, content of the store.
    pub(super) checkpoint: Option<Arc<CheckpointFile>>,
}

/// What is known of the mirror.
#[derive(Debug, Default)]
struct Standing {
    /// It is not asked before then, and after how long a pause; none while it answers.
    away: Option<(Instant, Duration)>,
    /// What it has damaged.
    damaged: HashSet<ContentHash>,
    /// It has said no to a fetch, which has been told.
    denies: bool,
    /// It takes nothing from this worker.
    takes_nothing: bool,
}

/// A mirror, and what waits to be put there.
#[derive(Debug)]
pub(super) struct Mirrored {
    mirror: Mirror,
    standing: Mutex<Standing>,
    waiting: Mutex<VecDeque<Parcel>>,
    news: Notify,
}

impl Standing {
    fn is_away(&self, now: Instant) -> bool {
        self.away.is_some_and(|(until, _)| now < until)
    }

    /// It did not answer; whether that is news.
    fn failed(&mut self, now: Instant) -> bool {
        let pause = self.away.map_or(FIRST_PAUSE, |(_, pause)| (2 * pause).min(LONGEST_PAUSE));
        self.away.replace((now + pause, pause)).is_none()
    }
}

impl Mirrored {
    pub(super) fn new(mirror: Mirror) -> Self {
        Self { mirror, standing: Mutex::default(), waiting: Mutex::default(), news: Notify::new() }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Every change is one call: a thread that panicked has left nothing half done.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Parcel>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches content into the store if the mirror has it and answers. What it brings of it is gone on with.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) async fn fetch(&self, blobs: &ContentStore, hash: &ContentHash, bytes: u64) -> io::Result<bool> {
        let asked = {
            let standing = self.standing();
            !standing.is_away(Instant::now()) && !standing.damaged.contains(hash)
        };
        if !asked {
            return Ok(false);
        }
        match self.mirror.fetch(blobs, hash, bytes).await {
            Ok(found) => {
                self.answered();
                Ok(found)
            }
            Err(MirrorError::Disk(error)) => Err(error),
            Err(error) => {
                self.failed(&error, Some(hash));
                Ok(false)
            }
        }
    }

    /// The mirror is to have this, when it can.
    pub(super) fn offer(&self, parcel: Parcel) {
        if self.standing().takes_nothing {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.iter().any(|waits| waits.hash == parcel.hash) {
            return;
        }
        waiting.push_back(parcel);
        let mut checkpoints = waiting.iter().filter(|parcel| parcel.checkpoint.is_some()).count();
        waiting.retain(|parcel| {
            let goes = parcel.checkpoint.is_some() && checkpoints > MAX_CHECKPOINTS;
            checkpoints -= usize::from(goes);
            !goes
        });
        if waiting.len() > MAX_WAITING {
            waiting.pop_front();
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Gives the mirror what waits for it, one content at a time, as long as the daemon works.
    pub(super) async fn keep_sending(&self, blobs: &ContentStore) -> Infallible {
        match self.mirror.check().await {
            Ok(()) => tracing::info!(mirror = self.mirror.url(), "contents are asked of the mirror first"),
            Err(error) => self.failed(&error, None),
        }
        loop {
            let pause = self.standing().away.map(|(until, _)| until.saturating_duration_since(Instant::now()));
            tokio::time::sleep(pause.unwrap_or_default()).await;
            let next = self.waiting().front().cloned();
            let Some(parcel) = next else {
                self.news.notified().await;
                continue;
            };
            match self.send(blobs, &parcel).await {
                Ok(sent) => {
                    tracing::debug!(hash = %parcel.hash, sent, "the mirror has content");
                    self.standing().damaged.remove(&parcel.hash);
                    self.answered();
                }
                Err(MirrorError::Disk(error)) => {
                    tracing::debug!(hash = %parcel.hash, %error, "content for the mirror is gone from here");
                }
                Err(error @ MirrorError::Away(_)) => {
                    self.failed(&error, None);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "the mirror takes nothing from here; nothing more is sent to it");
                    self.standing().takes_nothing = true;
                    self.waiting().clear();
                }
            }
            self.waiting().retain(|waits| waits.hash != parcel.hash);
        }
    }

    async fn send(&self, blobs: &ContentStore, parcel: &Parcel) -> Result<bool, MirrorError> {
        let path = blobs.path(&parcel.hash);
        let source = parcel.checkpoint.clone().map_or(Source::Stored(&path), Source::Checkpoint);
        let (content, bytes) = source.open(0)?;
        let replace = self.standing().damaged.contains(&parcel.hash);
        self.mirror.put(&parcel.hash, bytes, content, replace).await
    }

    fn answered(&self) {
        if self.standing().away.take().is_some() {
            tracing::info!(mirror = self.mirror.url(), "the mirror answers again");
        }
    }

    fn failed(&self, error: &MirrorError, hash: Option<&ContentHash>) {
        let mut standing = self.standing();
        let is_news = match (error, hash) {
            (MirrorError::Damaged(_), Some(hash)) => standing.damaged.insert(*hash),
            // A store may not say what it lacks to those who must not see what it has.
            (MirrorError::Denied(_), _) => !std::mem::replace(&mut standing.denies, true),
            _ => standing.failed(Instant::now()),
        };
        drop(standing);
        if is_news {
            tracing::warn!(%error, "the mirror is of no use here now: the coordinator is asked instead");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use retrieval::checkpoint::Checkpoint;

    use super::*;

    fn mirrored() -> Mirrored {
        Mirrored::new(Mirror::open_with("file:///not/there", []).unwrap())
    }

    #[test]
    fn a_mirror_that_does_not_answer_is_left_alone_for_longer_each_time_and_it_is_said_once() {
        let (mut standing, began) = (Standing::default(), Instant::now());
        assert!(!standing.is_away(began));
        assert!(standing.failed(began));
        assert!(standing.is_away(began + FIRST_PAUSE / 2) && !standing.is_away(began + FIRST_PAUSE));
        assert!(!standing.failed(began));
        assert!(standing.is_away(began + FIRST_PAUSE) && !standing.is_away(began + 2 * FIRST_PAUSE));
        for _ in 0..20 {
            standing.failed(began);
        }
        assert!(standing.is_away(began + LONGEST_PAUSE / 2) && !standing.is_away(began + LONGEST_PAUSE));
    }

    #[test]
    fn what_waits_is_bounded_and_waits_once() {
        let mirrored = mirrored();
        let parcel = |number: usize| Parcel { hash: ContentHash::of(&number.to_le_bytes()), checkpoint: None };
        for number in (0..MAX_WAITING + 2).chain([5, 6]) {
            mirrored.offer(parcel(number));
        }
        let waiting = mirrored.waiting();
        assert_eq!((waiting.len(), waiting[0].hash), (MAX_WAITING, parcel(2).hash), "the oldest went");
    }

    #[test]
    fn checkpoints_that_wait_are_few_and_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let mirrored = mirrored();
        mirrored.offer(Parcel { hash: ContentHash::of(b"features"), checkpoint: None });
        let mut hashes = Vec::new();
        for iteration in 0..MAX_CHECKPOINTS as u64 + 3 {
            let path = folder.path().join("checkpoint");
            let checkpoint = Checkpoint { iteration, tensors: Vec::new(), facts: BTreeMap::new() };
            checkpoint.save(&path).unwrap();
            let file = CheckpointFile::open(&path).unwrap().unwrap();
            hashes.push(file.content_hash());
            mirrored.offer(Parcel { hash: file.content_hash(), checkpoint: Some(Arc::new(file)) });
        }
        let waiting: Vec<ContentHash> = mirrored.waiting().iter().map(|parcel| parcel.hash).collect();
        assert_eq!((waiting[0], &waiting[1..]), (ContentHash::of(b"features"), &hashes[3..]));
    }
}
