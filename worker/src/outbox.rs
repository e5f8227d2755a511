//! What is to be reported, kept on disk until the coordinator has acknowledged it.
//!
//! Reports stand in segment files, in the order of their sequence numbers. Nothing is sent before it is
//! synced, so that a number the coordinator has seen is never given again, not even after a power cut.
//! Sequence numbers are taken from blocks that are reserved on disk: they rise across restarts and leave
//! gaps. Progress is not kept: only the last one of each attempt is sent, behind everything else.

mod journal;
mod segment;

use std::{
    io,
    path::Path,
    sync::{Mutex, MutexGuard},
};

use experiment_spec::ids::AttemptKey;
use journal::{Journal, artifacts};
use orchestrator_proto::v1::{Artifact, Progress, Report, attempt_event::Event};
use segment::Record;

use crate::{error::at, events, fail_point};

/// Most reports in one batch, which leaves room for the progress of a hundred attempts (the wire takes 1,000).
const BATCH_REPORTS: usize = 900;
const BATCH_PROGRESS: usize = 100;
/// Most bytes in one batch, unless its first report alone is larger.
const BATCH_BYTES: usize = 1 << 20;

/// Bytes that the outbox may take while the coordinator is away, 256 MiB: then log lines are dropped,
/// at three quarters of it metric points; states and scores are always kept.
pub(crate) const LIMIT_BYTES: u64 = 256 << 20;

/// Whether a report was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    /// The outbox is full of reports that the coordinator has not acknowledged.
    Dropped,
}

/// The outbox of a worker. Its methods block on the disk: not to be called from an async task.
#[derive(Debug)]
pub(crate) struct Outbox {
    inner: Mutex<Journal>,
    /// Held while the disk is waited for, which nobody who only wants to read or write has to wait for as well.
    syncing: Mutex<()>,
    hold_for_upload: bool,
}

/// What is to be sent next.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) reports: Vec<Report>,
    /// More was there than fits.
    pub(crate) is_full: bool,
}

fn report_of(sequence: u64, key: AttemptKey, event: Event) -> Report {
    Report {
        sequence,
        step_id: key.step.0,
        attempt: key.attempt.0,
        lease: key.lease.0,
        at_ms: events::now_ms(),
        event: Some(events::wire(event)),
    }
}

impl Outbox {
    /// Opens the outbox in `folder` and takes up what an earlier daemon has left there. With
    /// `hold_for_upload`, a report of artifacts is not handed out before [`Outbox::uploaded`].
    ///
    /// # Errors
    /// When the folder cannot be read or written; the error names the path.
    pub(crate) fn open(folder: &Path, limit_bytes: u64, hold_for_upload: bool) -> io::Result<Self> {
        let inner = Journal::open(folder, limit_bytes, hold_for_upload)?;
        Ok(Self { inner: Mutex::new(inner), syncing: Mutex::new(()), hold_for_upload })
    }

    fn inner(&self) -> MutexGuard<'_, Journal> {
        self.inner.lock().expect("no holder of the outbox panics: every step of it returns its errors")
    }

    /// Keeps an event for the coordinator. What ends an attempt is synced to disk before this returns; the rest when it is
    /// sent, so that nobody who watches over an attempt waits for the disk.
    ///
    /// # Errors
    /// When the disk refuses. Appending it again does no harm, even if it had been written.
    pub(crate) fn append(&self, key: AttemptKey, event: Event) -> io::Result<Kept> {
        let mut inner = self.inner();
        let share = match event {
            Event::Metrics(_) => Some(inner.limit_bytes / 4 * 3),
            Event::Log(_) => Some(inner.limit_bytes),
            _ => None,
        };
        if share.is_some_and(|share| inner.bytes() > share) {
            return Ok(Kept::Dropped);
        }
        let terminal = events::is_terminal(&event);
        let report = report_of(inner.next_sequence, key, event);
        let sequence = report.sequence;
        let waits = self.hold_for_upload.then(|| artifacts(&report).to_vec()).filter(|waits| !waits.is_empty());
        inner.write(Record::Report(report))?;
        inner.next_sequence += 1;
        inner.waiting.extend(waits.map(|artifacts| (sequence, artifacts)));
        if terminal {
            inner.progress.remove(&key);
            inner.ended.insert(key, sequence);
        }
        drop(inner);
        if terminal {
            self.sync(sequence)?;
        }
        Ok(Kept::Yes)
    }

    /// Waits until the report of that number, and every one before it, is on the disk; those who come meanwhile are
    /// served by the next wait, all together.
    fn sync(&self, sequence: u64) -> io::Result<()> {
        let turn = self.syncing.lock().expect("no holder of the turn panics: it only waits for the disk");
        let inner = self.inner();
        let (Some(file), true) = (inner.writer.clone(), inner.synced < sequence) else { return Ok(()) };
        let written = inner.written;
        drop(inner);
        fail_point::passes("outbox-sync");
        let folder = || self.inner().folder.clone();
        file.sync_data().map_err(|error| at(&folder())(error))?;
        let mut inner = self.inner();
        inner.synced = inner.synced.max(written);
        drop((inner, turn));
        Ok(())
    }

    /// Notes how far an attempt is; replaces what was noted before.
    pub(crate) fn note_progress(&self, key: AttemptKey, progress: Progress) {
        self.inner().progress.insert(key, progress);
    }

    /// The oldest reports that are not acknowledged, synced; behind the last of them the progress of the attempts.
    ///
    /// # Errors
    /// When they cannot be synced: nothing may be sent then.
    pub(crate) fn batch(&self) -> io::Result<Batch> {
        let written = self.inner().written;
        self.sync(written)?;
        let mut inner = self.inner();
        let mut bytes = 0;
        let mut batch = Batch { reports: Vec::new(), is_full: false };
        for (report, size) in &inner.front {
            bytes += size;
            batch.is_full = batch.reports.len() == BATCH_REPORTS || (bytes > BATCH_BYTES && !batch.reports.is_empty());
            if batch.is_full || inner.waiting.contains_key(&report.sequence) || report.sequence > inner.synced {
                break;
            }
            batch.reports.push(report.clone());
        }
        if batch.reports.len() < inner.front.len() {
            return Ok(batch);
        }
        batch.is_full = inner.segments.len() > 1;
        while !batch.is_full && batch.reports.len() < BATCH_REPORTS + BATCH_PROGRESS {
            let Some((key, progress)) = inner.progress.pop_first() else { break };
            let event = Event::Progress(progress);
            batch.reports.push(report_of(inner.next_sequence, key, event));
            inner.next_sequence += 1;
        }
        Ok(batch)
    }

    /// Forgets every report up to this number; returns the attempts whose last word was among them,
    /// with that word. A disk that refuses to note it down is no error: only a restart would read the note,
    /// and would send the reports again, which does no harm.
    pub(crate) fn acknowledge(&self, sequence: u64) -> Vec<(AttemptKey, Event)> {
        let mut inner = self.inner();
        // A number that was never given is no acknowledgement of what is still to come.
        let sequence = sequence.min(inner.next_sequence - 1);
        if sequence <= inner.acknowledged {
            return Vec::new();
        }
        inner.acknowledged = sequence;
        let mut last_words = Vec::new();
        while inner.front.front().is_some_and(|(report, _)| report.sequence <= sequence) {
            let Some((report, _)) = inner.front.pop_front() else { break };
            inner.waiting.remove(&report.sequence);
            let key = AttemptKey::from(&report);
            if inner.ended.get(&key) == Some(&report.sequence) {
                inner.ended.remove(&key);
                last_words.extend(report.event.and_then(|event| event.event).map(|event| (key, event)));
            }
        }
        let noted = inner.advance().and_then(|()| {
            if inner.segments.is_empty() { Ok(()) } else { inner.write(Record::Acknowledged(sequence)) }
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "the outbox cannot note what was acknowledged");
        }
        last_words
    }

    /// The first report that waits for its artifacts to be uploaded.
    pub(crate) fn waits_for_upload(&self) -> Option<Report> {
        let inner = self.inner();
        let (first, _) = inner.waiting.first_key_value()?;
        inner.front.iter().map(|(report, _)| report).find(|report| report.sequence == *first).cloned()
    }

    /// The artifacts of every report that waits for them to be uploaded.
    pub(crate) fn awaiting_upload(&self) -> Vec<Artifact> {
        self.inner().waiting.values().flatten().cloned().collect()
    }

    /// The artifacts of that report are with the coordinator.
    pub(crate) fn uploaded(&self, sequence: u64) {
        self.inner().waiting.remove(&sequence);
    }

    /// The artifacts of that report are lost: says `instead` in its place. Held in memory only, as a
    /// restart finds the same loss again.
    pub(crate) fn replace(&self, sequence: u64, instead: Event) {
        let mut inner = self.inner();
        inner.waiting.remove(&sequence);
        if let Some((report, _)) = inner.front.iter_mut().find(|(report, _)| report.sequence == sequence) {
            report.event = Some(events::wire(instead));
        }
    }

    /// Attempts whose last word is here, not acknowledged.
    pub(crate) fn ended(&self) -> Vec<AttemptKey> {
        self.inner().ended.keys().copied().collect()
    }

    /// Numbers later reports above this one: the coordinator knows it already.
    pub(crate) fn number_above(&self, sequence: u64) {
        let mut inner = self.inner();
        inner.next_sequence = inner.next_sequence.max(sequence.saturating_add(1));
    }

    /// Whether there is nothing left to report.
    pub(crate) fn is_empty(&self) -> bool {
        let inner = self.inner();
        inner.front.is_empty() && inner.segments.len() <= 1
    }
}

#[cfg(test)]
mod tests;
