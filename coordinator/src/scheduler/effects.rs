//! What the reactor decided: each effect is one guarded transition or one line of history. The store
//! writes all effects of an event in one transaction, before anybody is told.

use experiment_spec::{
    ids::{AttemptKey, AttemptNumber, LeaseToken, StepId, WorkerId},
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
    /// Queued to assigned, with the attempt raised by one, under a new lease.
    Assign { guard: Guard, worker: WorkerId, grant: Grant, lease: LeaseToken },
    /// Assigned to running.
    Start { guard: Guard },
    /// Back into the queue.
    Requeue { guard: Guard, because: Because, retries_left: u32, not_before_ms: i64, shuns: Option<WorkerId> },
    /// Done.
    Succeed { guard: Guard },
    /// Ended without.
    Fail { guard: Guard, kind: FailureKind, message: String },
    /// Taken back by a user.
    Cancel { guard: Guard },
    /// A report of an attempt that no longer counts: acknowledged, kept as a line of history.
    SetAside { step: StepId, attempt: AttemptNumber, what: &'static str },
    /// A worker gets nothing for a while.
    PutAside { worker: WorkerId, until_ms: i64, reason: String },
}

impl Effect {
    /// The attempt that it makes, if it is an assignment.
    pub(crate) fn assigned(&self) -> Option<(AttemptKey, Grant)> {
        let Self::Assign { guard, grant, lease, .. } = self else { return None };
        let attempt = AttemptNumber(guard.attempt.0 + 1);
        Some((AttemptKey { step: guard.step, attempt, lease: *lease }, *grant))
    }

    /// Says it in the program's own log.
    pub(crate) fn trace(&self) {
        match self {
            Self::Assign { guard, worker, grant, .. } => {
                tracing::info!(
                    step = guard.step.0,
                    attempt = guard.attempt.0 + 1,
                    worker = worker.0,
                    ?grant,
                    "assigned"
                );
            }
            Self::Start { guard } => tracing::info!(step = guard.step.0, attempt = guard.attempt.0, "started"),
            Self::Requeue { guard, because, .. } => {
                tracing::info!(step = guard.step.0, attempt = guard.attempt.0, ?because, "queued again");
            }
            Self::Succeed { guard } => tracing::info!(step = guard.step.0, attempt = guard.attempt.0, "succeeded"),
            Self::Fail { guard, kind, message } => {
                tracing::info!(step = guard.step.0, attempt = guard.attempt.0, kind = kind.name(), message, "failed");
            }
            Self::Cancel { guard } => tracing::info!(step = guard.step.0, attempt = guard.attempt.0, "cancelled"),
            Self::SetAside { step, attempt, what } => {
                tracing::info!(step = step.0, attempt = attempt.0, what, "late report set aside");
            }
            Self::PutAside { worker, reason, .. } => tracing::warn!(worker = worker.0, reason, "worker put aside"),
        }
    }
}
