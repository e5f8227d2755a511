//! What attempts do and report, as `worker/src/attempt.rs` would pass it on: what was at work, how far it came, its end.

use experiment_spec::{
    ids::{AttemptKey, StepId},
    run::FailureKind,
};
use orchestrator_proto::v1::Progress;

use super::{
    chance::Chance,
    site::{TICK_US, grace_us, name},
    world::{Due, World},
};
use crate::service::tests::time::{MS, SECOND};
use crate::{
    scheduler::state::Grant,
    service::{handle::Assignment, reports::Event, tests::support::succeeded},
    store::attempts::Start,
};

/// Why an attempt is to end; a later reason replaces an earlier one only if it is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    LeaseOver,
    Release,
    Cancel,
}

/// How an attempt would end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Succeeds,
    /// It leaves a result that cannot be one.
    LeavesNonsense,
    Fails(FailureKind),
}

/// An attempt and its process.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) grant: Grant,
    pub(super) has_ended: bool,
    stop: Option<Stop>,
    has_started: bool,
    iteration: u64,
    iterations: u64,
    pause_us: u64,
    end: End,
}

/// The same for every attempt of a step, as real ones are.
fn loss(step: StepId, iteration: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (step, iteration) = (step.0 as f64, iteration as f64);
    step + 1.0 / (1.0 + iteration)
}

/// Everything waits for an extraction: that one hardly ever fails.
fn end(chance: &mut Chance, is_sure: bool) -> End {
    match chance.below(100) {
        0..95 if is_sure => End::Succeeds,
        0..80 => End::Succeeds,
        80..83 => End::LeavesNonsense,
        _ => End::Fails(chance.one_of(&FailureKind::ALL)),
    }
}

impl World {
    pub(super) fn start_attempt(&mut self, index: usize, assignment: &Assignment) {
        let key = assignment.key;
        let iterations = self.chance.within(1..=5);
        let pause_us = self.chance.within(20 * MS..=4 * SECOND) * self.sites[index].slowness;
        let is_extraction = self.ledger.needs.get(&key.step) == Some(&None);
        let end = end(&mut self.chance, is_extraction || self.is_quiet);
        let site = &mut self.sites[index];
        let iteration = site.checkpoints.get(&key.step).copied().unwrap_or(0).min(iterations);
        let (grant, stop) = (assignment.grant, None);
        let attempt =
            Attempt { grant, has_ended: false, stop, has_started: false, iteration, iterations, pause_us, end };
        let is_first = site.attempts.is_empty();
        site.attempts.insert(key, attempt);
        let life = site.life;
        self.say(format!("{} begins {}", self.sites[index].registration.name, name(key)));
        let prepares_us = self.chance.within(5 * MS..=300 * MS);
        self.after(prepares_us, Due::Attempt { site: index, life, key, is_killed: false });
        if is_first {
            self.after(TICK_US, Due::Watch { site: index, life });
        }
    }

    /// Asks an attempt to end.
    pub(super) fn stop_attempt(&mut self, index: usize, key: AttemptKey, stop: Stop) {
        let site = &mut self.sites[index];
        let life = site.life;
        let Some(attempt) = site.attempts.get_mut(&key).filter(|attempt| !attempt.has_ended) else { return };
        if attempt.stop >= Some(stop) {
            return;
        }
        attempt.stop = Some(stop);
        let grace_us = match stop {
            Stop::LeaseOver => grace_us() - TICK_US,
            Stop::Release => 5 * SECOND,
            Stop::Cancel => 2 * SECOND,
        };
        self.say(format!("{} stops {}: {stop:?}", self.sites[index].registration.name, name(key)));
        let ends_us = self.chance.below(grace_us);
        self.after(ends_us, Due::Attempt { site: index, life, key, is_killed: true });
    }

    /// The daemon looks at the clock.
    pub(super) fn watch(&mut self, index: usize) {
        let site = &self.sites[index];
        let life = site.life;
        let at_work: Vec<_> =
            site.attempts.iter().filter(|(_, attempt)| !attempt.has_ended).map(|(key, _)| *key).collect();
        if site.lease_is_over(self.now_us) {
            for key in &at_work {
                self.stop_attempt(index, *key, Stop::LeaseOver);
            }
        }
        if !self.sites[index].attempts.is_empty() {
            self.after(TICK_US, Due::Watch { site: index, life });
        }
    }

    /// Something comes from an attempt's process, or its end after it was asked to.
    pub(super) fn attempt(&mut self, index: usize, key: AttemptKey, is_killed: bool) {
        let at_ms = self.wall_ms();
        let (site, chance) = (&mut self.sites[index], &mut self.chance);
        let Some(attempt) = site.attempts.get_mut(&key).filter(|attempt| !attempt.has_ended) else { return };
        let is_unwanted = attempt.stop == Some(Stop::Cancel);
        if is_killed || (is_unwanted && attempt.iteration == attempt.iterations) {
            attempt.has_ended = true;
            if !is_unwanted {
                let reason = "it was asked to".to_owned();
                site.outbox.append(key, at_ms, Event::Released { reason });
            }
            self.say(format!("{} has ended {}", self.sites[index].registration.name, name(key)));
            self.news(index);
            return;
        }
        let mut is_news = false;
        if !attempt.has_started {
            attempt.has_started = true;
            is_news = true;
            let start = Start {
                from_iteration: attempt.iteration,
                kind: "cpu simulated".to_owned(),
                of_attempt: None,
                code: None,
            };
            site.outbox.append(key, at_ms, Event::Started(start));
        } else if attempt.iteration < attempt.iterations {
            attempt.iteration += 1;
            let iteration = attempt.iteration;
            site.outbox.append(
                key,
                at_ms,
                Event::Metrics(vec![("loss".to_owned(), iteration, loss(key.step, iteration))]),
            );
            if chance.percent(50) {
                let (stream, text) = ("stdout".to_owned(), format!("{} is at {iteration}", name(key)));
                site.outbox.append(key, at_ms, Event::Log { stream, text });
            }
            if chance.percent(50) {
                site.checkpoints.insert(key.step, iteration);
                site.outbox.append(key, at_ms, Event::CheckpointSaved { iteration, content: None });
            }
            site.outbox.note_progress(key, Progress { iteration, ..Progress::default() });
        } else {
            attempt.has_ended = true;
            is_news = true;
            let last_word = last_word(key, attempt.end);
            site.outbox.append(key, at_ms, last_word);
            let end = attempt.end;
            self.say(format!("{} has ended {}: {end:?}", self.sites[index].registration.name, name(key)));
        }
        let site = &self.sites[index];
        let life = site.life;
        if let Some(attempt) = site.attempts.get(&key).filter(|attempt| !attempt.has_ended) {
            let pause_us = attempt.pause_us;
            self.after(pause_us, Due::Attempt { site: index, life, key, is_killed: false });
        }
        if is_news {
            self.news(index);
        }
    }
}

/// What an attempt says last; a result names the attempt that it is of.
fn last_word(key: AttemptKey, end: End) -> Event {
    match end {
        End::Fails(kind) => Event::Failed { kind, message: format!("it was {}", kind.name()) },
        End::Succeeds | End::LeavesNonsense => {
            let Event::Succeeded(mut outcome) = succeeded() else { unreachable!("it says so") };
            let selected = u64::from(key.attempt.0) << 16 | (key.lease.0 & 0xffff);
            let map = if end == End::Succeeds { "0.5" } else { "1.5" };
            let json =
                outcome.scores_json.replace("\"selected_iteration\":0", &format!("\"selected_iteration\":{selected}"));
            outcome.scores_json = json.replace("\"map\":0.5", &format!("\"map\":{map}"));
            outcome.scores = serde_json::from_str(&outcome.scores_json).map_err(|error| error.to_string());
            Event::Succeeded(outcome)
        }
    }
}
