//! Everything that happens, in the order of virtual time; and the network between all who take part.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use experiment_spec::ids::AttemptKey;

use super::{
    chance::Chance,
    faults::{Fault, Weather},
    ledger::{Ledger, Verdict},
    seat::{Reply, Request, Seat},
    site::{Answer, Site},
};
use crate::clock::Clock;
use crate::service::tests::time::{MS, SECOND};

/// Who asks the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Site {
        site: usize,
        life: u64,
        call: u64,
    },
    User,
    /// The coordinator's own timer, of this start of it.
    Sweeper {
        start: u64,
    },
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) request: Request,
}

/// What is to happen.
#[derive(Clone, Debug)]
pub(super) enum Due {
    Turn {
        site: usize,
        turn: u64,
    },
    CallOver {
        site: usize,
        life: u64,
        call: u64,
    },
    Answer {
        site: usize,
        life: u64,
        call: u64,
        answer: Answer,
    },
    Watch {
        site: usize,
        life: u64,
    },
    Attempt {
        site: usize,
        life: u64,
        key: AttemptKey,
        is_killed: bool,
    },
    StartWorker {
        site: usize,
        life: u64,
    },
    Arrives(Asked),
    /// The coordinator takes what has come.
    Handle,
    Sweep {
        start: u64,
    },
    StartCoordinator,
    User,
    /// A request of a user is sent again.
    Again(Box<Request>),
    Fault(Fault),
}

/// Lines of what happened, virtual time first.
pub(super) type Trace = Arc<Mutex<Vec<String>>>;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now_us: u64,
    due: BTreeMap<(u64, u64), Due>,
    order: u64,
    pub(super) chance: Chance,
    trace: Trace,
    pub(super) seat: Seat,
    pub(super) ledger: Ledger,
    pub(super) sites: Vec<Site>,
    pub(super) weather: Weather,
    /// Requests at the coordinator that it has not taken yet.
    pub(super) waiting: VecDeque<Asked>,
    /// Requests of which nobody knows whether they were done when the coordinator died, and when that was.
    pub(super) unsure: Vec<(u64, Request)>,
    pub(super) starts: u64,
    pub(super) frozen_until_us: u64,
    pub(super) busy_until_us: u64,
    pub(super) batch_costs_us: u64,
    pub(super) is_handling: bool,
    /// Submissions by the request that made them; none while that is not answered.
    pub(super) submitted: BTreeMap<String, Option<i64>>,
    /// Requests to submit that were ever made.
    pub(super) requests: u64,
    pub(super) backup: Option<(Ledger, BTreeMap<String, Option<i64>>)>,
    pub(super) was_restored: bool,
    /// Nothing goes wrong any more.
    pub(super) is_quiet: bool,
}

impl World {
    pub(super) fn new(seed: u64, trace: Trace) -> Self {
        Self {
            now_us: 0,
            due: BTreeMap::new(),
            order: 0,
            chance: Chance::new(seed),
            trace,
            seat: Seat::new(seed),
            ledger: Ledger::default(),
            sites: Vec::new(),
            weather: Weather::default(),
            waiting: VecDeque::new(),
            unsure: Vec::new(),
            starts: 0,
            frozen_until_us: 0,
            busy_until_us: 0,
            batch_costs_us: MS,
            is_handling: false,
            submitted: BTreeMap::new(),
            requests: 0,
            backup: None,
            was_restored: false,
            is_quiet: false,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "sentences are made to be given away")]
    pub(super) fn say(&self, sentence: String) {
        let (seconds, us) = (self.now_us / SECOND, self.now_us % SECOND);
        let line = format!("{seconds:>5}.{us:06} {sentence}");
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(super) fn wall_ms(&self) -> i64 {
        self.seat.clocks.now_ms()
    }

    pub(super) fn at(&mut self, at_us: u64, due: Due) {
        self.order += 1;
        self.due.insert((at_us.max(self.now_us), self.order), due);
    }

    pub(super) fn after(&mut self, us: u64, due: Due) {
        self.at(self.now_us + us, due);
    }

    /// How long a message takes.
    fn delay_us(&mut self) -> u64 {
        let Weather { late_percent, delay_us, .. } = self.weather;
        if !self.is_quiet && self.chance.percent(late_percent) {
            return self.chance.within(50 * MS..=20 * SECOND);
        }
        delay_us / 2 + self.chance.below(delay_us + 1)
    }

    /// Sends a request to the coordinator: it may be lost, doubled, late.
    pub(super) fn send(&mut self, asked: Asked) {
        if let Caller::Site { site, .. } = asked.caller {
            let is_mute = self.now_us < self.sites[site].mute_until_us;
            if is_mute || self.is_lost() {
                self.say(format!("lost: {}", told(&asked.request)));
                return;
            }
            if !self.is_quiet && self.chance.percent(self.weather.doubled_percent) {
                let delay_us = self.delay_us() + self.chance.below(5 * SECOND);
                self.after(delay_us, Due::Arrives(asked.clone()));
            }
        }
        let delay_us = self.delay_us();
        self.after(delay_us, Due::Arrives(asked));
    }

    /// Sends an answer back to a worker.
    pub(super) fn send_back(&mut self, caller: Caller, answer: Answer, at_us: u64) {
        let Caller::Site { site, life, call } = caller else { return };
        if at_us < self.sites[site].deaf_until_us || self.is_lost() {
            self.say(format!("lost: the answer to {}", self.sites[site].registration.name));
            return;
        }
        let delay_us = self.delay_us();
        self.at(at_us + delay_us, Due::Answer { site, life, call, answer });
    }

    fn is_lost(&mut self) -> bool {
        !self.is_quiet && self.chance.percent(self.weather.lost_percent)
    }

    /// Lets happen what is due up to that time.
    pub(super) async fn run_until(&mut self, until_us: u64) -> Verdict {
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= until_us) {
            let ((at_us, _), due) = first.remove_entry();
            self.now_us = at_us;
            self.seat.clocks.turn_to(at_us);
            self.happens(due).await?;
        }
        self.now_us = until_us;
        Ok(())
    }

    async fn happens(&mut self, due: Due) -> Verdict {
        if let Some(thawed_us) = self.frozen(&due) {
            self.at(thawed_us, due);
            return Ok(());
        }
        match due {
            Due::Turn { site, turn } => self.turn(site, turn),
            Due::CallOver { site, life, call } if self.lives(site, life) => {
                return self.answered(site, call, Answer::Broken);
            }
            Due::Answer { site, life, call, answer } if self.lives(site, life) => {
                return self.answered(site, call, answer);
            }
            Due::Watch { site, life } if self.lives(site, life) => self.watch(site),
            Due::Attempt { site, life, key, is_killed } if self.lives(site, life) => self.attempt(site, key, is_killed),
            Due::CallOver { .. } | Due::Answer { .. } | Due::Watch { .. } | Due::Attempt { .. } => {}
            Due::StartWorker { site, life } => {
                if self.sites[site].life == life {
                    let now_us = self.now_us;
                    self.sites[site].started(now_us);
                    self.say(format!("{} starts", self.sites[site].registration.name));
                    self.turn_at(site, now_us);
                }
            }
            Due::Arrives(asked) => self.arrives(asked),
            Due::Handle => return self.handle().await,
            Due::Sweep { start } => {
                if self.seat.is_up() && self.starts == start {
                    self.arrives(Asked { caller: Caller::Sweeper { start }, request: Request::Sweep });
                }
            }
            Due::StartCoordinator => return self.start_coordinator().await,
            Due::User => self.user(),
            Due::Again(request) => self.send(Asked { caller: Caller::User, request: *request }),
            Due::Fault(fault) => return self.goes_wrong(fault).await,
        }
        Ok(())
    }

    fn lives(&self, site: usize, life: u64) -> bool {
        self.sites[site].is_up && self.sites[site].life == life
    }

    /// When whoever this happens to goes on, if it stands still now.
    fn frozen(&self, due: &Due) -> Option<u64> {
        let until_us = match due {
            Due::Turn { site, .. }
            | Due::CallOver { site, .. }
            | Due::Answer { site, .. }
            | Due::Watch { site, .. }
            | Due::Attempt { site, .. } => self.sites[*site].frozen_until_us,
            Due::Handle | Due::Sweep { .. } => self.frozen_until_us,
            _ => 0,
        };
        (self.now_us < until_us).then_some(until_us)
    }

    /// Nothing waits to be sent or worked at, and every step is final.
    pub(super) fn is_at_rest(&self) -> bool {
        let idle = |site: &Site| site.is_up && site.outbox.is_empty() && site.attempts.is_empty();
        self.seat.is_up()
            && self.waiting.is_empty()
            && self.sites.iter().all(idle)
            && self.submitted.values().all(Option::is_some)
            && self.seat.owner().scheduler.live().next().is_none()
            && self.seat.owner().scheduler.workers.values().all(|worker| worker.taken.is_empty())
    }
}

/// A request, in short.
pub(super) fn told(request: &Request) -> String {
    match request {
        Request::Register(register) => format!("{} registers, has {}", register.worker.name, register.held.len()),
        Request::Poll(poll) => {
            let reports: Vec<_> = poll.reports.iter().map(|report| report.sequence).collect();
            format!("worker {} polls, has {}, reports {reports:?}", poll.worker, poll.held.len())
        }
        Request::Submit(submit) => {
            format!("submit {} steps, {:?}", submit.planned.steps.len(), submit.new.request_id)
        }
        other => format!("{other:?}"),
    }
}

/// An answer, in short.
pub(super) fn answer_told(reply: Option<&Reply>) -> String {
    match reply {
        None => "not answered".to_owned(),
        Some(Reply::Polled(polled)) => {
            let given: Vec<_> = polled.assignments.iter().map(|given| super::site::name(given.key)).collect();
            let stop: Vec<_> = polled.stop.iter().map(|key| super::site::name(*key)).collect();
            let again = if polled.register_again { ", register again" } else { "" };
            format!("acknowledged {}, given {given:?}, stop {stop:?}{again}", polled.acknowledged)
        }
        Some(reply) => format!("{reply:?}"),
    }
}
