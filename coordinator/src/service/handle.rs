//! How everybody else speaks to the owner: one bounded queue of commands, each with its answer.

use std::{collections::BTreeSet, time::Duration};

use experiment_spec::ids::{AttemptKey, StepId, SubmissionId, WorkerId};
use tokio::sync::{mpsc, oneshot};

use super::{planning::Planned, refusal::Refusal, reports::Report};
use crate::{
    keep::Rule,
    scheduler::{
        census::Census,
        forecast::{Forecast, Group},
        place::Free,
        state::Grant,
    },
    store::{assignments::Told, kept::Due, submissions::NewSubmission, thinning::Thinned, workers::Registration},
};

/// Commands that may wait. More means that the disk does not keep up: callers are told to try again.
pub(crate) const MAX_COMMANDS: usize = 1_024;

/// Result of a command.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// A submission that is in order, to be queued.
#[derive(Clone, Debug)]
pub(crate) struct Submit {
    pub(crate) new: NewSubmission,
    pub(crate) planned: Planned,
    pub(crate) force: bool,
    pub(crate) resume: bool,
}

/// Which submission answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Submitted {
    pub(crate) id: SubmissionId,
    pub(crate) resumed: bool,
}

/// A worker that comes.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    pub(crate) worker: Registration,
    pub(crate) held: BTreeSet<AttemptKey>,
}

/// What a worker that came is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) id: WorkerId,
    pub(crate) drop: Vec<AttemptKey>,
    pub(crate) last_sequence: u64,
}

/// A poll.
#[derive(Clone, Debug)]
pub(crate) struct Poll {
    pub(crate) worker: WorkerId,
    pub(crate) reports: Vec<Report>,
    pub(crate) free: Free,
    pub(crate) draining: bool,
    pub(crate) held: BTreeSet<AttemptKey>,
    /// Why it takes nothing at present; empty while it does.
    pub(crate) halted: String,
}

/// One attempt for a worker to start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) key: AttemptKey,
    pub(crate) grant: Grant,
    pub(crate) told: Told,
}

/// The answer to a poll.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Polled {
    pub(crate) acknowledged: u64,
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) stop: Vec<AttemptKey>,
    pub(crate) register_again: bool,
}

/// Which steps to cancel: those of a submission (by name or id), or these.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) submission: Option<String>,
    pub(crate) steps: Vec<StepId>,
}

/// Which steps to queue again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retry {
    pub(crate) chosen: Chosen,
    /// Only those that failed in this way.
    pub(crate) failure_kind: Option<String>,
    /// Of a submission, also those that were cancelled.
    pub(crate) cancelled_too: bool,
}

/// What is changed about when steps are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Paused(bool),
    Priority(i32),
}

/// Contents that go by a keep rule.
#[derive(Clone, Debug)]
pub(crate) struct Forget {
    pub(crate) rule: Rule,
    pub(crate) due: Vec<Due>,
    /// Content that somebody wanted more recently stays.
    pub(crate) youth: Duration,
}

/// Everything the owner does.
#[derive(Debug)]
pub(crate) enum Command {
    Submit(Box<Submit>, oneshot::Sender<Answer<Submitted>>),
    Register(Box<Register>, oneshot::Sender<Answer<Registered>>),
    Poll(Box<Poll>, oneshot::Sender<Answer<Polled>>),
    Cancel(Chosen, oneshot::Sender<Answer<u32>>),
    Retry(Retry, oneshot::Sender<Answer<u32>>),
    /// Answered with the number of live steps that it is about.
    Steer(Chosen, Change, oneshot::Sender<Answer<u32>>),
    /// What these groups of steps would take.
    Forecast(Vec<Group>, oneshot::Sender<Answer<Forecast>>),
    /// How many there are of what.
    Count(oneshot::Sender<Answer<Census>>),
    /// A worker gets nothing new, or gets work again; answered with its name and what it is at work on.
    Drain {
        worker: String,
        undo: bool,
        reply: oneshot::Sender<Answer<(String, Vec<StepId>)>>,
    },
    /// Why a step stands where it stands, in sentences; none for one that is final.
    Why(StepId, oneshot::Sender<Answer<Vec<String>>>),
    /// Contents are kept no more; answered when the record says so.
    Forget(Forget, oneshot::Sender<Answer<()>>),
    /// Curves of a step that has ended keep no more points than this; answered with how many there were and are.
    Thin {
        step: StepId,
        points: u32,
        reply: oneshot::Sender<Answer<Thinned>>,
    },
    /// Look for workers that were not heard of; answered with their number.
    Sweep(oneshot::Sender<Answer<u32>>),
    /// Close the store; the last command.
    Stop(oneshot::Sender<Answer<()>>),
}

/// Speaks to the owner.
#[derive(Clone, Debug)]
pub(crate) struct Handle(pub(crate) mpsc::Sender<Command>);

impl Handle {
    /// Sends a command and waits for its answer.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Answer<T>>) -> Command) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.try_send(command(sender)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(_) => Refusal::Stopping,
        })?;
        receiver.await.map_err(|_| Refusal::Stopping)?
    }
}
