//! What the store would hold: effects are applied to it under their guards, as the store does.

use std::collections::{BTreeMap, BTreeSet};

use experiment_spec::{
    ids::{AttemptKey, AttemptNumber, LeaseToken, StepId, SubmissionId, WorkerId},
    run::{FailureKind, Resources, State},
};

use crate::scheduler::{
    effects::{Effect, Guard},
    place::Free,
    queue::Ask,
    reactor::{self, Arrived, Poll, PollAnswer, Reported},
    state::{Capacity, Phase, Scheduler, Step},
};

/// A step as stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) state: State,
    pub(super) attempt: AttemptNumber,
    pub(super) needs: Option<StepId>,
    pub(super) asks: Vec<Ask>,
    pub(super) resources: Resources,
    pub(super) failure: Option<(FailureKind, String)>,
}

/// Scheduler and model store side by side.
#[derive(Default)]
pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) stored: BTreeMap<StepId, Stored>,
    pub(super) succeeded: BTreeSet<StepId>,
    pub(super) now_ms: i64,
    pub(super) retries: u32,
    pub(super) drained: BTreeSet<i64>,
}

pub(super) fn step(id: i64) -> StepId {
    StepId(id)
}

pub(super) fn key(id: i64, attempt: u32) -> AttemptKey {
    let (step, attempt) = (StepId(id), AttemptNumber(attempt));
    AttemptKey { step, attempt, lease: Scheduler::default().new_lease(step, attempt) }
}

pub(super) fn cpus(cpus: u32) -> Resources {
    Resources { cpus, ..Resources::default() }
}

pub(super) fn cpu_worker(cpus: u32) -> Capacity {
    Capacity { cpus, memory_bytes: 1 << 30, ..Capacity::default() }
}

pub(super) fn failed(kind: FailureKind) -> Reported {
    Reported::Failed { kind, message: format!("it was {}", kind.name()) }
}

impl World {
    pub(super) fn new(retries: u32) -> Self {
        Self { retries, ..Self::default() }
    }

    /// Adds a submission of one extraction and so many runs; returns their ids.
    pub(super) fn submit(&mut self, runs: u32, resources: &Resources) -> Vec<StepId> {
        let submission = SubmissionId(i64::try_from(self.stored.len()).unwrap() + 1);
        let first = i64::try_from(self.stored.len()).unwrap() + 1;
        let ids: Vec<_> = (0..=i64::from(runs)).map(|index| StepId(first + index)).collect();
        for (position, id) in (0..).zip(&ids) {
            let stored = Stored {
                state: State::Queued,
                attempt: AttemptNumber(0),
                needs: (position > 0).then_some(ids[0]),
                asks: vec![Ask { submission, round: 0, position }],
                resources: resources.clone(),
                failure: None,
            };
            self.stored.insert(*id, stored);
        }
        self.queue(&ids);
        ids
    }

    fn queue(&mut self, ids: &[StepId]) {
        let steps = ids.iter().map(|id| {
            let stored = &self.stored[id];
            Step {
                id: *id,
                asks: stored.asks.clone(),
                priority: None,
                paused: false,
                expected_ms: None,
                needs: stored.needs,
                resources: stored.resources.clone(),
                attempt: stored.attempt,
                lease: LeaseToken::default(),
                retries_left: self.retries,
                shuns: None,
                since_ms: self.now_ms,
                phase: Phase::Waiting,
            }
        });
        reactor::on_queued(&mut self.scheduler, steps.collect());
        self.check();
    }

    /// Queues a final step again, after the extraction it needs, as the store does for a retry.
    pub(super) fn retry(&mut self, id: StepId) {
        let chain: Vec<_> = self.stored[&id].needs.into_iter().chain([id]).collect();
        let again: Vec<_> = chain.into_iter().filter(|id| self.stored[id].state.next() == [State::Queued]).collect();
        for id in &again {
            self.stored.get_mut(id).unwrap().state = State::Queued;
        }
        self.queue(&again);
    }

    pub(super) fn register(&mut self, worker: i64, capacity: Capacity, held: &[AttemptKey]) -> Vec<AttemptKey> {
        let drained = self.drained.contains(&worker);
        let arrived = Arrived { name: format!("w{worker}"), capacity, drained };
        let held = held.iter().copied().collect();
        let mut effects = Vec::new();
        let id = WorkerId(worker);
        let drop = reactor::on_worker_registered(&mut self.scheduler, id, arrived, &held, self.now_ms, &mut effects);
        self.apply(&effects);
        drop
    }

    /// An honest poll: everything that is not held is free.
    pub(super) fn poll(&mut self, worker: i64, held: &[AttemptKey]) -> (PollAnswer, Vec<Effect>) {
        let Some(known) = self.scheduler.workers.get(&WorkerId(worker)) else { return Default::default() };
        let free = Free::all_of(&known.capacity);
        self.poll_with(worker, &Poll { free, held: held.iter().copied().collect(), ..Poll::default() })
    }

    pub(super) fn poll_with(&mut self, worker: i64, poll: &Poll) -> (PollAnswer, Vec<Effect>) {
        let mut effects = Vec::new();
        let id = WorkerId(worker);
        let answer = reactor::on_worker_polled(&mut self.scheduler, id, poll, self.now_ms, &mut effects);
        self.apply(&effects);
        (answer, effects)
    }

    /// What a poll newly gives to a worker.
    pub(super) fn given(&mut self, worker: i64, held: &[AttemptKey]) -> Vec<AttemptKey> {
        assignments(&self.poll(worker, held).1)
    }

    pub(super) fn report(&mut self, worker: i64, key: AttemptKey, reported: Reported) -> (bool, Vec<Effect>) {
        let mut effects = Vec::new();
        let id = WorkerId(worker);
        let counts = reactor::on_report(&mut self.scheduler, id, key, reported, self.now_ms, &mut effects);
        self.apply(&effects);
        (counts, effects)
    }

    pub(super) fn lose(&mut self, worker: i64) -> Vec<Effect> {
        let mut effects = Vec::new();
        reactor::on_worker_lost(&mut self.scheduler, WorkerId(worker), self.now_ms, &mut effects);
        self.apply(&effects);
        effects
    }

    pub(super) fn drain(&mut self, worker: i64, drained: bool) {
        if drained {
            self.drained.insert(worker);
        } else {
            self.drained.remove(&worker);
        }
        reactor::on_drained(&mut self.scheduler, WorkerId(worker), drained);
    }

    pub(super) fn cancel(&mut self, ids: &[StepId]) -> Vec<Effect> {
        let mut effects = Vec::new();
        reactor::on_cancelled(&mut self.scheduler, ids, &mut effects);
        self.apply(&effects);
        effects
    }

    pub(super) fn state(&self, id: i64) -> State {
        self.stored[&StepId(id)].state
    }

    fn apply(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Assign { guard, .. } => {
                    self.go(guard, State::Assigned);
                    self.stored.get_mut(&guard.step).unwrap().attempt.0 += 1;
                }
                Effect::Start { guard } => self.go(guard, State::Running),
                Effect::Requeue { guard, .. } => self.go(guard, State::Queued),
                Effect::Succeed { guard } => {
                    self.go(guard, State::Succeeded);
                    assert!(self.succeeded.insert(guard.step), "{} succeeds once", guard.step);
                }
                Effect::Fail { guard, kind, message } => {
                    self.go(guard, State::Failed);
                    self.stored.get_mut(&guard.step).unwrap().failure = Some((*kind, message.clone()));
                }
                Effect::Cancel { guard } => self.go(guard, State::Cancelled),
                Effect::SetAside { .. } | Effect::PutAside { .. } => {}
            }
        }
        self.check();
    }

    fn go(&mut self, guard: &Guard, to: State) {
        let stored = self.stored.get_mut(&guard.step).expect("effects are about steps that exist");
        assert_eq!((stored.state, stored.attempt), (guard.state, guard.attempt), "guard of {}", guard.step);
        assert!(stored.state.next().contains(&to), "{:?} to {to:?}", stored.state);
        stored.state = to;
    }

    /// Scheduler and store agree on every step.
    fn check(&self) {
        self.scheduler.check();
        for (id, stored) in &self.stored {
            let live = self.scheduler.step(*id);
            assert_eq!(live.is_none(), stored.state.is_final(), "{id} is live unless it is final");
            if let Some(live) = live {
                assert_eq!((live.phase.state(), live.attempt), (stored.state, stored.attempt), "step {id}");
            }
        }
    }
}

/// Attempts that effects assign.
pub(super) fn assignments(effects: &[Effect]) -> Vec<AttemptKey> {
    effects.iter().filter_map(Effect::assigned).map(|(key, _)| key).collect()
}
