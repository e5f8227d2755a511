//! What is to be reported, kept on disk until the coordinator has acknowledged it.
//!
//! Reports stand in segment files, in the order of their sequence numbers. Nothing is sent before it is
//! synced, so that a number the coordinator has seen is never given again, not even after a power cut.
//! Sequence numbers are taken from blocks that are reserved on disk: they rise across restarts and leave
//! gaps. Progress is not kept: only the last one of each attempt is sent, behind everything else.

mod segment;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use orchestrator_proto::v1::{Progress, Report, attempt_event::Event};
use segment::Record;

use crate::{
    error::at,
    events::{self, AttemptKey},
};

/// A segment is closed when it has grown to this many bytes.
const SEGMENT_BYTES: u64 = 4 << 20;
/// A segment of which everything is acknowledged is given up at this size, in bytes.
const GIVE_UP_BYTES: u64 = 256 << 10;
/// Numbers reserved at a time; more than one daemon's life uses up.
const RESERVED_NUMBERS: u64 = 1 << 32;
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

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    bytes: u64,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limit_bytes: u64,
    /// Oldest first. The last one is written to when `writer` is there.
    segments: VecDeque<Segment>,
    writer: Option<File>,
    unsynced: bool,
    /// Reports of the first segment that are not acknowledged, with their sizes in bytes.
    front: VecDeque<(Report, usize)>,
    next_sequence: u64,
    acknowledged: u64,
    /// Attempts whose last word is here.
    ended: BTreeMap<AttemptKey, u64>,
    /// Reports that wait for their artifacts to be uploaded.
    waiting: BTreeSet<u64>,
    progress: BTreeMap<AttemptKey, Progress>,
}

/// The outbox of a worker. Its methods block on the disk: not to be called from an async task.
#[derive(Debug)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
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
    let (step_id, attempt) = (key.step.0, key.attempt.0);
    Report { sequence, step_id, attempt, at_ms: events::now_ms(), event: Some(events::wire(event)) }
}

fn key(report: &Report) -> AttemptKey {
    AttemptKey::new(report.step_id, report.attempt)
}

fn event(report: &Report) -> Option<&Event> {
    report.event.as_ref()?.event.as_ref()
}

fn has_artifacts(report: &Report) -> bool {
    matches!(event(report), Some(Event::Succeeded(succeeded)) if !succeeded.artifacts.is_empty())
}

/// Takes a block of numbers above every number of earlier blocks; returns its first.
fn reserve(folder: &Path, seen: u64) -> io::Result<u64> {
    let path = folder.join("next-sequence");
    let reserved = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let why = "holds no number; remove the worker's folder to start as a new worker";
            at(&path)(io::Error::new(io::ErrorKind::InvalidData, why))
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 1,
        Err(error) => return Err(at(&path)(error)),
    };
    let first = reserved.max(seen + 1);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(at(folder))?;
    writeln!(file, "{}", first + RESERVED_NUMBERS).map_err(at(&path))?;
    file.as_file().sync_all().map_err(at(&path))?;
    file.persist(&path).map_err(|refused| at(&path)(refused.error))?;
    sync_folder(folder)?;
    Ok(first)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

impl Outbox {
    /// Opens the outbox in `folder` and takes up what an earlier daemon has left there. With
    /// `hold_for_upload`, a report of artifacts is not handed out before [`Outbox::uploaded`].
    ///
    /// # Errors
    /// When the folder cannot be read or written; the error names the path.
    pub(crate) fn open(folder: &Path, limit_bytes: u64, hold_for_upload: bool) -> io::Result<Self> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        let mut inner = Inner {
            folder: folder.into(),
            limit_bytes,
            segments: VecDeque::new(),
            writer: None,
            unsynced: false,
            front: VecDeque::new(),
            next_sequence: 0,
            acknowledged: 0,
            ended: BTreeMap::new(),
            waiting: BTreeSet::new(),
            progress: BTreeMap::new(),
        };
        let seen = inner.recover(hold_for_upload)?;
        inner.next_sequence = reserve(folder, seen)?;
        inner.advance()?;
        Ok(Self { inner: Mutex::new(inner), hold_for_upload })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the outbox panics: every step of it returns its errors")
    }

    /// Keeps an event for the coordinator. What ends an attempt, and a checkpoint, is synced to disk before this returns.
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
        let durable = terminal || matches!(event, Event::CheckpointSaved(_));
        let report = report_of(inner.next_sequence, key, event);
        let sequence = report.sequence;
        let waits = self.hold_for_upload && has_artifacts(&report);
        inner.write(Record::Report(report))?;
        inner.next_sequence += 1;
        if waits {
            inner.waiting.insert(sequence);
        }
        if terminal {
            inner.progress.remove(&key);
            inner.ended.insert(key, sequence);
        }
        if durable {
            inner.sync()?;
        }
        Ok(Kept::Yes)
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
        let mut inner = self.inner();
        inner.sync()?;
        let mut bytes = 0;
        let mut batch = Batch { reports: Vec::new(), is_full: false };
        for (report, size) in &inner.front {
            bytes += size;
            batch.is_full = batch.reports.len() == BATCH_REPORTS || (bytes > BATCH_BYTES && !batch.reports.is_empty());
            if batch.is_full || inner.waiting.contains(&report.sequence) {
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
    /// with that word.
    ///
    /// # Errors
    /// When the disk refuses; the reports are then sent again, which does no harm.
    pub(crate) fn acknowledge(&self, sequence: u64) -> io::Result<Vec<(AttemptKey, Event)>> {
        let mut inner = self.inner();
        // A number that was never given is no acknowledgement of what is still to come.
        let sequence = sequence.min(inner.next_sequence - 1);
        if sequence <= inner.acknowledged {
            return Ok(Vec::new());
        }
        inner.acknowledged = sequence;
        let mut last_words = Vec::new();
        while inner.front.front().is_some_and(|(report, _)| report.sequence <= sequence) {
            let Some((report, _)) = inner.front.pop_front() else { break };
            inner.waiting.remove(&report.sequence);
            let key = key(&report);
            if inner.ended.get(&key) == Some(&report.sequence) {
                inner.ended.remove(&key);
                last_words.extend(report.event.and_then(|event| event.event).map(|event| (key, event)));
            }
        }
        if inner.writer.is_some() {
            inner.write(Record::Acknowledged(sequence))?;
        }
        inner.advance()?;
        Ok(last_words)
    }

    /// The first report that waits for its artifacts to be uploaded.
    pub(crate) fn waits_for_upload(&self) -> Option<Report> {
        let inner = self.inner();
        let first = inner.waiting.first()?;
        inner.front.iter().map(|(report, _)| report).find(|report| report.sequence == *first).cloned()
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

impl Inner {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Reads every segment that is there; returns the largest sequence number seen.
    fn recover(&mut self, hold_for_upload: bool) -> io::Result<u64> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(at(&self.folder))? {
            let path = entry.map_err(at(&self.folder))?.path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut seen = 0;
        for path in paths {
            let content = segment::read(&path).map_err(at(&path))?;
            let file_bytes = fs::metadata(&path).map_err(at(&path))?.len();
            if content.damaged > 0 {
                tracing::warn!(path = %path.display(), stretches = content.damaged, "damaged reports are left out");
            }
            if content.end < file_bytes {
                tracing::warn!(path = %path.display(), bytes = file_bytes - content.end, "cutting off a torn tail");
                let file = OpenOptions::new().write(true).open(&path).map_err(at(&path))?;
                file.set_len(content.end).and_then(|()| file.sync_all()).map_err(at(&path))?;
            }
            for (record, _) in content.records {
                seen = seen.max(self.take_up(&record, hold_for_upload));
            }
            self.segments.push_back(Segment { path, bytes: content.end });
        }
        let acknowledged = self.acknowledged;
        self.ended.retain(|_, sequence| *sequence > acknowledged);
        self.waiting.retain(|sequence| *sequence > acknowledged);
        self.load_front()?;
        Ok(seen)
    }

    fn take_up(&mut self, record: &Record, hold_for_upload: bool) -> u64 {
        match record {
            Record::Acknowledged(sequence) => {
                self.acknowledged = self.acknowledged.max(*sequence);
                *sequence
            }
            Record::Report(report) => {
                if event(report).is_some_and(events::is_terminal) {
                    self.ended.insert(key(report), report.sequence);
                }
                if hold_for_upload && has_artifacts(report) {
                    self.waiting.insert(report.sequence);
                }
                report.sequence
            }
        }
    }

    /// Reads the first segment's reports that are not acknowledged.
    fn load_front(&mut self) -> io::Result<()> {
        self.front.clear();
        let Some(first) = self.segments.front() else { return Ok(()) };
        let content = segment::read(&first.path).map_err(at(&first.path))?;
        for (record, size) in content.records {
            match record {
                Record::Report(report) if report.sequence > self.acknowledged => self.front.push_back((report, size)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives up segments of which everything is acknowledged, until one has something to report.
    fn advance(&mut self) -> io::Result<()> {
        while self.front.is_empty() {
            let written = self.writer.is_some() && self.segments.len() == 1;
            let Some(first) = self.segments.front().filter(|first| !written || first.bytes > GIVE_UP_BYTES) else {
                break;
            };
            fs::remove_file(&first.path).map_err(at(&first.path))?;
            if written {
                self.writer = None;
                self.unsynced = false;
            }
            self.segments.pop_front();
            self.load_front()?;
        }
        Ok(())
    }

    /// Appends a record to the last segment, or to a new one. On an error the file is as before.
    fn write(&mut self, record: Record) -> io::Result<()> {
        let bytes = segment::encode(&record)?;
        if self.writer.is_none() || self.segments.back().is_none_or(|last| last.bytes >= SEGMENT_BYTES) {
            self.start_segment()?;
        }
        let (Some(file), Some(last)) = (self.writer.as_mut(), self.segments.back_mut()) else {
            return Err(io::Error::other("the outbox has no segment to write to"));
        };
        if let Err(error) = file.write_all(&bytes) {
            // Half a record would hide the records behind it from no reader, but costs a warning.
            let _ = file.set_len(last.bytes);
            return Err(at(&last.path)(error));
        }
        last.bytes += bytes.len() as u64;
        self.unsynced = true;
        if let Record::Report(report) = record
            && self.segments.len() == 1
        {
            self.front.push_back((report, bytes.len()));
        }
        Ok(())
    }

    fn start_segment(&mut self) -> io::Result<()> {
        self.sync()?;
        let path = self.folder.join(format!("{:020}.seg", self.next_sequence));
        let file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(at(&path))?;
        sync_folder(&self.folder)?;
        self.writer = Some(file);
        self.segments.push_back(Segment { path, bytes: 0 });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let (true, Some(file)) = (self.unsynced, &self.writer) {
            file.sync_data().map_err(at(&self.folder))?;
            self.unsynced = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
