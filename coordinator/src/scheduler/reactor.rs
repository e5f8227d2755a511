//! What the scheduler does about what happened: free functions named after the event, which change the
//! state and push effects. They never wait and never write, so every race is an ordinary unit test.

use std::collections::BTreeSet;

use experiment_spec::{
    ids::{AttemptKey, AttemptNumber, StepId, WorkerId},
    run::FailureKind,
};

use super::{
    effects::{Because, Effect, Guard},
    place::{Free, place},
    queue::Ask,
    setbacks::{give_back, note_failure, note_success},
    state::{Capacity, Grant, Phase, Scheduler, Step, Worker},
};

/// What an attempt reported, as far as it decides anything here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    /// Its process is at work.
    Started,
    /// Metrics, log lines, checkpoints, progress.
    Detail,
    /// It ended with a result.
    Succeeded,
    /// It ended without.
    Failed { kind: FailureKind, message: String },
    /// The worker gives the step back unfinished.
    Released { reason: String },
}

/// A worker as it registers.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) name: String,
    pub(crate) capacity: Capacity,
    /// A user has drained it before.
    pub(crate) drained: bool,
}

/// What a worker says of itself in a poll.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poll {
    pub(crate) free: Free,
    pub(crate) draining: bool,
    /// Attempts it has, and those it reported about in this poll.
    pub(crate) held: BTreeSet<AttemptKey>,
    /// Why it takes nothing at present.
    pub(crate) halted: Option<String>,
}

/// What a poll is answered, besides new assignments (which are effects).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PollAnswer {
    /// Attempts it does not know of although they are its own: the answer that held them was lost.
    pub(crate) again: Vec<(AttemptKey, Grant)>,
    /// Attempts that no longer count.
    pub(crate) stop: Vec<AttemptKey>,
}

/// Steps were queued in the store, extractions before what needs them.
pub(crate) fn on_queued(scheduler: &mut Scheduler, mut steps: Vec<Step>) {
    // Extractions first, whatever their numbers: features that are gone are made by a step younger than its runs.
    steps.sort_by_key(|step| step.needs.is_some());
    for mut step in steps {
        let waits = step.needs.is_some_and(|needs| scheduler.step(needs).is_some());
        step.phase = if waits { Phase::Waiting } else { Phase::Ready { not_before_ms: 0 } };
        scheduler.insert(step);
    }
}

/// A submission came that asks for steps which are here already.
pub(crate) fn on_asked(scheduler: &mut Scheduler, asks: &[(StepId, Ask)]) {
    for (step, ask) in asks {
        let known = |step: &Step| step.asks.iter().any(|known| known.submission == ask.submission);
        if scheduler.step(*step).is_some_and(|step| !known(step)) {
            scheduler.update(*step, |step| step.asks.push(*ask));
        }
    }
}

/// A worker came, or came again. Returns those of `held` that no longer count.
pub(crate) fn on_worker_registered(
    scheduler: &mut Scheduler,
    id: WorkerId,
    arrived: Arrived,
    held: &BTreeSet<AttemptKey>,
    now_ms: i64,
    effects: &mut Vec<Effect>,
) -> Vec<AttemptKey> {
    for key in scheduler.at_work(id) {
        if !held.contains(&key) {
            give_back(scheduler, id, key, Because::WorkerWithoutIt, now_ms, effects);
        }
    }
    let mut taken = scheduler.workers.remove(&id).map(|worker| worker.taken).unwrap_or_default();
    taken.retain(|key, _| held.contains(key));
    let Arrived { name, capacity, drained } = arrived;
    scheduler.workers.insert(id, Worker { name, capacity, taken, drained, ..Worker::default() });
    held.iter().copied().filter(|key| !scheduler.is_current(id, *key)).collect()
}

/// A worker was not heard of for too long.
pub(crate) fn on_worker_lost(scheduler: &mut Scheduler, id: WorkerId, now_ms: i64, effects: &mut Vec<Effect>) {
    for key in scheduler.at_work(id) {
        give_back(scheduler, id, key, Because::WorkerLost, now_ms, effects);
    }
    scheduler.workers.remove(&id);
}

/// A worker polled; its reports were handled before.
pub(crate) fn on_worker_polled(
    scheduler: &mut Scheduler,
    id: WorkerId,
    poll: &Poll,
    now_ms: i64,
    effects: &mut Vec<Effect>,
) -> PollAnswer {
    let mut answer = PollAnswer::default();
    for key in scheduler.at_work(id) {
        if poll.held.contains(&key) {
            continue;
        }
        match scheduler.step(key.step).map(|step| step.phase) {
            Some(Phase::Assigned(_)) => answer.again.push((key, scheduler.workers[&id].taken[&key])),
            _ => give_back(scheduler, id, key, Because::WorkerWithoutIt, now_ms, effects),
        }
    }
    if let Some(worker) = scheduler.workers.get_mut(&id) {
        worker.halted.clone_from(&poll.halted);
    }
    answer.stop = poll.held.iter().copied().filter(|key| !scheduler.is_current(id, *key)).collect();
    release_gone(scheduler, id, &poll.held);
    if !poll.draining {
        for (step, grant) in place(scheduler, id, &poll.free, now_ms) {
            assign(scheduler, id, step, grant, now_ms, effects);
        }
    }
    answer
}

/// An attempt reported something. Returns whether the attempt counts: if not, nothing of the report
/// is kept but a line of history.
pub(crate) fn on_report(
    scheduler: &mut Scheduler,
    worker: WorkerId,
    key: AttemptKey,
    reported: Reported,
    now_ms: i64,
    effects: &mut Vec<Effect>,
) -> bool {
    let AttemptKey { step: id, attempt, .. } = key;
    let Some(step) = scheduler.step(id).filter(|_| scheduler.is_current(worker, key)) else {
        let what = match reported {
            Reported::Started => "start",
            Reported::Succeeded => "result",
            Reported::Failed { .. } => "failure",
            Reported::Released { .. } => "release",
            Reported::Detail => return false,
        };
        effects.push(Effect::SetAside { step: id, attempt, what });
        return false;
    };
    let guard = Guard::of(step);
    match reported {
        Reported::Detail => {}
        Reported::Started => {
            if matches!(step.phase, Phase::Assigned(_)) {
                effects.push(Effect::Start { guard });
                scheduler.set_phase(id, Phase::Running(worker), now_ms);
            }
        }
        Reported::Succeeded => {
            effects.push(Effect::Succeed { guard });
            scheduler.release(worker, key);
            scheduler.remove(id);
            note_success(scheduler, worker);
            for waiting in scheduler.waiting_for(id) {
                scheduler.set_phase(waiting, Phase::Ready { not_before_ms: 0 }, now_ms);
            }
        }
        Reported::Failed { kind, message } => {
            note_failure(scheduler, worker, id, (kind, &message), now_ms, effects);
            give_back(scheduler, worker, key, Because::Failed { kind, message }, now_ms, effects);
        }
        Reported::Released { reason } => {
            give_back(scheduler, worker, key, Because::Released { reason }, now_ms, effects);
        }
    }
    true
}

/// A user took steps back; what waits for one of them is taken back with it.
pub(crate) fn on_cancelled(scheduler: &mut Scheduler, steps: &[StepId], effects: &mut Vec<Effect>) {
    for &id in steps {
        let Some(step) = scheduler.step(id) else { continue };
        effects.push(Effect::Cancel { guard: Guard::of(step) });
        let waiting = scheduler.waiting_for(id);
        // What it occupies is released when its worker no longer has it.
        scheduler.remove(id);
        on_cancelled(scheduler, &waiting, effects);
    }
}

fn assign(
    scheduler: &mut Scheduler,
    worker: WorkerId,
    id: StepId,
    grant: Grant,
    now_ms: i64,
    effects: &mut Vec<Effect>,
) {
    let step = scheduler.step(id).expect("only queued steps are placed");
    let attempt = AttemptNumber(step.attempt.0 + 1);
    let lease = scheduler.new_lease(id, attempt);
    effects.push(Effect::Assign { guard: Guard::of(step), worker, grant, lease });
    scheduler.update(id, |step| (step.attempt, step.lease, step.shuns) = (attempt, lease, None));
    scheduler.set_phase(id, Phase::Assigned(worker), now_ms);
    let worker = scheduler.workers.get_mut(&worker).expect("steps are placed on workers that are online");
    worker.taken.insert(AttemptKey { step: id, attempt, lease }, grant);
}

/// Frees what attempts occupied that neither count nor are there any more.
fn release_gone(scheduler: &mut Scheduler, id: WorkerId, held: &BTreeSet<AttemptKey>) {
    let current: BTreeSet<_> = scheduler.at_work(id).into_iter().collect();
    if let Some(worker) = scheduler.workers.get_mut(&id) {
        worker.taken.retain(|key, _| current.contains(key) || held.contains(key));
    }
}

/// A user drains a worker, or undoes that; then it is no longer put aside either.
pub(crate) fn on_drained(scheduler: &mut Scheduler, id: WorkerId, drained: bool) {
    if let Some(worker) = scheduler.workers.get_mut(&id) {
        worker.drained = drained;
        if !drained {
            worker.aside = None;
            worker.quick_failures.clear();
        }
    }
}
