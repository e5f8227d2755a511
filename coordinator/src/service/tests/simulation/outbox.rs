//! Models `worker/src/outbox.rs`: reports on the worker's disk until they are acknowledged. This crate may not import that one.

use std::collections::BTreeMap;

use experiment_spec::ids::AttemptKey;
use orchestrator_proto::v1::Progress;

use super::chance::Chance;
use crate::service::reports::{Event, Report};

/// Sequence numbers that are reserved on disk at a time: a restart goes on behind them.
const BLOCK: u64 = 64;

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    pub(super) reports: Vec<Report>,
    /// Acknowledged ones that a power loss may bring back: the note of it is not synced.
    acknowledged: Vec<Report>,
    last_sequence: u64,
    synced: u64,
    /// Attempts whose last word is here, with its number.
    ended: BTreeMap<AttemptKey, u64>,
    progress: BTreeMap<AttemptKey, Progress>,
}

pub(super) fn is_terminal(event: &Event) -> bool {
    matches!(event, Event::Succeeded(_) | Event::Failed { .. } | Event::Released { .. })
}

impl Outbox {
    /// Keeps an event; a terminal one is synced.
    pub(super) fn append(&mut self, key: AttemptKey, at_ms: i64, event: Event) {
        self.last_sequence += 1;
        if is_terminal(&event) {
            self.progress.remove(&key);
            self.ended.insert(key, self.last_sequence);
            self.synced = self.last_sequence;
        }
        self.reports.push(Report { sequence: self.last_sequence, key, at_ms, event });
    }

    /// A report that no attempt made, as a damaged or hostile worker would send it.
    pub(super) fn forge(&mut self, key: AttemptKey, event: Event) {
        self.last_sequence += 1;
        self.reports.push(Report { sequence: self.last_sequence, key, at_ms: 0, event });
    }

    pub(super) fn note_progress(&mut self, key: AttemptKey, progress: Progress) {
        self.progress.insert(key, progress);
    }

    /// What is to be sent next, at most so many, and whether more is left.
    pub(super) fn batch(&mut self, most: usize) -> (Vec<Report>, bool) {
        self.synced = self.last_sequence;
        let mut batch: Vec<_> = self.reports.iter().take(most).cloned().collect();
        if batch.len() < self.reports.len() {
            return (batch, true);
        }
        while let Some((key, progress)) = self.progress.pop_first() {
            self.last_sequence += 1;
            batch.push(Report { sequence: self.last_sequence, key, at_ms: 0, event: Event::Progress(progress) });
        }
        (batch, false)
    }

    pub(super) fn acknowledge(&mut self, sequence: u64) {
        let (done, rest) = self.reports.drain(..).partition(|report| report.sequence <= sequence);
        self.reports = rest;
        self.ended.retain(|_, at| *at > sequence);
        self.acknowledged = done;
    }

    pub(super) fn ended(&self) -> impl Iterator<Item = AttemptKey> {
        self.ended.keys().copied()
    }

    /// Numbers later reports above this one.
    pub(super) fn number_above(&mut self, sequence: u64) {
        self.last_sequence = self.last_sequence.max(sequence);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// The daemon was killed and is started again; a power loss also takes what was not synced, and notes of what was
    /// acknowledged last.
    pub(super) fn restarted(&mut self, power_loss: bool, chance: &mut Chance) {
        self.progress.clear();
        if power_loss {
            let synced = self.synced;
            self.reports.retain(|report| report.sequence <= synced);
            if chance.percent(50) {
                self.reports.splice(0..0, std::mem::take(&mut self.acknowledged));
            }
        }
        let terminal = self.reports.iter().filter(|report| is_terminal(&report.event));
        self.ended = terminal.map(|report| (report.key, report.sequence)).collect();
        self.last_sequence = (self.last_sequence / BLOCK + 1) * BLOCK;
    }
}
