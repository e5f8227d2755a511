//! Reports of attempts, read and checked; and what of them is written.

use experiment_spec::{ids::AttemptKey, run::FailureKind};
use orchestrator_proto::v1::Progress;

use crate::{
    scheduler::reactor::Reported,
    store::{attempts::Start, batch::Batch, checkpoints::Checkpoint, scores::Outcome},
};

/// One report of a worker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) sequence: u64,
    /// Which attempt it is about.
    pub(crate) key: AttemptKey,
    pub(crate) at_ms: i64,
    pub(crate) event: Event,
}

/// What happened to an attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Started(Start),
    Progress(Progress),
    Metrics(Vec<(String, u64, f64)>),
    Log {
        stream: String,
        text: String,
    },
    CheckpointSaved {
        iteration: u64,
        /// The same, if the coordinator has its content.
        content: Option<Checkpoint>,
    },
    Succeeded(Box<Outcome>),
    Failed {
        kind: FailureKind,
        message: String,
    },
    Released {
        reason: String,
    },
    /// Sent by a newer worker, or unreadable: acknowledged, so that it does not block what follows.
    Unknown,
}

impl Event {
    /// A result that never comes into a table.
    pub(crate) fn bad_result(why: &str) -> Self {
        Self::Failed { kind: FailureKind::Data, message: format!("its result cannot be taken: {why}") }
    }
}

impl Report {
    /// Checks that a result has what its step must leave: a run scores in 0..=1, an extraction features.
    /// One that has not fails its attempt.
    pub(crate) fn check(&mut self, is_run: bool) {
        let Event::Succeeded(outcome) = &self.event else { return };
        let wrong = match &outcome.scores {
            _ if !is_run => outcome.artifacts.is_empty().then(|| "it left no features".to_owned()),
            Err(why) => Some(why.clone()),
            Ok(scores) if scores.scores.is_empty() => Some("it has no score".to_owned()),
            Ok(scores) => scores
                .scores
                .iter()
                .find(|score| !(0.0..=1.0).contains(&score.map))
                .map(|score| format!("the MAP of {} is {}", score.task.name(), score.map)),
        };
        if let Some(why) = wrong {
            self.event = Event::bad_result(&why);
        }
    }

    /// What of it the scheduler decides on.
    pub(crate) fn reported(&self) -> Reported {
        match &self.event {
            Event::Started(_) => Reported::Started,
            Event::Succeeded(_) => Reported::Succeeded,
            Event::Failed { kind, message } => Reported::Failed { kind: *kind, message: message.clone() },
            Event::Released { reason } => Reported::Released { reason: reason.clone() },
            _ => Reported::Detail,
        }
    }

    /// Whether anything of it is written. Progress is not: only the latest counts, and it is kept in memory.
    pub(crate) fn is_durable(&self) -> bool {
        !matches!(self.event, Event::Progress(_) | Event::Unknown | Event::Failed { .. } | Event::Released { .. })
    }

    /// The checkpoint that came to the coordinator with it.
    pub(crate) fn content(&self) -> Option<&Checkpoint> {
        match &self.event {
            Event::CheckpointSaved { content, .. } => content.as_ref(),
            _ => None,
        }
    }

    /// Puts what it says into a batch, before the transition that it may cause.
    pub(crate) fn collect<'a>(&'a self, batch: &mut Batch<'a>, now_ms: i64) {
        match &self.event {
            Event::Started(start) => batch.started(self.key, start, now_ms),
            Event::Metrics(points) => batch.points(self.key, points),
            Event::Log { stream, text } => batch.line(self.key, self.at_ms, (stream, text)),
            Event::CheckpointSaved { iteration, content } => {
                batch.checkpoint(self.key, *iteration);
                if let Some(checkpoint) = content {
                    batch.saved(self.key, checkpoint, now_ms);
                }
            }
            Event::Succeeded(outcome) => batch.outcome(self.key, outcome, now_ms),
            Event::Progress(_) | Event::Failed { .. } | Event::Released { .. } | Event::Unknown => {}
        }
    }
}
