//! What must be so, by a reference of its own: it is told what was asked and answered, and knows which attempts count. Of
//! the scheduler's choices it takes over only which step goes to which worker, and judges each.

use std::collections::{BTreeMap, BTreeSet};

use experiment_spec::ids::{AttemptKey, AttemptNumber, LeaseToken, StepId, WorkerId};

use super::{
    accepted::Heard,
    seat::{LEASE, Reply, Request},
    stored::{Stored, StoredWorker, Told},
};
use crate::{
    scheduler::state::{Capacity, Grant},
    service::handle::{Poll, Polled, Register, Registered},
    store::snapshot,
};

/// What is wrong, in a sentence.
pub(super) type Verdict = Result<(), String>;

/// An attempt that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Open {
    pub(super) worker: WorkerId,
    pub(super) is_started: bool,
    pub(super) grant: Grant,
}

/// A worker as the coordinator must know it.
#[derive(Clone, Debug, Default)]
pub(super) struct Member {
    pub(super) is_online: bool,
    pub(super) is_drained: bool,
    pub(super) capacity: Capacity,
    /// Up to here its reports are in the store, where they leave anything there.
    pub(super) durable: u64,
    /// Up to here they were acknowledged.
    pub(super) acknowledged: u64,
    heard_us: u64,
    /// What takes slots of it: what counts, and what was told to stop and may still be there.
    pub(super) occupied: BTreeSet<AttemptKey>,
}

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) members: BTreeMap<WorkerId, Member>,
    pub(super) open: BTreeMap<AttemptKey, Open>,
    pub(super) ended: BTreeMap<(StepId, AttemptNumber), &'static str>,
    pub(super) results: BTreeMap<StepId, (AttemptNumber, String)>,
    pub(super) needs: BTreeMap<StepId, Option<StepId>>,
    pub(super) told: Told,
    leases: BTreeSet<LeaseToken>,
    swept_us: u64,
}

macro_rules! must {
    ($holds:expr, $($sentence:tt)*) => {
        if !$holds {
            return Err(format!($($sentence)*));
        }
    };
}
pub(super) use must;

impl Ledger {
    /// The coordinator has started: it gives every worker a whole lease to be heard of.
    pub(super) fn restarted(&mut self, now_us: u64) {
        self.swept_us = now_us;
        for member in self.members.values_mut() {
            member.heard_us = now_us;
            member.acknowledged = member.durable;
        }
    }

    /// A store from before was brought back. Leases given since are not given again.
    pub(super) fn restored(&mut self, before: &Self) {
        let leases = std::mem::take(&mut self.leases);
        *self = before.clone();
        self.leases.extend(leases);
    }

    /// Takes in a request that was answered so; without an answer, one that may have been done before the coordinator died.
    pub(super) fn apply(&mut self, asked: &Request, reply: Option<&Reply>, now_us: u64, stored: &Stored) -> Verdict {
        if matches!(reply, Some(Reply::NotWritten)) {
            // What was read before the write failed is read again from the store.
            self.members.values_mut().for_each(|member| member.acknowledged = member.durable);
        }
        match (asked, reply) {
            (Request::Sweep, reply) => self.sweep(reply, now_us, stored),
            (Request::Poll(poll), Some(Reply::NotWritten)) => {
                // It was heard all the same.
                if let Some(member) = self.members.get_mut(&poll.worker) {
                    member.heard_us = now_us;
                }
                Ok(())
            }
            (_, Some(Reply::NotWritten | Reply::Refused)) => Ok(()),
            (Request::Register(register), Some(Reply::Registered(registered))) => {
                self.register(registered.id, register, Some(registered), now_us)
            }
            (Request::Register(register), None) => {
                let is_it = |(_, worker): &(_, &StoredWorker)| worker.name == register.worker.name;
                let Some((id, _)) = stored.workers.iter().find(is_it) else { return Err("it is not there".to_owned()) };
                self.register(*id, register, None, now_us)
            }
            (Request::Poll(poll), Some(Reply::Polled(polled))) => self.poll(poll, Some(polled), now_us, stored),
            (Request::Poll(poll), None) => self.poll(poll, None, now_us, stored),
            (Request::Drain { worker, undo }, _) => {
                let found = stored.workers.iter().find(|(_, found)| found.name == *worker);
                let Some((id, found)) = found else { return Err(format!("there is no worker {worker}")) };
                must!(reply.is_none() || found.is_drained != *undo, "{worker} is drained: {}", found.is_drained);
                self.members.entry(*id).or_default().is_drained = found.is_drained;
                Ok(())
            }
            (Request::Steer(..) | Request::Submit(_) | Request::Retry(_), _) => {
                self.learn_steps(stored);
                Ok(())
            }
            (Request::Cancel(_), _) => self.cancelled(stored),
            (asked, reply) => Err(format!("{asked:?} was answered {reply:?}")),
        }
    }

    /// Which numbers the store has, once they were compared: reports that leave nothing there may or may not be counted.
    pub(super) fn learn_sequences(&mut self, stored: &Stored) {
        for (id, worker) in &stored.workers {
            if let Some(member) = self.members.get_mut(id) {
                member.durable = worker.last_sequence;
            }
        }
    }

    /// Which steps there are, and what each needs.
    pub(super) fn learn_steps(&mut self, stored: &Stored) {
        self.needs = stored.steps.iter().map(|(id, step)| (*id, step.needs)).collect();
    }

    /// A user took steps back: which ones is asked of the store.
    fn cancelled(&mut self, stored: &Stored) -> Verdict {
        let is_cancelled = |key: &AttemptKey| {
            let attempt = stored.attempts.get(&(key.step, key.attempt));
            attempt.is_some_and(|attempt| attempt.outcome.as_deref() == Some("cancelled"))
        };
        let keys: Vec<_> = self.open.keys().copied().filter(is_cancelled).collect();
        keys.into_iter().try_for_each(|key| self.end(key, "cancelled"))
    }

    fn register(&mut self, id: WorkerId, register: &Register, registered: Option<&Registered>, now_us: u64) -> Verdict {
        for key in self.open_on(id) {
            if !register.held.contains(&key) {
                self.end(key, "given-back")?;
            }
        }
        let open: BTreeSet<_> = self.open_on(id).into_iter().collect();
        let member = self.members.entry(id).or_default();
        if let Some(registered) = registered {
            let unwanted: Vec<_> = register.held.difference(&open).copied().collect();
            must!(registered.drop == unwanted, "worker {id} must drop {unwanted:?}, was told {:?}", registered.drop);
            must!(
                registered.last_sequence >= member.durable,
                "reports of worker {id} up to {} are stored, it was told {}",
                member.durable,
                registered.last_sequence
            );
        }
        let gpus = snapshot::gpus(&register.worker.gpus_json).map_err(|error| error.to_string())?;
        member.capacity = Capacity {
            cpus: register.worker.cpus,
            gpus: gpus.iter().map(|gpu| gpu.index).collect(),
            memory_bytes: register.worker.memory_bytes,
            ..Capacity::default()
        };
        member.is_online = true;
        // It comes with its store's number.
        member.acknowledged = member.durable;
        member.heard_us = now_us;
        member.occupied.retain(|key| register.held.contains(key));
        Ok(())
    }

    fn poll(&mut self, poll: &Poll, polled: Option<&Polled>, now_us: u64, stored: &Stored) -> Verdict {
        let id = poll.worker;
        let is_online = self.members.get(&id).is_some_and(|member| member.is_online);
        if let Some(polled) = polled {
            must!(
                polled.register_again != is_online,
                "worker {id} is online: {is_online}, and was answered {polled:?}"
            );
        }
        if !is_online {
            return Ok(());
        }
        let Heard { held, accepted, last, mut is_durable } = self.hear(poll)?;
        let mut again = BTreeSet::new();
        for key in self.open_on(id).into_iter().filter(|key| !held.contains(key)) {
            if self.open[&key].is_started {
                self.end(key, "given-back")?;
                is_durable = true;
            } else {
                again.insert(key);
            }
        }
        let current: BTreeSet<_> = self.open_on(id).into_iter().collect();
        let stop: BTreeSet<_> = held.difference(&current).filter(|key| !accepted.contains(key)).copied().collect();
        let given = self.given(poll, polled, &again, stored)?;
        is_durable |= !given.is_empty();
        for (key, grant) in given {
            self.assign(id, key, grant)?;
        }
        let open = self.open_on(id);
        let member = self.members.get_mut(&id).expect("it is online");
        let before = member.acknowledged;
        if let Some(polled) = polled {
            let told: BTreeSet<_> = polled.stop.iter().copied().collect();
            must!(told == stop, "worker {id} must stop {stop:?}, was told {told:?}");
            must!(
                polled.acknowledged == last.max(member.acknowledged) || polled.acknowledged == last.max(member.durable),
                "worker {id} has reported up to {last} and before up to {}; acknowledged is {}",
                member.acknowledged,
                polled.acknowledged
            );
            member.acknowledged = polled.acknowledged;
        }
        member.heard_us = now_us;
        member.occupied.retain(|key| open.contains(key) || held.contains(key));
        member.acknowledged = member.acknowledged.max(last);
        if is_durable && last > before {
            member.durable = last;
        }
        Ok(())
    }

    /// What a poll gives that was not given before.
    fn given(
        &self,
        poll: &Poll,
        polled: Option<&Polled>,
        again: &BTreeSet<AttemptKey>,
        stored: &Stored,
    ) -> Result<Vec<(AttemptKey, Grant)>, String> {
        let Some(polled) = polled else {
            let is_new =
                |key: &AttemptKey| !self.open.contains_key(key) && !self.ended.contains_key(&(key.step, key.attempt));
            let theirs =
                stored.attempts.values().filter(|attempt| attempt.worker == poll.worker && is_new(&attempt.key));
            return Ok(theirs.map(|attempt| (attempt.key, attempt.grant)).collect());
        };
        let (known, new): (Vec<_>, Vec<_>) =
            polled.assignments.iter().map(|given| (given.key, given.grant)).partition(|(key, _)| again.contains(key));
        must!(known.len() == again.len(), "worker {} lacks {again:?}, was given again {known:?}", poll.worker);
        let member = &self.members[&poll.worker];
        let takes = !poll.draining && poll.halted.is_empty() && !member.is_drained;
        must!(takes || new.is_empty(), "worker {} takes nothing, was given {new:?}", poll.worker);
        Ok(new)
    }

    fn assign(&mut self, worker: WorkerId, key: AttemptKey, grant: Grant) -> Verdict {
        let AttemptKey { step, attempt, lease } = key;
        let before = self.ended.range((step, AttemptNumber(0))..=(step, AttemptNumber(u32::MAX))).count();
        let is_open = self.open.keys().any(|open| open.step == step);
        must!(!is_open, "{key:?} is given out while another attempt counts");
        must!(!self.results.contains_key(&step), "{key:?} is given out although its step has a result");
        must!(attempt.0 as usize == before + 1, "{key:?} follows {before} attempts");
        must!(self.leases.insert(lease), "the lease of {key:?} was given before");
        let Some(needs) = self.needs.get(&step) else { return Err(format!("there is no step of {key:?}")) };
        must!(
            needs.is_none_or(|id| self.results.contains_key(&id)),
            "{key:?} is given out before its features are made"
        );
        self.open.insert(key, Open { worker, is_started: false, grant });
        self.members.get_mut(&worker).expect("it polled").occupied.insert(key);
        Ok(())
    }

    /// Workers that are lost are written one by one: of those not answered for, the store knows how many.
    fn sweep(&mut self, reply: Option<&Reply>, now_us: u64, stored: &Stored) -> Verdict {
        let lease_us = u64::try_from(LEASE.as_micros()).expect("seconds");
        let stood_still = now_us - self.swept_us > lease_us / 2;
        self.swept_us = now_us;
        let online = || self.members.iter().filter(|(_, member)| member.is_online);
        let silent: Vec<_> =
            online().filter(|(_, member)| now_us - member.heard_us > lease_us).map(|(id, _)| *id).collect();
        let mut lost = if stood_still { Vec::new() } else { silent };
        if stood_still {
            self.members.values_mut().for_each(|member| member.heard_us = now_us);
        }
        if let Some(Reply::Count(told)) = reply {
            must!(lost.len() == *told as usize, "{lost:?} were silent for longer than a lease, {told} were lost");
        } else {
            lost.retain(|id| stored.workers.get(id).is_some_and(|worker| !worker.is_online));
        }
        for id in lost {
            for key in self.open_on(id) {
                self.end(key, "lost")?;
            }
            let member = self.members.get_mut(&id).expect("it is online");
            (member.is_online, member.occupied) = (false, BTreeSet::new());
        }
        Ok(())
    }

    pub(super) fn open_on(&self, worker: WorkerId) -> Vec<AttemptKey> {
        self.open.iter().filter(|(_, open)| open.worker == worker).map(|(key, _)| *key).collect()
    }

    pub(super) fn end(&mut self, key: AttemptKey, outcome: &'static str) -> Verdict {
        let Some(Open { worker, .. }) = self.open.remove(&key) else {
            return Err(format!("{key:?} is {outcome} and did not count"));
        };
        // What a user took back is still there until its worker says otherwise.
        if outcome != "cancelled"
            && let Some(member) = self.members.get_mut(&worker)
        {
            member.occupied.remove(&key);
        }
        self.ended.insert((key.step, key.attempt), outcome);
        Ok(())
    }
}
