//! The outbox on disk: segments that are appended to, read back, and given up when everything in them is
//! acknowledged.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use experiment_spec::ids::AttemptKey;
use orchestrator_proto::v1::{Artifact, Progress, Report, attempt_event::Event};

use super::segment::{self, Record};
use crate::{error::at, events};

/// A segment is closed when it has grown to this many bytes.
const SEGMENT_BYTES: u64 = 4 << 20;
/// A segment of which everything is acknowledged is given up at this size, in bytes.
pub(super) const GIVE_UP_BYTES: u64 = 256 << 10;
/// Numbers reserved at a time; more than one daemon's life uses up.
const RESERVED_NUMBERS: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Journal {
    pub(super) folder: PathBuf,
    pub(super) limit_bytes: u64,
    /// Oldest first. The last one is written to when `writer` is there.
    pub(super) segments: VecDeque<Segment>,
    pub(super) writer: Option<Arc<File>>,
    /// Numbers of the last report that was written, and of the last one that is known to be on the disk.
    pub(super) written: u64,
    pub(super) synced: u64,
    /// Reports of the first segment that are not acknowledged, with their sizes in bytes.
    pub(super) front: VecDeque<(Report, usize)>,
    pub(super) next_sequence: u64,
    pub(super) acknowledged: u64,
    /// Attempts whose last word is here.
    pub(super) ended: BTreeMap<AttemptKey, u64>,
    /// Reports that wait for their artifacts to be uploaded, and these.
    pub(super) waiting: BTreeMap<u64, Vec<Artifact>>,
    pub(super) progress: BTreeMap<AttemptKey, Progress>,
}

pub(super) fn event(report: &Report) -> Option<&Event> {
    report.event.as_ref()?.event.as_ref()
}

/// What a report says was left.
pub(super) fn artifacts(report: &Report) -> &[Artifact] {
    match event(report) {
        Some(Event::Succeeded(succeeded)) => &succeeded.artifacts,
        _ => &[],
    }
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

impl Journal {
    /// Takes up what stands in the folder, and a block of numbers for what comes.
    pub(super) fn open(folder: &Path, limit_bytes: u64, hold_for_upload: bool) -> io::Result<Self> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        let mut journal = Self {
            folder: folder.into(),
            limit_bytes,
            segments: VecDeque::new(),
            writer: None,
            written: 0,
            synced: 0,
            front: VecDeque::new(),
            next_sequence: 0,
            acknowledged: 0,
            ended: BTreeMap::new(),
            waiting: BTreeMap::new(),
            progress: BTreeMap::new(),
        };
        let seen = journal.recover(hold_for_upload)?;
        (journal.written, journal.synced) = (seen, seen);
        journal.next_sequence = reserve(folder, seen)?;
        journal.advance()?;
        Ok(journal)
    }

    pub(super) fn bytes(&self) -> u64 {
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
        self.waiting.retain(|sequence, _| *sequence > acknowledged);
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
                    self.ended.insert(AttemptKey::from(report), report.sequence);
                }
                if hold_for_upload && !artifacts(report).is_empty() {
                    self.waiting.insert(report.sequence, artifacts(report).to_vec());
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
    pub(super) fn advance(&mut self) -> io::Result<()> {
        while self.front.is_empty() {
            let written = self.writer.is_some() && self.segments.len() == 1;
            let Some(first) = self.segments.front().filter(|first| !written || first.bytes > GIVE_UP_BYTES) else {
                break;
            };
            fs::remove_file(&first.path).map_err(at(&first.path))?;
            if written {
                self.writer = None;
                self.synced = self.written;
            }
            self.segments.pop_front();
            self.load_front()?;
        }
        Ok(())
    }

    /// Appends a record to the last segment, or to a new one. On an error the file is as before.
    pub(super) fn write(&mut self, record: Record) -> io::Result<()> {
        let bytes = segment::encode(&record)?;
        if self.writer.is_none() || self.segments.back().is_none_or(|last| last.bytes >= SEGMENT_BYTES) {
            self.start_segment()?;
        }
        let (Some(mut file), Some(last)) = (self.writer.as_deref(), self.segments.back_mut()) else {
            return Err(io::Error::other("the outbox has no segment to write to"));
        };
        if let Err(error) = file.write_all(&bytes) {
            // Half a record would hide the records behind it from no reader, but costs a warning.
            let _ = file.set_len(last.bytes);
            return Err(at(&last.path)(error));
        }
        last.bytes += bytes.len() as u64;
        if let Record::Report(report) = record {
            self.written = report.sequence;
            if self.segments.len() == 1 {
                self.front.push_back((report, bytes.len()));
            }
        }
        Ok(())
    }

    fn start_segment(&mut self) -> io::Result<()> {
        self.sync()?;
        let path = self.folder.join(format!("{:020}.seg", self.next_sequence));
        let file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(at(&path))?;
        if let Err(error) = sync_folder(&self.folder) {
            // The next try takes the same number, so its name must be free.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.writer = Some(Arc::new(file));
        self.segments.push_back(Segment { path, bytes: 0 });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let (true, Some(file)) = (self.synced < self.written, &self.writer) {
            file.sync_data().map_err(at(&self.folder))?;
            self.synced = self.written;
        }
        Ok(())
    }
}
