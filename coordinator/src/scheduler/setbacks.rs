//! What the scheduler does about attempts that end without a result: again or not, when, where; and about workers on
//! which one after the other does.

use experiment_spec::{
    ids::{AttemptKey, AttemptNumber, StepId, WorkerId},
    run::{FailureKind, Policy},
};

use super::{
    effects::{Because, Effect, Guard},
    state::{Phase, Scheduler},
};

/// Attempts after which a step is given up even when each one only lost its worker: it may be what
/// brings the workers down.
pub(crate) const MAX_ATTEMPTS: u32 = 1_000;
/// Pause before the attempt after a first failure; doubles with each attempt.
const FIRST_BACK_OFF_MS: i64 = 2_000;
/// Longest pause.
const MAX_BACK_OFF_MS: i64 = 60_000;
/// A failure within this time says something about the worker.
const QUICK_MS: i64 = 60_000;
/// So many different steps must fail quickly on a worker, none succeeding between, for it to be put aside.
const QUICK_FAILURES: usize = 3;
/// For how long: then it is tried again.
const ASIDE_MS: i64 = 300_000;
/// Longest message of a failure that is repeated about a worker, in characters.
const MAX_REASON: usize = 200;

/// Whether a pause up to that time still lasts. One that is longer than any that was ever set comes from a clock that
/// has been set back: it is over.
pub(crate) fn still_pauses(until_ms: i64, now_ms: i64) -> bool {
    (1..=MAX_BACK_OFF_MS).contains(&(until_ms - now_ms))
}

/// Whether a worker that was put aside up to that time still is; as [`still_pauses`].
pub(crate) fn still_aside(until_ms: i64, now_ms: i64) -> bool {
    (1..=ASIDE_MS).contains(&(until_ms - now_ms))
}

/// The attempt ended without a result: into the queue again, or failed for good.
pub(super) fn give_back(
    scheduler: &mut Scheduler,
    worker: WorkerId,
    key: AttemptKey,
    because: Because,
    now_ms: i64,
    effects: &mut Vec<Effect>,
) {
    let AttemptKey { step: id, attempt, .. } = key;
    scheduler.release(worker, key);
    let Some(step) = scheduler.step(id) else { return };
    let guard = Guard::of(step);
    let (again, retries_left, not_before_ms, shuns) = match &because {
        Because::WorkerLost | Because::WorkerWithoutIt => (true, step.retries_left, 0, None),
        // A worker without room must not be offered it again at once.
        Because::Released { .. } => (true, step.retries_left, now_ms + FIRST_BACK_OFF_MS, None),
        Because::Failed { kind, .. } => (
            kind.policy() != Policy::NotAgain && step.retries_left > 0,
            step.retries_left.saturating_sub(1),
            now_ms + back_off_ms(attempt),
            (kind.policy() == Policy::Elsewhere).then_some(worker),
        ),
    };
    if again && attempt.0 < MAX_ATTEMPTS {
        effects.push(Effect::Requeue { guard, because, retries_left, not_before_ms, shuns });
        scheduler.update(id, |step| (step.retries_left, step.shuns) = (retries_left, shuns));
        scheduler.set_phase(id, Phase::Ready { not_before_ms }, now_ms);
        return;
    }
    let (kind, message) = match because {
        Because::Failed { kind, message } => (kind, message),
        Because::WorkerLost | Because::WorkerWithoutIt | Because::Released { .. } => {
            (FailureKind::Lost, format!("given up after {MAX_ATTEMPTS} attempts that each lost their worker"))
        }
    };
    fail(scheduler, id, kind, message, effects);
}

/// A step failed for good, and with it everything that waits for it.
fn fail(scheduler: &mut Scheduler, id: StepId, kind: FailureKind, message: String, effects: &mut Vec<Effect>) {
    let Some(step) = scheduler.step(id) else { return };
    let guard = Guard::of(step);
    let waiting = scheduler.waiting_for(id);
    scheduler.remove(id);
    for waits in waiting {
        let reason = format!("its features could not be made: extraction {id} failed: {message}");
        fail(scheduler, waits, kind, reason, effects);
    }
    effects.push(Effect::Fail { guard, kind, message });
}

/// An attempt is about to be given back as failed: its worker is put aside when too many were, unless nobody else is
/// there to work.
pub(super) fn note_failure(
    scheduler: &mut Scheduler,
    id: WorkerId,
    step: StepId,
    (kind, message): (FailureKind, &str),
    now_ms: i64,
    effects: &mut Vec<Effect>,
) {
    let quick = scheduler.step(step).is_some_and(|step| now_ms - step.since_ms < QUICK_MS);
    let others = scheduler.workers.iter().any(|(other, worker)| *other != id && worker.takes_work(now_ms));
    let Some(worker) = scheduler.workers.get_mut(&id) else { return };
    if !quick || kind.policy() == Policy::NotAgain {
        return;
    }
    worker.quick_failures.insert(step);
    if worker.quick_failures.len() < QUICK_FAILURES || !others {
        return;
    }
    worker.quick_failures.clear();
    let message: String = message.chars().take(MAX_REASON).collect();
    let reason = format!(
        "{QUICK_FAILURES} steps failed on it within a minute each, none succeeded between; the last one: {}: {message}",
        kind.name()
    );
    let until_ms = now_ms + ASIDE_MS;
    worker.aside = Some((until_ms, reason.clone()));
    effects.push(Effect::PutAside { worker: id, until_ms, reason });
}

/// An attempt succeeded: its worker can work.
pub(super) fn note_success(scheduler: &mut Scheduler, id: WorkerId) {
    if let Some(worker) = scheduler.workers.get_mut(&id) {
        worker.quick_failures.clear();
    }
}

fn back_off_ms(attempt: AttemptNumber) -> i64 {
    let doublings = attempt.0.saturating_sub(1).min(10);
    (FIRST_BACK_OFF_MS << doublings).min(MAX_BACK_OFF_MS)
}
