//! Faults carried out, and what undoes each of them later.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    daemon,
    damage::{self, Damaged},
    faults::Fault,
    fleet::{Fleet, LEASE, Who},
    network::{Line, Weather},
    random::Draws,
    users::Users,
};
use crate::exit::{Failure, Outcome};

/// How long a daemon that was killed is down, at most, unless more is meant.
const DOWN: Duration = Duration::from_secs(1);
/// For how long a disk is full, content damaged, a submission paused or a worker drained.
const WHILE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(6));
/// On a slow network one part after the other comes so much later.
const LATE: Duration = Duration::from_millis(500);
/// How soon what could not be undone (nobody answered) is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Faults that may be left for want of an occasion when a new deck is begun.
const DECK_LEFT: usize = 10;

/// What undoes a fault.
#[derive(Clone, Debug)]
enum Recovery {
    Start(Who),
    GoOn(Who),
    MakeRoom(Who),
    Mend(Damaged),
    /// The network of this worker is as it should be.
    Heal(usize),
    Resume(i64),
    TakeBack(String),
}

/// The faults of one trial.
#[derive(Debug)]
pub(super) struct Disturbance {
    draws: Draws,
    deck: Vec<Fault>,
    due: Vec<(Instant, Recovery)>,
    /// How often each kind was carried out.
    pub(super) counts: BTreeMap<Fault, u32>,
}

impl Disturbance {
    pub(super) fn new(seed: u64) -> Self {
        let counts = Fault::ALL.iter().map(|(fault, ..)| (*fault, 0)).collect();
        Self { draws: Draws::new(seed), deck: Vec::new(), due: Vec::new(), counts }
    }

    /// A pause before the next fault.
    pub(super) fn pause(&mut self) -> Duration {
        self.draws.between(Duration::from_millis(500), Duration::from_secs(3))
    }

    /// Carries out the next fault of the deck that can be; what it was, for people.
    pub(super) async fn next(&mut self, fleet: &mut Fleet, users: &mut Users) -> Outcome<Option<String>> {
        for position in (0..self.deck.len()).rev() {
            let fault = self.deck[position];
            if let Some(whom) = self.carry_out(fault, fleet, users).await? {
                self.deck.remove(position);
                *self.counts.entry(fault).or_default() += 1;
                return Ok(Some(format!("{} ({whom})", fault.name())));
            }
        }
        // What there was no occasion for goes on waiting for one, below a new deck.
        if self.deck.len() < DECK_LEFT {
            self.deck.extend(Fault::deck(&mut self.draws));
        }
        Ok(None)
    }

    fn later(&mut self, (least, most): (Duration, Duration), recovery: Recovery) {
        self.due.push((Instant::now() + self.draws.between(least, most), recovery));
    }

    /// Whether there was somebody or something for this fault, and whom or what it met.
    async fn carry_out(&mut self, fault: Fault, fleet: &mut Fleet, users: &mut Users) -> Outcome<Option<String>> {
        match fault {
            Fault::CoordinatorKilled
            | Fault::CoordinatorAway
            | Fault::CoordinatorStopped
            | Fault::CoordinatorDiskFull
            | Fault::CoordinatorContentDamaged => self.at_coordinator(fault, fleet).await,
            Fault::WorkerKilled
            | Fault::WorkerStopped
            | Fault::WorkerDiskFull
            | Fault::WorkerFolderDamaged
            | Fault::WorkerContentDamaged => self.at_a_worker(fault, fleet).await,
            Fault::NetworkCut | Fault::NetworkCutOneWay | Fault::NetworkRefused | Fault::NetworkSlow => {
                Ok(self.on_the_way(fault, fleet))
            }
            Fault::AttemptKilled => {
                let homes = fleet.workers.iter().map(|worker| &worker.daemon.home);
                let attempts: Vec<_> = homes.flat_map(|home| daemon::attempts_of(home)).collect();
                let chosen = self.draws.one_of(&attempts).copied().filter(|process| daemon::kill(*process));
                Ok(chosen.map(|process| format!("process {process}")))
            }
            _ if !fleet.coordinator.daemon.is_at_work() => Ok(None),
            Fault::Cancelled => Ok(users.cancel(&mut self.draws).await.map(submission)),
            Fault::TriedAgain => Ok(users.try_again(&mut self.draws).await.map(submission)),
            Fault::Paused => {
                let Some(id) = users.pause(&mut self.draws).await else { return Ok(None) };
                self.later(WHILE, Recovery::Resume(id));
                Ok(Some(submission(id)))
            }
            Fault::Drained => {
                let workers = users.workers().await.unwrap_or_default();
                let online: Vec<_> = workers.into_iter().filter(|it| it.state == "online").map(|it| it.name).collect();
                let Some(name) = self.draws.one_of(&online).cloned() else { return Ok(None) };
                if !users.drain(&name, false).await {
                    return Ok(None);
                }
                self.later(WHILE, Recovery::TakeBack(name.clone()));
                Ok(Some(name))
            }
        }
    }

    async fn at_coordinator(&mut self, fault: Fault, fleet: &mut Fleet) -> Outcome<Option<String>> {
        let (who, member) = (Who::Coordinator, &mut fleet.coordinator);
        if !member.daemon.is_at_work() {
            return Ok(None);
        }
        match fault {
            Fault::CoordinatorStopped => {
                member.daemon.halt();
                self.later((LEASE, LEASE * 2), Recovery::GoOn(who));
            }
            Fault::CoordinatorDiskFull => {
                member.fill_disk().await?;
                self.later(WHILE, Recovery::MakeRoom(who));
            }
            Fault::CoordinatorContentDamaged => {
                let damaged = damage::content(&member.daemon.home.join("blobs"), &mut self.draws);
                let Some(damaged) = damaged.unwrap_or(None) else { return Ok(None) };
                self.later(WHILE, Recovery::Mend(damaged));
            }
            _ => {
                let down = if fault == Fault::CoordinatorAway { (LEASE, LEASE * 2) } else { (Duration::ZERO, DOWN) };
                member.daemon.kill().await;
                self.later(down, Recovery::Start(who));
            }
        }
        Ok(Some("coordinator".to_owned()))
    }

    async fn at_a_worker(&mut self, fault: Fault, fleet: &mut Fleet) -> Outcome<Option<String>> {
        let Some(index) = self.draws.one_of(&fleet.workers_at_work()).copied() else { return Ok(None) };
        let (who, member) = (Who::Worker(index), &mut fleet.workers[index]);
        let folder = member.daemon.home.join("worker");
        match fault {
            Fault::WorkerStopped => {
                member.daemon.halt();
                self.later((LEASE * 2, LEASE * 2 + DOWN), Recovery::GoOn(who));
            }
            Fault::WorkerDiskFull => {
                member.fill_disk().await?;
                self.later(WHILE, Recovery::MakeRoom(who));
            }
            Fault::WorkerContentDamaged => {
                let damaged = damage::content(&folder.join("blobs"), &mut self.draws);
                if damaged.unwrap_or(None).is_none() {
                    return Ok(None);
                }
            }
            _ => {
                member.daemon.kill().await;
                self.later((Duration::ZERO, DOWN), Recovery::Start(who));
                if fault == Fault::WorkerFolderDamaged && damage::folder(&folder, &mut self.draws).unwrap_or(0) == 0 {
                    // Then it was a kill and no more.
                    *self.counts.entry(Fault::WorkerKilled).or_default() += 1;
                    return Ok(None);
                }
            }
        }
        Ok(Some(member.daemon.name.clone()))
    }

    /// Between a worker and the coordinator, for less than a lease or for more.
    fn on_the_way(&mut self, fault: Fault, fleet: &Fleet) -> Option<String> {
        let fine = |index: &usize| fleet.workers[*index].line.as_ref().is_some_and(Line::is_fine);
        let fine: Vec<_> = fleet.workers_at_work().into_iter().filter(fine).collect();
        let index = *self.draws.one_of(&fine)?;
        let weather = match fault {
            Fault::NetworkCut => Weather::Cut { outward: true, inward: true },
            Fault::NetworkCutOneWay => {
                let outward = self.draws.below(2) == 0;
                Weather::Cut { outward, inward: !outward }
            }
            Fault::NetworkRefused => Weather::Refused,
            _ => Weather::Slow(LATE),
        };
        let member = &fleet.workers[index];
        member.line.as_ref()?.set(weather);
        self.later((DOWN, LEASE * 2), Recovery::Heal(index));
        let name = &member.daemon.name;
        Some(match weather {
            Weather::Cut { outward: true, inward: false } => format!("from {name}"),
            Weather::Cut { outward: false, inward: true } => format!("to {name}"),
            _ => name.clone(),
        })
    }

    /// Has a daemon started again that ended for want of room.
    pub(super) fn restart(&mut self, who: Who) {
        self.due.push((Instant::now() + DOWN, Recovery::Start(who)));
    }

    /// Undoes what is due, or everything when the faults have ceased; whether nothing is left to undo.
    pub(super) async fn recover(&mut self, fleet: &mut Fleet, users: &mut Users, all: bool) -> Outcome<bool> {
        let now = Instant::now();
        let (due, left): (Vec<_>, Vec<_>) = self.due.drain(..).partition(|(at, _)| all || *at <= now);
        self.due = left;
        for (_, recovery) in due {
            if !undo(&recovery, fleet, users).await? {
                self.due.push((now + AGAIN, recovery));
            }
        }
        Ok(self.due.is_empty())
    }
}

async fn undo(recovery: &Recovery, fleet: &mut Fleet, users: &mut Users) -> Outcome<bool> {
    match recovery {
        Recovery::Start(who) if fleet.member(*who).daemon.is_there() => Ok(true),
        Recovery::Start(who) => fleet.member(*who).start().map(|()| true),
        Recovery::GoOn(who) => {
            fleet.member(*who).daemon.go_on();
            Ok(true)
        }
        Recovery::MakeRoom(who) => fleet.member(*who).make_room().await.map(|()| true),
        Recovery::Mend(damaged) => damaged
            .mend()
            .map(|()| true)
            .or_else(|error| if error.kind() == std::io::ErrorKind::StorageFull { Ok(false) } else { Err(error) })
            .map_err(|error| Failure::request(format!("damaged content could not be mended: {error}"))),
        Recovery::Heal(index) => {
            fleet.workers[*index].line.iter().for_each(|line| line.set(Weather::Fine));
            Ok(true)
        }
        Recovery::Resume(id) => Ok(users.steer(*id, false).await),
        Recovery::TakeBack(name) => Ok(users.drain(name, true).await),
    }
}

fn submission(id: i64) -> String {
    format!("submission {id}")
}
