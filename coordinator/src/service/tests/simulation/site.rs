//! A worker's daemon: models the loop of `worker/src/poll.rs`, the rule of `worker/src/lease.rs` and the slots of
//! `worker/src/slots.rs`. This crate may not import that one; what it does about the coordinator is the same.

use std::collections::{BTreeMap, BTreeSet};

use experiment_spec::ids::{AttemptKey, LeaseToken, StepId, WorkerId};

use super::{
    attempts::{Attempt, Stop},
    chance::Chance,
    ledger::{Verdict, must},
    outbox::Outbox,
    seat::{LEASE, Reply, Request},
    world::{Asked, Caller, Due, World},
};
use crate::{
    scheduler::{place::Free, state::Grant},
    service::{
        handle::{Assignment, Poll, Polled, Register, Registered},
        reports::Event,
        tests::support::succeeded,
        tests::time::{MS, SECOND},
    },
    store::workers::Registration,
};

/// As `COLLECT`, `DELIVERY`, the bounds of `Backoff` and `TICK` there.
const COLLECT_US: u64 = 10 * MS;
const DELIVERY_US: u64 = 3 * SECOND;
const FIRST_WAIT_US: u64 = 100 * MS;
const LONGEST_WAIT_US: u64 = 5 * SECOND;
pub(super) const TICK_US: u64 = 200 * MS;

pub(super) fn lease_us() -> u64 {
    u64::try_from(LEASE.as_micros()).expect("seconds")
}

/// What is kept of a lease for attempts to end in.
pub(super) fn grace_us() -> u64 {
    (lease_us() / 3).min(5 * SECOND)
}

/// A call that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    called_us: u64,
    /// Number of the last report that went with it.
    sent: u64,
    is_full: bool,
}

/// What comes of a call.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Said(Reply),
    /// The machine says that nobody listens there.
    ConnectionRefused,
    /// The connection broke.
    Broken,
}

/// See the head of this file.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "as its model has them")]
pub(super) struct Site {
    pub(super) registration: Registration,
    pub(super) gpus: Vec<u32>,
    pub(super) interval_us: u64,
    pub(super) most_reports: usize,
    /// How much slower than others it is.
    pub(super) slowness: u64,
    // On its disk.
    pub(super) outbox: Outbox,
    pub(super) checkpoints: BTreeMap<StepId, u64>,
    // What happens to it.
    pub(super) is_up: bool,
    pub(super) frozen_until_us: u64,
    pub(super) deaf_until_us: u64,
    pub(super) mute_until_us: u64,
    /// Counts its starts.
    pub(super) life: u64,
    // In memory.
    id: Option<WorkerId>,
    is_registered: bool,
    was_away: bool,
    pub(super) is_draining: bool,
    give_up_us: Option<u64>,
    wait_us: u64,
    lease_from_us: u64,
    pub(super) attempts: BTreeMap<AttemptKey, Attempt>,
    turn: u64,
    calls: u64,
    call: Option<Call>,
    has_news: bool,
}

impl Site {
    /// A worker of some size.
    pub(super) fn drawn(chance: &mut Chance, index: u64) -> Self {
        let gpus: Vec<u32> = (0..chance.one_of(&[0, 0, 1, 2])).collect();
        let shown: Vec<_> =
            gpus.iter().map(|index| format!(r#"{{"index":{index},"model":"toy","memory_bytes":1}}"#)).collect();
        let registration = Registration {
            name: format!("w{index}"),
            cpus: u32::try_from(chance.within(1..=6)).expect("a small number"),
            gpus_json: format!("[{}]", shown.join(",")),
            memory_bytes: chance.within(4..=8) << 30,
            ..Registration::default()
        };
        Self {
            registration,
            gpus,
            interval_us: chance.one_of(&[500 * MS, SECOND, 2 * SECOND]),
            most_reports: chance.one_of(&[1, 3, 20]),
            slowness: chance.one_of(&[1, 1, 1, 5]),
            ..Self::default()
        }
    }

    /// The daemon starts on what is on its disk.
    pub(super) fn started(&mut self, now_us: u64) {
        (self.is_up, self.life, self.lease_from_us) = (true, self.life + 1, now_us);
        self.attempts.clear();
        (self.id, self.call, self.give_up_us) = (None, None, None);
        (self.is_registered, self.was_away, self.is_draining, self.has_news) = (false, false, false, false);
        (self.wait_us, self.frozen_until_us) = (FIRST_WAIT_US, 0);
    }

    fn held(&self) -> BTreeSet<AttemptKey> {
        self.outbox.ended().chain(self.attempts.keys().copied()).collect()
    }

    fn free(&self) -> Free {
        if self.is_draining {
            return Free::default();
        }
        let grants = || self.attempts.values().map(|attempt| attempt.grant);
        let used = |index| grants().filter_map(|grant| grant.gpu).filter(|gpu| gpu.0 == index).map(|gpu| gpu.1).sum();
        Free {
            cpus: self.registration.cpus.saturating_sub(grants().map(|grant| grant.cpus).sum()),
            gpus: self.gpus.iter().map(|index| (*index, 1_000_u32.saturating_sub(used(*index)))).collect(),
        }
    }

    fn has_room(&self, grant: &Grant) -> bool {
        let free = self.free();
        let fits = |(index, share): (u32, u32)| free.gpus.iter().any(|gpu| gpu.0 == index && gpu.1 >= share);
        grant.cpus <= free.cpus && grant.gpu.is_none_or(fits)
    }

    pub(super) fn lease_is_over(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.lease_from_us) + grace_us() >= lease_us()
    }
}

impl World {
    /// The daemon's loop comes round at that time, and not at the one it was to come round before.
    pub(super) fn turn_at(&mut self, site: usize, at_us: u64) {
        self.sites[site].turn += 1;
        let turn = self.sites[site].turn;
        self.at(at_us, Due::Turn { site, turn });
    }

    /// There is something that should not wait for the next poll.
    pub(super) fn news(&mut self, index: usize) {
        let site = &mut self.sites[index];
        site.has_news = true;
        if site.call.is_none() && site.is_registered && site.wait_us == FIRST_WAIT_US {
            self.turn_at(index, self.now_us + COLLECT_US);
        }
    }

    pub(super) fn turn(&mut self, index: usize, turn: u64) {
        let now_us = self.now_us;
        let site = &mut self.sites[index];
        if site.turn != turn || !site.is_up || site.call.is_some() {
            return;
        }
        site.has_news = false;
        site.attempts.retain(|_, attempt| !attempt.has_ended);
        if site.is_draining && site.attempts.is_empty() {
            let give_up_us = *site.give_up_us.get_or_insert(now_us + DELIVERY_US);
            if site.outbox.is_empty() || now_us >= give_up_us {
                self.say(format!("{} is shut down", self.sites[index].registration.name));
                self.gone(index, false);
                return;
            }
        }
        self.forge(index);
        let site = &mut self.sites[index];
        let (request, sent, is_full) = if site.is_registered {
            let (reports, is_full) =
                if site.was_away { (Vec::new(), true) } else { site.outbox.batch(site.most_reports) };
            let sent = reports.last().map_or(0, |report| report.sequence);
            let (free, held) = (site.free(), site.held());
            let worker = site.id.unwrap_or(WorkerId(0));
            let poll = Poll { worker, reports, free, draining: site.is_draining, held, halted: String::new() };
            (Request::Poll(poll), sent, is_full)
        } else {
            (Request::Register(Register { worker: site.registration.clone(), held: site.held() }), 0, false)
        };
        site.calls += 1;
        let number = site.calls;
        site.call = Some(Call { number, called_us: now_us, sent, is_full });
        let limit_us = (lease_us() / 3).clamp(SECOND, 15 * SECOND);
        let life = site.life;
        self.at(now_us + limit_us, Due::CallOver { site: index, life, call: number });
        self.send(Asked { caller: Caller::Site { site: index, life, call: number }, request });
    }

    /// Now and then a worker says what is not so: of another lease, of another attempt, of another worker.
    fn forge(&mut self, index: usize) {
        if self.is_quiet || !self.chance.percent(2) {
            return;
        }
        let Some(id) = self.sites[index].id else { return };
        let (own, others): (Vec<_>, Vec<_>) = self.ledger.open.iter().partition(|(_, open)| open.worker == id);
        let from = self.chance.below(3);
        let Some((&(mut key), _)) = (if from == 0 { others } else { own }).pop() else { return };
        match from {
            0 => {}
            1 => key.lease = LeaseToken(self.chance.number()),
            _ => key.attempt.0 += 1,
        }
        self.say(format!("{} forges a result of {}", self.sites[index].registration.name, name(key)));
        self.sites[index].outbox.forge(key, succeeded());
    }

    pub(super) fn answered(&mut self, index: usize, call: u64, answer: Answer) -> Verdict {
        let now_us = self.now_us;
        let site = &mut self.sites[index];
        let Some(Call { called_us, sent, is_full, .. }) = site.call.take_if(|open| open.number == call) else {
            return Ok(());
        };
        let mut more = true;
        match answer {
            Answer::Said(Reply::Registered(registered)) => self.registered(index, called_us, &registered),
            Answer::Said(Reply::Polled(Polled { register_again: true, .. })) => site.is_registered = false,
            Answer::Said(Reply::Polled(polled)) => {
                site.lease_from_us = site.lease_from_us.max(called_us);
                site.was_away = false;
                let acknowledged = polled.acknowledged.min(sent);
                more = is_full && acknowledged == sent;
                self.take(index, polled, acknowledged)?;
            }
            Answer::Said(_) | Answer::Broken | Answer::ConnectionRefused => {
                if matches!(answer, Answer::ConnectionRefused) {
                    site.lease_from_us = site.lease_from_us.max(now_us);
                }
                site.was_away = true;
                let wait_us = site.wait_us;
                site.wait_us = (wait_us * 2).min(LONGEST_WAIT_US);
                let wait_us = (wait_us - self.chance.below(wait_us / 2)).min(lease_us() / 4);
                self.turn_at(index, now_us + wait_us);
                return Ok(());
            }
        }
        let site = &mut self.sites[index];
        site.wait_us = FIRST_WAIT_US;
        let next_us = if more { now_us } else { now_us + site.interval_us };
        let next_us = if site.has_news { next_us.min(now_us + COLLECT_US) } else { next_us };
        self.turn_at(index, next_us);
        Ok(())
    }

    fn registered(&mut self, index: usize, called_us: u64, registered: &Registered) {
        let site = &mut self.sites[index];
        site.id = Some(registered.id);
        site.is_registered = true;
        site.lease_from_us = site.lease_from_us.max(called_us);
        site.outbox.number_above(registered.last_sequence);
        for key in &registered.drop {
            self.stop_attempt(index, *key, Stop::Cancel);
        }
    }

    fn take(&mut self, index: usize, polled: Polled, acknowledged: u64) -> Verdict {
        for key in &polled.stop {
            self.stop_attempt(index, *key, Stop::Cancel);
        }
        self.sites[index].outbox.acknowledge(acknowledged);
        polled.assignments.into_iter().try_for_each(|assignment| self.assigned(index, &assignment))
    }

    fn assigned(&mut self, index: usize, assignment: &Assignment) -> Verdict {
        let (key, grant) = (assignment.key, assignment.grant);
        let at_ms = self.wall_ms();
        let site = &mut self.sites[index];
        if site.attempts.contains_key(&key) {
            return Ok(());
        }
        if site.is_draining || !site.has_room(&grant) {
            let reason = "there is no room for it".to_owned();
            self.say(format!("{} gives {} back", self.sites[index].registration.name, name(key)));
            self.sites[index].outbox.append(key, at_ms, Event::Released { reason });
            self.news(index);
            return Ok(());
        }
        self.alone(index, key)?;
        self.start_attempt(index, assignment);
        Ok(())
    }

    /// Where an attempt was lost with its worker, it has ended there before the next one begins elsewhere: leases end at
    /// the worker first. Not so where a user took it back, or a doubled request came late; nor on a worker that stands still,
    /// or has done so until now.
    fn alone(&self, index: usize, key: AttemptKey) -> Verdict {
        for (other, site) in self.sites.iter().enumerate().filter(|(other, site)| *other != index && site.is_up) {
            let elsewhere = site.attempts.iter().find(|(of, attempt)| of.step == key.step && !attempt.has_ended);
            let Some((of, _)) = elsewhere else { continue };
            let was_lost = self.ledger.ended.get(&(of.step, of.attempt)) == Some(&"lost");
            let woke_up_only_now = self.now_us < site.frozen_until_us + TICK_US + grace_us();
            must!(
                !was_lost || woke_up_only_now || self.was_restored,
                "{} begins {} while {} still works at {} beyond its lease",
                self.sites[index].registration.name,
                name(key),
                self.sites[other].registration.name,
                name(*of)
            );
        }
        Ok(())
    }
}

/// An attempt, in short.
pub(super) fn name(key: AttemptKey) -> String {
    format!("{}.{} [{:04x}]", key.step, key.attempt, key.lease.0 & 0xffff)
}
