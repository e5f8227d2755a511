//! The coordinator at work in the world: what arrives waits, is taken together, answered and held against the ledger; it dies
//! and comes back.

use std::collections::BTreeMap;

use super::{
    checks,
    ledger::Verdict,
    seat::{Reply, Request},
    site::Answer,
    stored::{Stored, Told},
    world::{Asked, Caller, Due, World, answer_told, told},
};
use crate::service::tests::time::{MS, SECOND};

/// As the owner gathers polls, and as `liveness` sweeps.
const GATHER_US: u64 = 2 * MS;
const SWEEP_US: u64 = SECOND;

impl World {
    pub(super) fn arrives(&mut self, asked: Asked) {
        if !self.seat.is_up() {
            self.send_back(asked.caller, Answer::ConnectionRefused, self.now_us);
            if asked.caller == Caller::User {
                // Nobody but those who submit insists.
                drop(self.user_answered(asked.request, None));
            }
            return;
        }
        self.waiting.push_back(asked);
        self.handle_soon();
    }

    fn handle_soon(&mut self) {
        if !self.is_handling && !self.waiting.is_empty() {
            self.is_handling = true;
            let at_us = (self.now_us + GATHER_US).max(self.busy_until_us);
            self.at(at_us, Due::Handle);
        }
    }

    /// What users ask is handled by itself, so that the ledger can ask the store what came of it.
    fn next_batch(&mut self) -> Vec<Asked> {
        let by_user = |asked: &Asked| asked.caller == Caller::User;
        let of_fleet = self.waiting.iter().take_while(|asked| !by_user(asked)).count();
        let count = if of_fleet == 0 { self.waiting.len().min(1) } else { of_fleet };
        self.waiting.drain(..count).collect()
    }

    pub(super) async fn handle(&mut self) -> Verdict {
        self.is_handling = false;
        if !self.seat.is_up() {
            return Ok(());
        }
        let batch = self.next_batch();
        let requests: Vec<Request> = batch.iter().map(|asked| asked.request.clone()).collect();
        let before = *self.seat.owner().changes.borrow();
        let (replies, died) = self.seat.handle(&requests).await;
        for (request, reply) in requests.iter().zip(&replies) {
            if !is_dull(request, reply.as_ref()) {
                self.say(format!("{} -> {}", told(request), answer_told(reply.as_ref())));
            }
        }
        let stored = if died || *self.seat.owner().changes.borrow() == before {
            None
        } else {
            Some(Stored::read(&self.seat.owner().readers).await)
        };
        self.enter(&requests, &replies, died, stored.as_ref())?;
        self.busy_until_us = self.now_us + self.batch_costs_us;
        for (asked, reply) in batch.into_iter().zip(replies) {
            self.reply(asked, reply)?;
        }
        if died {
            self.say("the coordinator has died".to_owned());
            self.down();
        }
        self.handle_soon();
        Ok(())
    }

    /// Holds what was answered against the ledger.
    fn enter(
        &mut self,
        requests: &[Request],
        replies: &[Option<Reply>],
        died: bool,
        stored: Option<&Stored>,
    ) -> Verdict {
        let nothing = Stored::default();
        for (request, reply) in requests.iter().zip(replies) {
            match reply {
                // Of users' requests only the store knows what came of them.
                Some(reply) if !died || matches!(request, Request::Register(_) | Request::Poll(_) | Request::Sweep) => {
                    let is_new = stored.is_some() || matches!(reply, Reply::NotWritten | Reply::Refused);
                    if is_new || matches!(request, Request::Register(_) | Request::Poll(_) | Request::Sweep) {
                        self.ledger.apply(request, Some(reply), self.now_us, stored.unwrap_or(&nothing))?;
                    }
                }
                _ if died => self.unsure.push((self.now_us, request.clone())),
                _ => return Err(format!("not answered: {}", told(request))),
            }
        }
        if let Some(stored) = stored {
            checks::compare(&self.ledger, stored)?;
            self.ledger.learn_sequences(stored);
        }
        if !died && !self.seat.owner().stale {
            checks::compare_memory(&self.ledger, self.seat.owner())?;
        }
        Ok(())
    }

    fn reply(&mut self, asked: Asked, reply: Option<Reply>) -> Verdict {
        let at_us = self.busy_until_us;
        match asked.caller {
            Caller::Site { .. } => {
                let answer = reply.map_or(Answer::Broken, Answer::Said);
                self.send_back(asked.caller, answer, at_us);
            }
            Caller::User => {
                let is_lost = self.chance.percent(if self.is_quiet { 0 } else { self.weather.lost_percent });
                return self.user_answered(asked.request, reply.filter(|_| !is_lost).as_ref());
            }
            Caller::Sweeper { start } => {
                self.at(at_us.max(self.now_us + SWEEP_US), Due::Sweep { start });
            }
        }
        Ok(())
    }

    /// The coordinator is gone: connections break, and it is started again later.
    fn down(&mut self) {
        for asked in std::mem::take(&mut self.waiting) {
            self.send_back(asked.caller, Answer::Broken, self.now_us);
            if asked.caller == Caller::User {
                drop(self.user_answered(asked.request, None));
            }
        }
        self.starts += 1;
        let pause_us = if self.is_quiet { SECOND } else { self.chance.within(100 * MS..=30 * SECOND) };
        self.after(pause_us, Due::StartCoordinator);
    }

    /// Kills it between two requests.
    pub(super) async fn kill_coordinator(&mut self) {
        if self.seat.is_up() {
            self.seat.stop().await;
            self.down();
        }
    }

    /// A store from before is brought back while the coordinator is away.
    pub(super) fn restore(&mut self) {
        let Some((ledger, submitted)) = self.backup.take() else { return };
        self.seat.restore();
        self.ledger.restored(&ledger);
        self.submitted = submitted;
        self.unsure.clear();
        self.was_restored = true;
    }

    pub(super) async fn start_coordinator(&mut self) -> Verdict {
        if self.seat.is_up() {
            return Ok(());
        }
        self.seat.start().await;
        self.say("the coordinator starts".to_owned());
        let stored = Stored::read(&self.seat.owner().readers).await;
        self.settle(&stored)?;
        if self.was_restored {
            self.recall(&stored);
        }
        self.ledger.restarted(self.now_us);
        checks::compare_told(&self.ledger, &Told::read(&self.seat.owner().readers).await)?;
        checks::compare_memory(&self.ledger, self.seat.owner())?;
        (self.frozen_until_us, self.is_handling) = (0, false);
        let start = self.starts;
        self.after(SWEEP_US, Due::Sweep { start });
        Ok(())
    }

    /// Who waited for an answer when the store was copied has it now if the copy has the submission; else they ask again, or
    /// have forgotten it.
    fn recall(&mut self, stored: &Stored) {
        let ids: BTreeMap<&String, i64> = stored.submissions.iter().map(|(id, request)| (request, *id)).collect();
        let known = std::mem::take(&mut self.submitted).into_iter();
        self.submitted = known
            .map(|(request, id)| {
                let id = id.or_else(|| ids.get(&request).copied());
                (request, id)
            })
            .filter(|(_, id)| id.is_some())
            .collect();
    }

    /// What was acknowledged is in the store, and of what was being done when it died some first part.
    fn settle(&mut self, stored: &Stored) -> Verdict {
        let unsure = std::mem::take(&mut self.unsure);
        let mut ledger = self.ledger.clone();
        let mut verdict = checks::compare(&ledger, stored);
        for (at_us, request) in &unsure {
            if verdict.is_ok() {
                break;
            }
            ledger.apply(request, None, *at_us, stored)?;
            verdict = checks::compare(&ledger, stored);
        }
        self.ledger = ledger;
        self.ledger.learn_steps(stored);
        self.ledger.learn_sequences(stored);
        verdict.map_err(|why| format!("after a restart: {why}"))
    }
}

/// Whether a trace is as readable without it: nothing was reported, given or taken.
fn is_dull(request: &Request, reply: Option<&Reply>) -> bool {
    match (request, reply) {
        (Request::Sweep, Some(Reply::Count(0))) => true,
        (Request::Poll(poll), Some(Reply::Polled(polled))) => {
            poll.reports.is_empty() && polled.assignments.is_empty() && polled.stop.is_empty() && !polled.register_again
        }
        _ => false,
    }
}
