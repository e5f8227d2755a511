//! Registering and polling: what the owner does for workers.

use std::collections::BTreeSet;

use experiment_spec::ids::{AttemptKey, WorkerId};
use orchestrator_proto::fail_point;
use tokio::sync::oneshot;

use super::{
    handle::{Answer, Assignment, Poll, Polled, Register, Registered},
    owner::{Member, Owner},
    reports::{Event, Report},
};
use crate::{
    scheduler::{
        effects::Effect,
        reactor,
        state::{Capacity, Grant},
    },
    store::{assignments, batch::Batch, snapshot, workers},
};

/// Reports of a group of polls after which no further poll joins it: nobody waits long for others' reports.
const MAX_GROUP_REPORTS: usize = 2_000;

impl Owner {
    /// A worker comes, or comes again.
    pub(crate) async fn register(&mut self, register: Register) -> Answer<Registered> {
        let now_ms = self.clock.now_ms();
        let Register { worker, held } = register;
        let gpus = snapshot::gpus(&worker.gpus_json)?;
        let capacity = Capacity {
            cpus: worker.cpus,
            gpus: gpus.iter().map(|gpu| gpu.index).collect(),
            memory_bytes: worker.memory_bytes,
            labels: worker.labels.clone(),
        };
        let mut transaction = Self::begin(&mut self.writer).await?;
        let known = workers::register(&mut transaction, &worker, now_ms).await?;
        let (id, last_sequence) = (WorkerId(known.id), known.last_sequence.cast_unsigned());
        let mut effects = Vec::new();
        let arrived = reactor::Arrived { name: worker.name, capacity, drained: known.drained };
        let drop = reactor::on_worker_registered(&mut self.scheduler, id, arrived, &held, now_ms, &mut effects);
        Batch::of(&effects, |id| self.scheduler.name_of(id), now_ms).write(&mut transaction).await?;
        transaction.commit().await?;
        fail_point::passes("register-before-answer");
        let member = Member { last_seen: self.clock.now(), last_seen_ms: now_ms, last_sequence, draining: false };
        self.members.insert(id, member);
        self.committed(&effects);
        self.publish(id);
        Ok(Registered { id, drop, last_sequence })
    }

    /// A worker reports and asks for work.
    pub(crate) async fn poll(&mut self, poll: Poll) -> Answer<Polled> {
        let mut polled = self.polls(&mut [poll]).await?;
        Ok(polled.pop().expect("one answer a poll"))
    }

    /// Several workers report and ask for work: decided one after the other, written in one transaction, so that what
    /// it takes to have something on the disk is waited for once. No worker may be there twice. When this fails, nothing
    /// of any of them was written.
    pub(crate) async fn polls(&mut self, polls: &mut [Poll]) -> Answer<Vec<Polled>> {
        let now_ms = self.clock.now_ms();
        let decided: Vec<_> = polls.iter_mut().map(|poll| self.decide(poll, now_ms)).collect();
        let mut batch = Batch::default();
        let mut is_empty = true;
        for (poll, decided) in polls.iter().zip(&decided) {
            let Some(Decided { accepted, refused, last, effects, .. }) = decided else { continue };
            for checkpoint in refused.iter().filter_map(|index| poll.reports[*index].content()) {
                batch.refused(checkpoint);
                is_empty = false;
            }
            let accepted = accepted.iter().map(|index| &poll.reports[*index]);
            if effects.is_empty() && !accepted.clone().any(Report::is_durable) {
                continue;
            }
            is_empty = false;
            for report in accepted {
                report.collect(&mut batch, now_ms);
            }
            let name = |worker| self.scheduler.name_of(worker);
            for effect in effects {
                batch.effect(effect, name, now_ms);
            }
            if let Some(last) = last {
                batch.heard(poll.worker, *last, now_ms);
            }
        }
        if !is_empty {
            let began = self.clock.now();
            let mut transaction = Self::begin(&mut self.writer).await?;
            let loose = batch.write(&mut transaction).await?;
            fail_point::passes("polls-before-commit");
            transaction.commit().await?;
            fail_point::passes("polls-before-answer");
            self.discard(loose);
            self.telemetry.committed(self.clock.now().saturating_duration_since(began));
            self.committed(decided.iter().flatten().flat_map(|decided| &decided.effects));
        }
        let accepted = decided.iter().flatten().map(|decided| decided.accepted.len()).sum();
        self.telemetry.polled(polls.len(), accepted);
        self.answers(polls, decided).await
    }

    /// What one poll brings and what the scheduler does about it, in memory only; nothing for a worker that is not known.
    fn decide(&mut self, poll: &mut Poll, now_ms: i64) -> Option<Decided> {
        let member = self.members.get_mut(&poll.worker)?;
        member.last_seen = self.clock.now();
        member.last_seen_ms = now_ms;
        member.draining = poll.draining;
        poll.reports.sort_by_key(|report| report.sequence);
        let known = member.last_sequence;
        let last = poll.reports.last().map(|report| report.sequence).filter(|last| *last > known);
        // Ahead of the store until it is written: after a failure it is read again.
        member.last_sequence = last.unwrap_or(known);

        let mut effects = Vec::new();
        let mut held = poll.held.clone();
        let (mut accepted, mut refused) = (Vec::with_capacity(poll.reports.len()), Vec::new());
        for (index, report) in poll.reports.iter_mut().enumerate().filter(|(_, report)| report.sequence > known) {
            let key = report.key;
            report.check(self.scheduler.step(key.step).is_some_and(|step| step.needs.is_some()));
            if reactor::on_report(&mut self.scheduler, poll.worker, key, report.reported(), now_ms, &mut effects) {
                accepted.push(index);
                held.insert(key);
            } else {
                refused.push(index);
            }
        }
        let halted = (!poll.halted.is_empty()).then(|| poll.halted.clone());
        let said = reactor::Poll { free: poll.free.clone(), draining: poll.draining, held, halted };
        let mut answer = reactor::on_worker_polled(&mut self.scheduler, poll.worker, &said, now_ms, &mut effects);
        answer.stop.retain(|key| !accepted.iter().any(|index| poll.reports[*index].key == *key));
        Some(Decided { accepted, refused, last, effects, answer })
    }

    /// Answers polls, after everything about them is in the store.
    async fn answers(&mut self, polls: &[Poll], decided: Vec<Option<Decided>>) -> Answer<Vec<Polled>> {
        let given = |decided: &Decided| -> Vec<(AttemptKey, Grant)> {
            decided.effects.iter().filter_map(Effect::assigned).chain(decided.answer.again.iter().copied()).collect()
        };
        let steps: Vec<_> = decided.iter().flatten().flat_map(given).map(|(key, _)| key.step).collect();
        let told = assignments::told(&mut self.writer, &steps).await?;
        let mut answers = Vec::with_capacity(polls.len());
        for (poll, decided) in polls.iter().zip(decided) {
            let Some(decided) = decided else {
                answers.push(Polled { register_again: true, ..Polled::default() });
                continue;
            };
            for report in decided.accepted.iter().map(|index| &poll.reports[*index]) {
                if let Event::Progress(progress) = &report.event
                    && self.scheduler.is_current(poll.worker, report.key)
                {
                    self.live.set_progress(report.key, progress.clone());
                }
            }
            self.publish(poll.worker);
            let with_told = |(key, grant): (AttemptKey, Grant)| {
                let told = told.get(&key.step).cloned().expect("everything that is given out was looked up");
                Assignment { key, grant, told }
            };
            let assignments = given(&decided).into_iter().map(with_told).collect();
            let acknowledged = self.members.get(&poll.worker).map_or(0, |member| member.last_sequence);
            answers.push(Polled { acknowledged, assignments, stop: decided.answer.stop, register_again: false });
        }
        Ok(answers)
    }
}

/// What came of a poll before it is written.
#[derive(Debug)]
struct Decided {
    /// Which of its reports count.
    accepted: Vec<usize>,
    /// Which of them, never seen before, do not.
    refused: Vec<usize>,
    /// Number of its last report, if there is a new one.
    last: Option<u64>,
    effects: Vec<Effect>,
    answer: reactor::PollAnswer,
}

/// Polls that came while the owner was busy, each of another worker.
#[derive(Debug, Default)]
pub(super) struct PollGroup {
    pub(super) polls: Vec<Poll>,
    pub(super) replies: Vec<oneshot::Sender<Answer<Polled>>>,
    workers: BTreeSet<WorkerId>,
    reports: usize,
}

impl PollGroup {
    /// Whether this poll must wait for the next group: its worker is in this one, or there is enough to be written.
    pub(super) fn is_full_for(&self, poll: &Poll) -> bool {
        self.reports >= MAX_GROUP_REPORTS || self.workers.contains(&poll.worker)
    }

    pub(super) fn push(&mut self, poll: Poll, reply: oneshot::Sender<Answer<Polled>>) {
        self.workers.insert(poll.worker);
        self.reports += poll.reports.len();
        self.polls.push(poll);
        self.replies.push(reply);
    }
}
