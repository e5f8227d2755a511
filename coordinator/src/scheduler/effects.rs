//! What the reactor decided: each effect is one guarded transition or one line of history. The store
//! writes all effects of an event in one transaction, before anybody is told.

use experiment_spec::{
    ids::{AttemptNumber, StepId, WorkerId},
    run::{FailureKind, State},
};

use super::state::{Grant, Phase, Step};

/// Step, state and attempt that a transition starts from; repeated by the store in its `WHERE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guard {
    pub(crate) step: StepId,
    pub(crate) state: State,
    pub(crate) attempt: AttemptNumber,
    pub(crate) worker: Option<WorkerId>,
    /// When it came into that state.
    pub(crate) since_ms: i64,
}

impl Guard {
    /// Guard on the step as it stands.
    pub(crate) fn of(step: &Step) -> Self {
        Self {
            step: step.id,
            state: step.phase.state(),
            attempt: step.attempt,
            worker: Phase::worker(step.phase),
            since_ms: step.since_ms,
        }
    }
}

/// Why an attempt's step goes back into the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// Its worker was not heard of any more.
    WorkerLost,
    /// Its worker came or polled without it.
    WorkerWithoutIt,
    /// Its worker gave it back unfinished, and says why.
    Released { reason: String },
    /// It failed in a way that another attempt may not.
    Failed { kind: FailureKind, message: String },
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Queued to assigned, with the attempt raised by one.
    Assign { guard: Guard, worker: WorkerId, grant: Grant },
    /// Assigned to running.
    Start { guard: Guard },
    /// Back into the queue.
    Requeue { guard: Guard, because: Because, retries_left: u32, not_before_ms: i64 },
    /// Done.
    Succeed { guard: Guard },
    /// Ended without.
    Fail { guard: Guard, kind: FailureKind, message: String },
    /// Taken back by a user.
    Cancel { guard: Guard },
    /// A report of an attempt that no longer counts: acknowledged, kept as a line of history.
    SetAside { step: StepId, attempt: AttemptNumber, what: &'static str },
}
