//! What the coordinator has acknowledged, and the comparison with what it has in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    },
};

use orchestrator_proto::v1::{self, Report, attempt_event::Event};

use crate::user::User;

#[derive(Debug, Default)]
struct Entries {
    submissions: Vec<i64>,
    cancelled: BTreeSet<i64>,
    /// Ids of the workers by their numbers.
    workers: BTreeMap<usize, i64>,
    /// Which worker each attempt was given to, with its lease.
    given: BTreeMap<(i64, u32), (usize, u64)>,
    reports: Vec<Report>,
}

/// Kept by all together.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Entries>,
    /// 0: busy; 1: users want no more; 2: it is over.
    phase: AtomicU8,
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) submissions: usize,
    pub(crate) scores: usize,
    pub(crate) points: usize,
    pub(crate) lines: usize,
    pub(crate) cancelled: usize,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap()
    }

    pub(crate) fn no_more(&self) {
        self.phase.store(1, Ordering::Relaxed);
    }

    pub(crate) fn go_home(&self) {
        self.phase.store(2, Ordering::Relaxed);
    }

    pub(crate) fn wants_more(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == 2
    }

    pub(crate) fn submitted(&self, id: i64) {
        self.entries().submissions.push(id);
    }

    pub(crate) fn cancelled(&self, step: i64) {
        self.entries().cancelled.insert(step);
    }

    /// A worker keeps the number that it was first given.
    pub(crate) fn registered(&self, worker: usize, id: i64) {
        assert_eq!(*self.entries().workers.entry(worker).or_insert(id), id, "worker {worker}");
    }

    /// An attempt may be given again, but to the same worker and under the same lease.
    pub(crate) fn given(&self, worker: usize, (step, attempt, lease): (i64, u32, u64)) {
        let first = *self.entries().given.entry((step, attempt)).or_insert((worker, lease));
        assert_eq!(first, (worker, lease), "attempt {attempt} of step {step} was given to two workers");
    }

    pub(crate) fn acknowledged(&self, reports: Vec<Report>) {
        self.entries().reports.extend(reports);
    }

    /// Holds the record to everything here.
    pub(crate) async fn compare(&self, user: &mut User) -> Found {
        let entries = std::mem::take(&mut *self.entries());
        let mut there: Vec<i64> = user.submissions().await.unwrap().iter().map(|it| it.id).collect();
        there.sort_unstable();
        let mut told = entries.submissions.clone();
        told.sort_unstable();
        assert_eq!(there, told, "each request is one submission, each acknowledged one is there");
        let mut found = Found { submissions: told.len(), cancelled: entries.cancelled.len(), ..Found::default() };
        let mut reports: BTreeMap<i64, Vec<Report>> = BTreeMap::new();
        for report in entries.reports {
            reports.entry(report.step_id).or_default().push(report);
        }
        for submission in told {
            let steps = user.steps(submission).await.unwrap();
            assert_eq!(steps.len(), 8, "submission {submission} is whole");
            for step in steps {
                let told = reports.remove(&step.id).unwrap_or_default();
                compare_step(step.id, &told, entries.cancelled.contains(&step.id), user, &mut found).await;
            }
        }
        found
    }
}

async fn compare_step(id: i64, told: &[Report], is_cancelled: bool, user: &mut User, found: &mut Found) {
    let shown = user.client.show_step(v1::ShowStepRequest { id }).await.unwrap().into_inner();
    let step = shown.step.unwrap();
    let events = told.iter().filter_map(|report| Some((report.attempt, report.event.as_ref()?.event.as_ref()?)));
    let attempts: Vec<_> = shown.attempts.iter().map(|it| (it.number, it.outcome.as_str())).collect();
    if is_cancelled {
        assert_eq!(step.state, "cancelled", "an acknowledged cancellation of step {id} holds");
        assert_eq!(shown.scores_json, "");
        return;
    }
    // A cancellation may hold that was not acknowledged.
    if step.state == "cancelled" {
        return;
    }
    assert_eq!(
        (step.state.as_str(), &attempts[..]),
        ("succeeded", &[(1, "succeeded")][..]),
        "step {id}: {:?}",
        shown.history
    );
    let sentences = shown.history.iter().filter(|line| line.sentence.starts_with("succeeded")).count();
    assert_eq!(sentences, 1, "step {id}: {:?}", shown.history);
    let points =
        user.client.get_metrics(v1::GetMetricsRequest { id, ..Default::default() }).await.unwrap().into_inner();
    let log = user.log(id).await;
    let mut scores = 0;
    for (_, event) in events {
        match event {
            Event::Succeeded(succeeded) => {
                assert_eq!(shown.scores_json, succeeded.scores_json, "step {id}");
                scores += 1;
            }
            Event::Metrics(metrics) => {
                assert_eq!(points.points, metrics.points, "step {id}");
                found.points += 1;
            }
            Event::Log(line) => {
                assert_eq!(log, [line.text.as_str()], "step {id}");
                found.lines += 1;
            }
            _ => {}
        }
    }
    assert_eq!(scores, 1, "every accepted score of step {id} was acknowledged once");
    found.scores += 1;
}
