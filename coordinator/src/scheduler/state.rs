//! What the scheduler knows: the steps that are not final, and the workers that are online.

use std::collections::{BTreeMap, BTreeSet};

use experiment_spec::{
    ids::{AttemptKey, AttemptNumber, LeaseToken, StepId, SubmissionId, WorkerId},
    run::{Resources, State},
};

use super::{
    queue::{Ask, Place, Queue, Standing},
    setbacks::still_aside,
};

/// What one attempt occupies of its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) cpus: u32,
    /// Index of the GPU and thousandths of it.
    pub(crate) gpu: Option<(u32, u32)>,
    pub(crate) memory_bytes: u64,
}

/// Where a live step is. Only what is at work has a worker, so nothing else can be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Queued; the extraction it needs has not succeeded.
    Waiting,
    /// Queued; may be assigned from this time on.
    Ready { not_before_ms: i64 },
    /// Given to a worker.
    Assigned(WorkerId),
    /// Confirmed by its worker.
    Running(WorkerId),
}

impl Phase {
    /// The worker that has it.
    pub(crate) fn worker(self) -> Option<WorkerId> {
        match self {
            Self::Waiting | Self::Ready { .. } => None,
            Self::Assigned(worker) | Self::Running(worker) => Some(worker),
        }
    }

    /// The state that is stored.
    pub(crate) fn state(self) -> State {
        match self {
            Self::Waiting | Self::Ready { .. } => State::Queued,
            Self::Assigned(_) => State::Assigned,
            Self::Running(_) => State::Running,
        }
    }
}

/// A step that is not final.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) id: StepId,
    /// Who asks for it, the first submission first.
    pub(crate) asks: Vec<Ask>,
    /// Its own priority, in place of its submissions'.
    pub(crate) priority: Option<i32>,
    /// Paused by itself.
    pub(crate) paused: bool,
    /// How long it takes, by like steps.
    pub(crate) expected_ms: Option<u64>,
    /// The extraction that must succeed first; `None` when there is none.
    pub(crate) needs: Option<StepId>,
    pub(crate) resources: Resources,
    pub(crate) attempt: AttemptNumber,
    /// Of the current attempt; 0 while nobody has the step.
    pub(crate) lease: LeaseToken,
    pub(crate) retries_left: u32,
    /// The worker on which the attempt before failed in a way that another one may not.
    pub(crate) shuns: Option<WorkerId>,
    /// When it came into its present state.
    pub(crate) since_ms: i64,
    pub(crate) phase: Phase,
}

/// What a worker has in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) cpus: u32,
    /// Indices of its GPUs.
    pub(crate) gpus: Vec<u32>,
    pub(crate) memory_bytes: u64,
    /// What it calls itself.
    pub(crate) labels: BTreeSet<String>,
}

/// A worker that is online.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) capacity: Capacity,
    /// Current attempts, and those told to stop whose processes may still be there.
    pub(crate) taken: BTreeMap<AttemptKey, Grant>,
    /// Steps that failed on it soon after they were given to it, since one succeeded.
    pub(crate) quick_failures: BTreeSet<StepId>,
    /// It gets nothing until this time, and why.
    pub(crate) aside: Option<(i64, String)>,
    /// It gets nothing until a user says otherwise.
    pub(crate) drained: bool,
    /// Why it takes nothing at present, as it says itself.
    pub(crate) halted: Option<String>,
}

/// Everything that decisions are made from. Rebuilt from the store on start and after a failed write.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scheduler {
    steps: BTreeMap<StepId, Step>,
    queue: Queue,
    standings: BTreeMap<SubmissionId, Standing>,
    waiting: BTreeMap<StepId, BTreeSet<StepId>>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    /// Why nothing is given out at present, in a sentence without its subject.
    pub(crate) halted: Option<String>,
    /// What the tokens of new leases are mixed from: drawn at each start, so that no two starts give the same ones.
    lease_salt: u64,
}

impl Worker {
    /// Whether it may get work now.
    pub(crate) fn takes_work(&self, now_ms: i64) -> bool {
        !self.drained && self.halted.is_none() && !self.is_aside(now_ms)
    }

    /// Whether it gets nothing for now because too much failed on it.
    pub(crate) fn is_aside(&self, now_ms: i64) -> bool {
        self.aside.as_ref().is_some_and(|(until_ms, _)| still_aside(*until_ms, now_ms))
    }
}

impl Step {
    /// Its current attempt under its lease.
    pub(crate) fn key(&self) -> AttemptKey {
        AttemptKey { step: self.id, attempt: self.attempt, lease: self.lease }
    }

    /// The submission whose share of the fleet it counts against.
    fn first_asked_by(&self) -> SubmissionId {
        self.asks.first().map_or(SubmissionId(0), |ask| ask.submission)
    }

    fn is_asked_by(&self, submission: SubmissionId) -> bool {
        self.asks.iter().any(|ask| ask.submission == submission)
    }

    /// What it counts for among what submissions have at work.
    fn cores(&self) -> u64 {
        self.resources.cpus.max(1).into()
    }
}

/// The token of a new lease, never 0. Neighbours differ in every bit as likely as not (the finish of splitmix64).
fn lease_token(salt: u64, step: StepId, attempt: AttemptNumber) -> LeaseToken {
    let mut mixed = salt;
    for part in [step.0.cast_unsigned(), attempt.0.into()] {
        mixed = mixed.wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    LeaseToken(mixed.max(1))
}

impl Scheduler {
    /// Nothing yet; the tokens of new leases are mixed from `lease_salt`.
    pub(crate) fn new(lease_salt: u64) -> Self {
        Self { lease_salt, ..Self::default() }
    }

    /// The token of a new lease on this attempt.
    pub(crate) fn new_lease(&self, step: StepId, attempt: AttemptNumber) -> LeaseToken {
        lease_token(self.lease_salt, step, attempt)
    }

    /// Name of a worker that is online.
    pub(crate) fn name_of(&self, worker: WorkerId) -> &str {
        self.workers.get(&worker).map_or("unknown", |worker| worker.name.as_str())
    }

    /// Takes in a step that is not final. `Waiting` without a live extraction becomes ready.
    pub(crate) fn insert(&mut self, step: Step) {
        self.remove(step.id);
        self.index(&step);
        self.steps.insert(step.id, step);
    }

    /// Forgets a step, which has become final.
    pub(crate) fn remove(&mut self, id: StepId) -> Option<Step> {
        let step = self.steps.remove(&id)?;
        self.unindex(&step);
        Some(step)
    }

    /// Moves a live step into another phase.
    pub(crate) fn set_phase(&mut self, id: StepId, phase: Phase, now_ms: i64) {
        let mut step = self.remove(id).expect("only live steps change their phase");
        if step.phase.state() != phase.state() {
            step.since_ms = now_ms;
        }
        if phase.worker().is_none() {
            step.lease = LeaseToken::default();
        }
        step.phase = phase;
        self.insert(step);
    }

    fn index(&mut self, step: &Step) {
        match step.phase {
            Phase::Waiting => {
                let needs = step.needs.expect("only a step that needs another waits");
                self.waiting.entry(needs).or_default().insert(step.id);
            }
            Phase::Ready { .. } => {
                if let Some(place) = Place::of(step, &self.standings) {
                    self.queue.insert(place);
                }
            }
            Phase::Assigned(_) | Phase::Running(_) => self.queue.add_cores(step.first_asked_by(), step.cores()),
        }
    }

    fn unindex(&mut self, step: &Step) {
        match step.phase {
            Phase::Waiting => {}
            Phase::Ready { .. } => {
                if let Some(place) = Place::of(step, &self.standings) {
                    self.queue.remove(place);
                }
            }
            Phase::Assigned(_) | Phase::Running(_) => self.queue.remove_cores(step.first_asked_by(), step.cores()),
        }
        if let Some(needs) = step.needs
            && let Some(waiting) = self.waiting.get_mut(&needs)
        {
            waiting.remove(&step.id);
            if waiting.is_empty() {
                self.waiting.remove(&needs);
            }
        }
    }

    /// A live step.
    pub(crate) fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.get(&id)
    }

    /// Changes what does not decide where a step stands (attempt, retries).
    pub(crate) fn update(&mut self, id: StepId, change: impl FnOnce(&mut Step)) {
        let mut step = self.remove(id).expect("only live steps are changed");
        change(&mut step);
        self.insert(step);
    }

    /// Every step that is not final.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Step> {
        self.steps.values()
    }

    /// Steps that may be assigned, in the order of the queue (back-off not looked at).
    pub(crate) fn ready(&self) -> impl Iterator<Item = &Step> {
        self.queue.walk(|id| self.steps[&id].cores()).map(|id| &self.steps[&id])
    }

    /// How a submission stands.
    pub(crate) fn standing(&self, submission: SubmissionId) -> Standing {
        self.standings.get(&submission).copied().unwrap_or_default()
    }

    /// Sets how a submission stands; its steps take their new places.
    pub(crate) fn set_standing(&mut self, submission: SubmissionId, standing: Standing) {
        let asked: Vec<Step> = self.steps.values().filter(|step| step.is_asked_by(submission)).cloned().collect();
        for step in &asked {
            self.unindex(step);
        }
        self.standings.insert(submission, standing);
        for step in &asked {
            self.index(step);
        }
    }

    /// Live steps that a submission asks for.
    pub(crate) fn asked_by(&self, submission: SubmissionId) -> impl Iterator<Item = StepId> {
        self.steps.values().filter(move |step| step.is_asked_by(submission)).map(|step| step.id)
    }

    /// The extractions that these steps wait for and that would be given out later than at this priority.
    pub(crate) fn held_back_by(&self, steps: &[StepId], priority: i32) -> Vec<StepId> {
        let present = |step: &Step| {
            let asked = step.asks.iter().map(|ask| self.standing(ask.submission).priority).max();
            step.priority.or(asked).unwrap_or_default()
        };
        let needs: BTreeSet<StepId> = steps.iter().filter_map(|id| self.steps.get(id)?.needs).collect();
        needs.into_iter().filter(|id| self.steps.get(id).is_some_and(|step| present(step) < priority)).collect()
    }

    /// Whether a step that may be assigned stands in the queue: it does unless it is paused.
    pub(crate) fn is_queued(&self, step: &Step) -> bool {
        Place::of(step, &self.standings).is_some()
    }

    /// Steps that wait for this extraction.
    pub(crate) fn waiting_for(&self, extraction: StepId) -> Vec<StepId> {
        self.waiting.get(&extraction).map(|ids| ids.iter().copied().collect()).unwrap_or_default()
    }

    /// Current attempts of a worker.
    pub(crate) fn at_work(&self, worker: WorkerId) -> Vec<AttemptKey> {
        let taken = self.workers.get(&worker).map(|worker| &worker.taken);
        taken.into_iter().flat_map(BTreeMap::keys).copied().filter(|key| self.is_current(worker, *key)).collect()
    }

    /// Whether this attempt is the one that counts, under the lease that counts, and this worker has it.
    pub(crate) fn is_current(&self, worker: WorkerId, key: AttemptKey) -> bool {
        self.steps.get(&key.step).is_some_and(|step| step.key() == key && step.phase.worker() == Some(worker))
    }

    /// Gives back what an attempt occupied.
    pub(crate) fn release(&mut self, worker: WorkerId, key: AttemptKey) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.taken.remove(&key);
        }
    }

    /// Re-derives everything that is kept twice; for tests and debug builds.
    ///
    /// # Panics
    /// When two views disagree or a worker is over-committed.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let mut again = Self { standings: self.standings.clone(), ..Self::default() };
        for step in self.steps.values() {
            again.index(step);
        }
        assert_eq!(again.queue, self.queue, "queue and steps agree");
        let is_ready = |step: &&Step| matches!(step.phase, Phase::Ready { .. }) && self.is_queued(step);
        let ready: BTreeSet<_> = self.steps.values().filter(is_ready).map(|step| step.id).collect();
        assert_eq!(self.ready().map(|step| step.id).collect::<BTreeSet<_>>(), ready, "all that is ready is walked to");
        let mut waiting: BTreeMap<StepId, BTreeSet<StepId>> = BTreeMap::new();
        for step in self.steps.values() {
            let needs_live = step.needs.is_some_and(|needs| self.steps.contains_key(&needs));
            assert_eq!(step.phase == Phase::Waiting, needs_live, "{} waits exactly for a live extraction", step.id);
            if step.phase == Phase::Waiting {
                waiting.entry(step.needs.unwrap()).or_default().insert(step.id);
            }
            if let Some(worker) = step.phase.worker() {
                assert!(step.attempt.0 > 0, "what is at work has an attempt");
                let worker = self.workers.get(&worker).expect("what is at work is at an online worker");
                assert!(worker.taken.contains_key(&step.key()), "{} occupies its worker", step.id);
            }
        }
        assert_eq!(waiting, self.waiting, "waiting lists and steps agree");
        for worker in self.workers.values() {
            worker.check();
        }
    }
}

#[cfg(test)]
impl Worker {
    fn check(&self) {
        let cpus: u32 = self.taken.values().map(|grant| grant.cpus).sum();
        assert!(cpus <= self.capacity.cpus, "{} has {} cpus, {cpus} are taken", self.name, self.capacity.cpus);
        let memory: u64 = self.taken.values().map(|grant| grant.memory_bytes).sum();
        assert!(memory <= self.capacity.memory_bytes, "{} is over-committed in memory", self.name);
        for index in &self.capacity.gpus {
            let share: u32 = self.taken.values().filter_map(|g| g.gpu).filter(|g| g.0 == *index).map(|g| g.1).sum();
            assert!(share <= 1000, "GPU {index} of {} is over-committed", self.name);
        }
    }
}
