//! What the owner does on a timer: looks for workers that fell silent, and at the room there is.

use std::{collections::BTreeMap, time::Instant};

use experiment_spec::ids::WorkerId;

use super::{
    handle::Answer,
    owner::{Member, Owner},
    refusal::Refusal,
};
use crate::{
    scheduler::reactor,
    store::{batch::Batch, workers},
};

impl Owner {
    /// Declares workers lost that were silent for too long; returns how many. When the coordinator
    /// itself stood still (stopped, machine asleep), their polls are still in the queue: they get
    /// their leases anew.
    pub(crate) async fn sweep(&mut self, now: Instant) -> Answer<u32> {
        let stood_still = now.saturating_duration_since(self.last_sweep) > self.lease / 2;
        self.last_sweep = now;
        self.look_at_disk();
        if stood_still {
            self.members.values_mut().for_each(|member| member.last_seen = now);
            return Ok(0);
        }
        let silent = |member: &Member| now.saturating_duration_since(member.last_seen) > self.lease;
        let lost: Vec<_> = self.members.iter().filter(|(_, member)| silent(member)).map(|(id, _)| *id).collect();
        self.lose(&lost).await?;
        Ok(u32::try_from(lost.len()).unwrap_or(u32::MAX))
    }

    /// Gives out nothing while the disk is nearly full, or the folder holds too much: what is at work needs the rest.
    pub(crate) fn look_at_disk(&mut self) {
        let halted = self.floor.lack().or_else(|| self.contents.as_ref()?.excess());
        match (&self.scheduler.halted, &halted) {
            (None, Some(why)) => tracing::warn!(why, "nothing is given out"),
            (Some(_), None) => tracing::info!("there is room again: runs are given out"),
            _ => {}
        }
        self.live.set_halted(halted.clone());
        self.scheduler.halted = halted;
    }

    /// All in one transaction: after a cut of the coordinator's own network it is the whole fleet, which is back and wants to
    /// be answered.
    pub(crate) async fn lose(&mut self, lost: &[WorkerId]) -> Answer<()> {
        if lost.is_empty() {
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        let last_seen_ms = |id| self.members.get(id).map_or(now_ms, |member| member.last_seen_ms);
        let last_seen: Vec<_> = lost.iter().map(|id| (*id, last_seen_ms(id))).collect();
        let name = |id: &WorkerId| (*id, self.scheduler.name_of(*id).to_owned());
        let names: BTreeMap<WorkerId, String> = lost.iter().map(name).collect();
        let mut effects = Vec::new();
        for id in lost {
            reactor::on_worker_lost(&mut self.scheduler, *id, now_ms, &mut effects);
        }
        let mut transaction = Self::begin(&mut self.writer).await?;
        workers::set_lost_all(&mut transaction, &last_seen).await?;
        let name = |id| names.get(&id).map_or("unknown", String::as_str);
        Batch::of(&effects, name, now_ms).write(&mut transaction).await?;
        transaction.commit().await.map_err(Refusal::from)?;
        self.committed(&effects);
        for id in lost {
            // Not before: when the write fails, it is still known since when the worker is silent.
            self.members.remove(id);
            tracing::warn!(worker = id.0, "worker lost");
            self.publish(*id);
        }
        Ok(())
    }
}
