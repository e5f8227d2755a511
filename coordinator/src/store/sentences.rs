//! What the history of a step and the record of an attempt say, in sentences for people.

use experiment_spec::{ids::AttemptNumber, run::FailureKind};

use crate::scheduler::effects::{Because, Guard};

/// An attempt was given to a worker.
pub(super) fn assigned(worker: &str, attempt: AttemptNumber, waited_ms: i64) -> String {
    format!("assigned to worker {worker} (attempt {attempt}), queued for {}", seconds(waited_ms))
}

/// A report came too late to count.
pub(super) fn set_aside(attempt: AttemptNumber, what: &str) -> String {
    format!("attempt {attempt} no longer had its lease: what it reported late ({what}) does not count")
}

/// What an attempt goes on from was made on another worker: the end of the sentence that it started.
pub(super) fn made_by(worker: &str) -> String {
    format!(", made by worker {worker}")
}

/// A step has its result.
pub(super) fn succeeded(took_ms: i64) -> String {
    format!("succeeded after {}", seconds(took_ms))
}

/// How an attempt ended whose step goes back into the queue.
pub(super) struct GivenBack {
    pub(super) outcome: &'static str,
    pub(super) kind: FailureKind,
    /// Why, for the record of the attempt.
    pub(super) why: String,
    /// The same, for the history of the step.
    pub(super) sentence: String,
}

/// An attempt ended without a result and its step goes back into the queue: for how long it pauses, whether it is to go to
/// another worker, and how many retries it has left.
pub(super) fn given_back(
    guard: &Guard,
    because: &Because,
    worker: &str,
    (pause_ms, elsewhere, retries_left): (i64, bool, u32),
) -> GivenBack {
    let (outcome, kind, why) = match because {
        Because::WorkerLost => ("lost", FailureKind::Lost, format!("worker {worker} was not heard of any more")),
        Because::WorkerWithoutIt => {
            ("given-back", FailureKind::Lost, format!("worker {worker} started again without it"))
        }
        Because::Released { reason } => {
            ("given-back", FailureKind::Lost, format!("worker {worker} gave it back: {reason}"))
        }
        Because::Failed { kind, message } => ("failed", *kind, message.clone()),
    };
    let sentence = if outcome == "failed" {
        let pause = seconds(pause_ms);
        let left = if retries_left == 1 { "1 retry left".to_owned() } else { format!("{retries_left} retries left") };
        let place = if elsewhere { " on another worker, if one could hold it" } else { "" };
        format!("attempt {} failed ({}): {why}; again after {pause}{place}, {left}", guard.attempt, kind.name())
    } else {
        format!("queued again: {why}")
    };
    GivenBack { outcome, kind, why, sentence }
}

/// A length of time for people.
fn seconds(ms: i64) -> String {
    match ms.max(0) / 1_000 {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}
