//! How many steps and workers there are, by how they stand.

use super::state::{Phase, Scheduler};

/// Counts of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    waiting: u64,
    queued: u64,
    paused: u64,
    assigned: u64,
    running: u64,
    taking_work: u64,
    put_aside: u64,
    halted: u64,
    drained: u64,
    pub(crate) cores: u64,
    pub(crate) cores_taken: u64,
}

impl Census {
    pub(crate) fn of(scheduler: &Scheduler, now_ms: i64) -> Self {
        let mut census = Self::default();
        for step in scheduler.live() {
            *match step.phase {
                Phase::Waiting => &mut census.waiting,
                Phase::Ready { .. } if scheduler.is_queued(step) => &mut census.queued,
                Phase::Ready { .. } => &mut census.paused,
                Phase::Assigned(_) => &mut census.assigned,
                Phase::Running(_) => &mut census.running,
            } += 1;
        }
        for worker in scheduler.workers.values() {
            *if worker.drained {
                &mut census.drained
            } else if worker.is_aside(now_ms) {
                &mut census.put_aside
            } else if worker.halted.is_some() {
                &mut census.halted
            } else {
                &mut census.taking_work
            } += 1;
            census.cores += u64::from(worker.capacity.cpus);
            census.cores_taken += worker.taken.values().map(|grant| u64::from(grant.cpus)).sum::<u64>();
        }
        census
    }

    /// Of steps that are not ended.
    pub(crate) fn steps(&self) -> [(&'static str, u64); 5] {
        [
            ("waiting", self.waiting),
            ("queued", self.queued),
            ("paused", self.paused),
            ("assigned", self.assigned),
            ("running", self.running),
        ]
    }

    /// Of workers that are online.
    pub(crate) fn workers(&self) -> [(&'static str, u64); 4] {
        [
            ("taking work", self.taking_work),
            ("put aside", self.put_aside),
            ("halted", self.halted),
            ("drained", self.drained),
        ]
    }
}
