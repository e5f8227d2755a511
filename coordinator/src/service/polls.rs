//! Registering and polling: what the owner does for workers.

use std::time::Instant;

use experiment_spec::ids::{AttemptKey, WorkerId};

use super::{
    handle::{Answer, Assignment, Poll, Polled, Register, Registered},
    owner::{Member, Owner},
    reports::{Event, Report},
};
use crate::{
    clock::now_ms,
    scheduler::{
        effects::Effect,
        reactor,
        state::{Capacity, Grant},
    },
    store::{assignments, error::Result, snapshot, transitions, workers},
};

impl Owner {
    /// A worker comes, or comes again.
    pub(crate) async fn register(&mut self, register: Register) -> Answer<Registered> {
        let now_ms = now_ms();
        let Register { worker, held } = register;
        let gpus = snapshot::gpus(&worker.gpus_json)?;
        let capacity = Capacity {
            cpus: worker.cpus,
            gpus: gpus.iter().map(|gpu| gpu.index).collect(),
            memory_bytes: worker.memory_bytes,
        };
        let mut transaction = Self::begin(&mut self.writer).await?;
        let known = workers::register(&mut transaction, &worker, now_ms).await?;
        let (id, last_sequence) = (WorkerId(known.id), known.last_sequence.cast_unsigned());
        let mut effects = Vec::new();
        let arrived = reactor::Arrived { name: worker.name, capacity, drained: known.drained };
        let drop = reactor::on_worker_registered(&mut self.scheduler, id, arrived, &held, now_ms, &mut effects);
        for effect in &effects {
            transitions::apply(&mut transaction, effect, now_ms).await?;
        }
        transaction.commit().await?;
        let member = Member { last_seen: Instant::now(), last_seen_ms: now_ms, last_sequence, draining: false };
        self.members.insert(id, member);
        self.committed(&effects);
        self.publish(id);
        Ok(Registered { id, drop, last_sequence })
    }

    /// A worker reports and asks for work.
    pub(crate) async fn poll(&mut self, poll: Poll) -> Answer<Polled> {
        let now_ms = now_ms();
        let Some(member) = self.members.get_mut(&poll.worker) else {
            return Ok(Polled { register_again: true, ..Polled::default() });
        };
        member.last_seen = Instant::now();
        member.last_seen_ms = now_ms;
        member.draining = poll.draining;
        let mut reports = poll.reports;
        reports.retain(|report| report.sequence > member.last_sequence);
        reports.sort_by_key(|report| report.sequence);

        let last = reports.last().map(|report| report.sequence);

        let mut effects = Vec::new();
        let mut held = poll.held;
        let mut accepted = Vec::with_capacity(reports.len());
        for report in &mut reports {
            let key = report.key;
            report.check(self.scheduler.step(key.step).is_some_and(|step| step.needs.is_some()));
            if reactor::on_report(&mut self.scheduler, poll.worker, key, report.reported(), now_ms, &mut effects) {
                accepted.push(&*report);
                held.insert(key);
            }
        }
        let said = reactor::Poll { free: poll.free, draining: poll.draining, held };
        let mut answer = reactor::on_worker_polled(&mut self.scheduler, poll.worker, &said, now_ms, &mut effects);
        answer.stop.retain(|key| !accepted.iter().any(|report| report.key == *key));

        self.write_poll(poll.worker, (&accepted, last), &effects, now_ms).await?;
        for report in &accepted {
            if let Event::Progress(progress) = &report.event {
                self.live.set_progress(report.key, progress.clone());
            }
        }
        self.live.ended(&effects);
        let mut assigned: Vec<_> = effects.iter().filter_map(Effect::assigned).collect();
        assigned.append(&mut answer.again);
        let assignments = self.assignments(assigned).await?;
        self.publish(poll.worker);
        let acknowledged = self.members.get(&poll.worker).map_or(0, |member| member.last_sequence);
        Ok(Polled { acknowledged, assignments, stop: answer.stop, register_again: false })
    }

    /// Writes what a poll brought and decided, in one transaction; a poll with nothing durable writes nothing.
    async fn write_poll(
        &mut self,
        worker: WorkerId,
        (accepted, last): (&[&Report], Option<u64>),
        effects: &[Effect],
        now_ms: i64,
    ) -> Result<()> {
        if !effects.is_empty() || accepted.iter().any(|report| report.is_durable()) {
            let mut transaction = Self::begin(&mut self.writer).await?;
            for report in accepted {
                report.write(&mut transaction, now_ms).await?;
            }
            for effect in effects {
                transitions::apply(&mut transaction, effect, now_ms).await?;
            }
            if let Some(last) = last {
                workers::set_last_sequence(&mut transaction, worker, last, now_ms).await?;
            }
            transaction.commit().await?;
            self.committed(effects);
        }
        if let Some(member) = self.members.get_mut(&worker)
            && let Some(last) = last
        {
            member.last_sequence = last;
        }
        Ok(())
    }

    async fn assignments(&mut self, assigned: Vec<(AttemptKey, Grant)>) -> Result<Vec<Assignment>> {
        let mut assignments = Vec::with_capacity(assigned.len());
        for (key, grant) in assigned {
            let told = assignments::told(&mut self.writer, key.step).await?;
            assignments.push(Assignment { key, grant, told });
        }
        Ok(assignments)
    }
}
