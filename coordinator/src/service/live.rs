//! What is known only in memory, for those who read: the latest progress, and the fleet as it is now.
//! The owner writes it, readers copy out of it; no lock is held across an await.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use experiment_spec::ids::{AttemptKey, StepId, WorkerId};
use orchestrator_proto::v1::Progress;

use crate::scheduler::effects::Effect;

/// A worker that is online.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LiveWorker {
    /// Its daemon was told to end.
    pub(crate) stopping: bool,
    pub(crate) cpus_used: u32,
    pub(crate) memory_used_bytes: u64,
    pub(crate) steps: Vec<StepId>,
    pub(crate) last_seen_ms: i64,
    /// It gets nothing until this time, and why.
    pub(crate) aside: Option<(i64, String)>,
    /// Why it takes nothing at present, as it says itself.
    pub(crate) halted: Option<String>,
}

#[derive(Debug, Default)]
struct Inner {
    progress: HashMap<StepId, Progress>,
    workers: HashMap<WorkerId, LiveWorker>,
    halted: Option<String>,
}

/// The shared view.
#[derive(Debug, Default)]
pub(crate) struct Live(Mutex<Inner>);

impl Live {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A reader that panicked left nothing half-written: every change below is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest progress of an attempt.
    pub(crate) fn set_progress(&self, key: AttemptKey, progress: Progress) {
        self.inner().progress.insert(key.step, progress);
    }

    /// The latest progress of a step's current attempt.
    pub(crate) fn progress(&self, step: StepId) -> Option<Progress> {
        self.inner().progress.get(&step).cloned()
    }

    /// Forgets the progress of attempts that ended.
    pub(crate) fn ended<'a>(&self, effects: impl IntoIterator<Item = &'a Effect>) {
        let mut inner = self.inner();
        for effect in effects {
            let guard = match effect {
                Effect::Requeue { guard, .. }
                | Effect::Succeed { guard }
                | Effect::Fail { guard, .. }
                | Effect::Cancel { guard } => guard,
                Effect::Assign { .. } | Effect::Start { .. } | Effect::SetAside { .. } | Effect::PutAside { .. } => {
                    continue;
                }
            };
            inner.progress.remove(&guard.step);
        }
    }

    /// A worker as it is now; `None` when it is no longer online.
    pub(crate) fn set_worker(&self, id: WorkerId, worker: Option<LiveWorker>) {
        let mut inner = self.inner();
        match worker {
            Some(worker) => inner.workers.insert(id, worker),
            None => inner.workers.remove(&id),
        };
    }

    /// Why nothing is given out; none while runs are.
    pub(crate) fn set_halted(&self, why: Option<String>) {
        self.inner().halted = why;
    }

    /// See [`Live::set_halted`].
    pub(crate) fn halted(&self) -> Option<String> {
        self.inner().halted.clone()
    }

    /// Every worker that is online.
    pub(crate) fn workers(&self) -> HashMap<WorkerId, LiveWorker> {
        self.inner().workers.clone()
    }
}
