//! Checkpoints on their way to the coordinator, so that another worker can go on from them: that of an attempt at work
//! now and then, always the newest; and the last one of an attempt that is given back, before that is reported.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use experiment_spec::ids::AttemptKey;
use orchestrator_proto::v1::{CheckpointSaved, attempt_event::Event};
use retrieval::checkpoint::CheckpointFile;
use tokio_util::sync::CancellationToken;

use crate::{attempt::Stop, backoff::Backoff, cache::CacheError, shared::Shared, step_folder::KIND_FACT};

/// How often it is looked for a checkpoint that is due, and for a change of what is wanted.
const TICK: Duration = Duration::from_millis(200);
/// A worker that is shut down tries so long to reach a coordinator that is away, as with its last reports.
const REACH: Duration = Duration::from_secs(3);
/// A worker that is shut down takes so long at most to send one checkpoint: systems that end it wait little longer.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(20);

/// How far a checkpoint has come: two of one kind and iteration hold the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    pub(crate) kind: String,
    pub(crate) iteration: u64,
}

/// The checkpoints of one attempt.
#[derive(Clone, Debug)]
struct Line {
    path: PathBuf,
    /// What the coordinator has.
    known: Option<Stand>,
    /// One has been made since the last one was sent.
    is_new: bool,
    due: Instant,
    /// The attempt has ended.
    ended: CancellationToken,
}

/// The checkpoints of all attempts of this worker.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// Between two of one attempt, zero: only the last one; none: nothing is sent.
    every: Option<Duration>,
    lines: Mutex<BTreeMap<AttemptKey, Line>>,
}

impl Checkpoints {
    pub(crate) fn new(every: Option<Duration>) -> Self {
        Self { every, lines: Mutex::default() }
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<AttemptKey, Line>> {
        // Every change is one call: a thread that panicked has left nothing half done.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt keeps its checkpoint at `path`; `known` is what the coordinator has.
    pub(crate) fn follow(&self, key: AttemptKey, path: PathBuf, known: Option<Stand>) {
        if let Some(every) = self.every {
            let line =
                Line { path, known, is_new: false, due: Instant::now() + every, ended: CancellationToken::new() };
            self.lines().insert(key, line);
        }
    }

    /// An attempt has made one.
    pub(crate) fn made(&self, key: AttemptKey) {
        if let Some(line) = self.lines().get_mut(&key) {
            line.is_new = true;
        }
    }

    /// An attempt has ended: what is being sent of it is broken off.
    pub(crate) fn leave(&self, key: AttemptKey) {
        drop(self.take(key));
    }

    fn take(&self, key: AttemptKey) -> Option<Line> {
        let line = self.lines().remove(&key)?;
        line.ended.cancel();
        Some(line)
    }

    /// The attempt whose turn it is.
    fn next_due(&self, now: Instant) -> Option<(AttemptKey, Line)> {
        let every = self.every.filter(|every| !every.is_zero())?;
        let mut lines = self.lines();
        let due = lines.iter_mut().filter(|(_, line)| line.is_new && line.due <= now);
        let (key, line) = due.min_by_key(|(_, line)| line.due)?;
        (line.is_new, line.due) = (false, now + every);
        Some((*key, line.clone()))
    }

    /// What came of a try.
    fn tried(&self, key: AttemptKey, sent: Option<Stand>) {
        if let Some(line) = self.lines().get_mut(&key) {
            match sent {
                Some(stand) => line.known = Some(stand),
                None => line.is_new = true,
            }
        }
    }
}

/// Sends what is due, one checkpoint at a time, as long as the daemon works.
pub(crate) async fn keep_sending(shared: &Arc<Shared>) -> Infallible {
    loop {
        tokio::time::sleep(TICK).await;
        let Some((key, line)) = shared.checkpoints.next_due(Instant::now()) else { continue };
        match line.ended.run_until_cancelled(send(shared, &line)).await {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(saved))) => {
                let stand = Stand { kind: saved.kind.clone(), iteration: saved.iteration };
                shared.checkpoints.tried(key, Some(stand));
                let event = Event::CheckpointSaved(saved);
                if let Err(error) = shared.on_disk(move |shared| shared.outbox.append(key, event)).await {
                    tracing::warn!(attempt = %key, %error, "that a checkpoint was sent cannot be kept");
                }
            }
            Some(Err(error)) => {
                tracing::warn!(attempt = %key, %error, "a checkpoint cannot be sent, trying again later");
                shared.checkpoints.tried(key, None);
            }
        }
    }
}

/// Sends the last checkpoint of an attempt that is given back, as soon as the coordinator answers. Returns what is to be
/// reported of it; nothing where it has it already, refuses it, or cannot be reached before this worker must go.
pub(crate) async fn hand_over(shared: &Shared, key: AttemptKey, wanted: impl Fn() -> Option<Stop>) -> Option<Event> {
    let line = shared.checkpoints.take(key)?;
    let mut backoff = Backoff::new();
    let mut shut_down_at = None;
    let mut patience = |limit: Duration| match wanted() {
        Some(Stop::Cancel | Stop::Abandon) => false,
        Some(Stop::Release) => shut_down_at.get_or_insert_with(Instant::now).elapsed() < limit,
        Some(Stop::LeaseOver) | None => true,
    };
    loop {
        let sending = send(shared, &line);
        tokio::pin!(sending);
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent,
                () = tokio::time::sleep(TICK) => if !patience(SHUTDOWN_PATIENCE) { return None },
            }
        };
        match sent {
            Ok(saved) => return saved.map(Event::CheckpointSaved),
            Err(error) if error.is_away() => {
                tracing::debug!(attempt = %key, %error, "the last checkpoint waits for the coordinator");
            }
            Err(error) => {
                tracing::warn!(attempt = %key, %error, "the last checkpoint cannot be sent");
                return None;
            }
        }
        let again = Instant::now() + backoff.next_wait();
        while Instant::now() < again {
            if !patience(REACH) {
                return None;
            }
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Sends the checkpoint that stands, unless the coordinator has one that is as new.
async fn send(shared: &Shared, line: &Line) -> Result<Option<CheckpointSaved>, CacheError> {
    let path = line.path.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let file = CheckpointFile::open(&path).map_err(std::io::Error::other)?;
        Ok(file.map(|file| (file.content_hash(), file)))
    });
    let opened: std::io::Result<_> = opened.await.map_err(std::io::Error::other)?;
    let Some((hash, file)) = opened? else { return Ok(None) };
    let stand = Stand { kind: file.fact(KIND_FACT).unwrap_or_default().to_owned(), iteration: file.iteration() };
    if line.known.as_ref().is_some_and(|known| known.kind == stand.kind && known.iteration >= stand.iteration) {
        return Ok(None);
    }
    let (Stand { kind, iteration }, bytes) = (stand, file.bytes().len() as u64);
    shared.cache.send_checkpoint(file, hash).await?;
    Ok(Some(CheckpointSaved { iteration, bytes, hash: hash.to_string(), kind }))
}

#[cfg(test)]
mod tests {
    use orchestrator_proto::convert::attempt_key;

    use super::*;

    #[test]
    fn the_newest_checkpoint_is_due_once_an_interval() {
        let key = attempt_key(1, 1, 7);
        let every = Duration::from_mins(1);
        let checkpoints = Checkpoints::new(Some(every));
        let after = |minutes: f64| Instant::now() + every.mul_f64(minutes);
        checkpoints.follow(key, PathBuf::new(), None);
        checkpoints.made(key);
        assert!(checkpoints.next_due(after(0.9)).is_none());
        assert!(checkpoints.next_due(after(1.1)).is_some());
        let sent = |iteration| Some(Stand { kind: "cpu".into(), iteration });
        checkpoints.tried(key, sent(20));
        assert!(checkpoints.next_due(after(3.0)).is_none(), "there is no newer one");
        checkpoints.made(key);
        checkpoints.made(key);
        assert!(checkpoints.next_due(after(2.0)).is_none());
        assert!(checkpoints.next_due(after(2.2)).is_some());
        assert!(checkpoints.next_due(after(9.0)).is_none(), "two that were made are one to send");
        checkpoints.tried(key, None);
        let (_, line) = checkpoints.next_due(after(9.0)).expect("what did not get through is tried again");
        assert_eq!(line.known, sent(20));
        checkpoints.leave(key);
        assert!(line.ended.is_cancelled() && checkpoints.next_due(after(99.0)).is_none());
    }

    #[test]
    fn with_no_interval_the_last_one_alone_is_sent_and_with_a_shared_store_none() {
        let key = attempt_key(1, 1, 7);
        for (every, is_last_sent) in [(Some(Duration::ZERO), true), (None, false)] {
            let checkpoints = Checkpoints::new(every);
            checkpoints.follow(key, PathBuf::new(), None);
            checkpoints.made(key);
            assert!(checkpoints.next_due(Instant::now() + Duration::from_hours(1)).is_none());
            assert_eq!(checkpoints.take(key).is_some(), is_last_sent);
        }
    }
}
