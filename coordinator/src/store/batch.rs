//! What a group of commands writes, collected and then written table by table: many rows in one statement, all in the
//! caller's one transaction.

use std::collections::{BTreeMap, HashMap};

use experiment_spec::{
    ids::{AttemptKey, AttemptNumber, ContentHash, StepId, WorkerId},
    run::State,
};
use sqlx::SqliteConnection;

use super::{
    attempts::{self, Ended, NewAttempt, Start},
    checkpoints::{self, Checkpoint, Saved},
    error::Result,
    logs::{self, NewLine},
    metrics::{self, NewPoint},
    scores::{self, NewOutcome, Outcome},
    sentences::{self, GivenBack},
    transitions::{self, Line, Move},
    workers::{self, Heard},
};
use crate::scheduler::effects::{Effect, Guard};

/// Everything that one transaction writes. The order among tables does not matter, but for the moves of one step: each of
/// them is in a wave of its own.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    waves: Vec<Vec<Move<'a>>>,
    /// In how many waves a step is.
    waves_of: HashMap<StepId, usize>,
    history: Vec<Line>,
    /// Which of them say of what attempt the checkpoint is.
    made_elsewhere: Vec<(usize, StepId, AttemptNumber)>,
    new_attempts: Vec<NewAttempt>,
    /// When attempts started.
    starts: Vec<(StepId, AttemptNumber, i64)>,
    /// What they said when they started.
    told: Vec<(StepId, AttemptNumber, &'a Start)>,
    checkpoints: BTreeMap<(StepId, AttemptNumber), u64>,
    /// Checkpoints that came to the coordinator, the last one of each step.
    saved: BTreeMap<StepId, Saved<'a>>,
    /// Steps that need their checkpoint no more.
    done: Vec<StepId>,
    /// Contents of checkpoints that may be named by nobody now.
    loose: Vec<ContentHash>,
    outcomes: Vec<NewOutcome<'a>>,
    ends: Vec<Ended<'a>>,
    points: Vec<Points<'a>>,
    lines: Vec<NewLine<'a>>,
    aside: Vec<(WorkerId, i64, &'a str)>,
    heard: Vec<Heard>,
}

/// Points between two attempts that begin some of them again.
#[derive(Debug, Default)]
struct Points<'a> {
    /// Removed before: those of this step after this iteration.
    forget: Option<(StepId, u64)>,
    new: Vec<NewPoint<'a>>,
}

impl<'a> Batch<'a> {
    /// Nothing but these effects.
    pub(crate) fn of(effects: &'a [Effect], name: impl Fn(WorkerId) -> &'a str, now_ms: i64) -> Self {
        let mut batch = Self::default();
        for effect in effects {
            batch.effect(effect, &name, now_ms);
        }
        batch
    }

    /// What the scheduler decided; `name` is that of a worker.
    pub(crate) fn effect(&mut self, effect: &'a Effect, name: impl Fn(WorkerId) -> &'a str, now_ms: i64) {
        match effect {
            Effect::Assign { guard, worker, grant, lease } => {
                let attempt = AttemptNumber(guard.attempt.0 + 1);
                self.move_to(Move { attempt, ..Move::new(guard, State::Assigned, now_ms) });
                let key = AttemptKey { step: guard.step, attempt, lease: *lease };
                self.new_attempts.push(NewAttempt { key, worker: *worker, grant: *grant, now_ms });
                let sentence = sentences::assigned(name(*worker), attempt, now_ms - guard.since_ms);
                self.history.push(Line { step: guard.step, attempt, sentence, now_ms });
            }
            Effect::Start { guard } => {
                self.move_to(Move::new(guard, State::Running, now_ms));
                self.starts.push((guard.step, guard.attempt, now_ms));
            }
            Effect::Requeue { guard, because, retries_left, not_before_ms, shuns } => {
                let worker = guard.worker.map(name).unwrap_or_default();
                let queued = Some((*retries_left, *not_before_ms, *shuns));
                self.move_to(Move { queued, ..Move::new(guard, State::Queued, now_ms) });
                let facts = (not_before_ms - now_ms, shuns.is_some(), *retries_left);
                let GivenBack { outcome, kind, why, sentence } = sentences::given_back(guard, because, worker, facts);
                self.ends.push(Ended { guard: *guard, outcome, failure: Some((kind, why.into())), now_ms });
                self.say(guard, sentence, now_ms);
            }
            Effect::Succeed { guard } => {
                self.done.push(guard.step);
                self.move_to(Move::new(guard, State::Succeeded, now_ms));
                self.ends.push(Ended { guard: *guard, outcome: "succeeded", failure: None, now_ms });
                self.say(guard, sentences::succeeded(now_ms - guard.since_ms), now_ms);
            }
            Effect::Fail { guard, kind, message } => {
                let failure = Some((*kind, message.as_str()));
                self.move_to(Move { failure, ..Move::new(guard, State::Failed, now_ms) });
                if guard.worker.is_some() {
                    let failure = Some((*kind, message.as_str().into()));
                    self.ends.push(Ended { guard: *guard, outcome: "failed", failure, now_ms });
                }
                self.say(guard, format!("failed for good ({}): {message}", kind.name()), now_ms);
            }
            Effect::Cancel { guard } => {
                self.done.push(guard.step);
                self.move_to(Move::new(guard, State::Cancelled, now_ms));
                if guard.worker.is_some() {
                    self.ends.push(Ended { guard: *guard, outcome: "cancelled", failure: None, now_ms });
                }
                self.say(guard, format!("cancelled while {}", guard.state.name()), now_ms);
            }
            Effect::SetAside { step, attempt, what } => {
                let sentence = sentences::set_aside(*attempt, what);
                self.history.push(Line { step: *step, attempt: *attempt, sentence, now_ms });
            }
            Effect::PutAside { worker, until_ms, reason } => self.aside.push((*worker, *until_ms, reason)),
        }
    }

    /// An attempt started.
    pub(crate) fn started(&mut self, key: AttemptKey, start: &'a Start, now_ms: i64) {
        let AttemptKey { step, attempt, .. } = key;
        // Before a first attempt there are none.
        if attempt.0 > 1 {
            self.points.push(Points { forget: Some((step, start.from_iteration)), new: Vec::new() });
        }
        let of_attempt = start.of_attempt.filter(|_| start.from_iteration > 0);
        self.made_elsewhere.extend(of_attempt.map(|attempt| (self.history.len(), step, attempt)));
        self.history.push(Line { step, attempt, sentence: start.sentence(), now_ms });
        self.told.push((step, attempt, start));
    }

    /// An attempt measured something.
    pub(crate) fn points(&mut self, key: AttemptKey, points: &'a [(String, u64, f64)]) {
        let point = |(name, iteration, value): &'a (String, u64, f64)| NewPoint {
            step: key.step,
            name,
            iteration: *iteration,
            value: *value,
        };
        if self.points.is_empty() {
            self.points.push(Points::default());
        }
        let last = self.points.last_mut().expect("there is one, since the statement above");
        last.new.extend(points.iter().map(point));
    }

    /// An attempt said something.
    pub(crate) fn line(&mut self, key: AttemptKey, at_ms: i64, (stream, text): (&'a str, &'a str)) {
        self.lines.push(NewLine { step: key.step, attempt: key.attempt, at_ms, stream, text });
    }

    /// An attempt kept a checkpoint.
    pub(crate) fn checkpoint(&mut self, key: AttemptKey, iteration: u64) {
        self.checkpoints.insert((key.step, key.attempt), iteration);
    }

    /// The coordinator has a checkpoint of an attempt, in place of the one before.
    pub(crate) fn saved(&mut self, key: AttemptKey, checkpoint: &'a Checkpoint, now_ms: i64) {
        let saved = Saved { step: key.step, attempt: key.attempt, checkpoint, now_ms };
        self.loose.extend(self.saved.insert(key.step, saved).map(|before| before.checkpoint.hash));
    }

    /// A checkpoint came that does not count.
    pub(crate) fn refused(&mut self, checkpoint: &Checkpoint) {
        self.loose.push(checkpoint.hash);
    }

    /// What an attempt left; its step succeeds in the same batch.
    pub(crate) fn outcome(&mut self, key: AttemptKey, outcome: &'a Outcome, now_ms: i64) {
        self.outcomes.push((key.step, key.attempt, outcome, now_ms));
    }

    /// Reports of a worker up to this one are in this batch.
    pub(crate) fn heard(&mut self, worker: WorkerId, last_sequence: u64, now_ms: i64) {
        self.heard.push(Heard { worker, last_sequence, now_ms });
    }

    /// Writes everything. Returns the contents of checkpoints that nothing names any more once this is committed.
    pub(crate) async fn write(mut self, db: &mut SqliteConnection) -> Result<Vec<ContentHash>> {
        for wave in &self.waves {
            transitions::move_all(db, wave).await?;
        }
        attempts::insert_all(db, &self.new_attempts).await?;
        attempts::set_started_all(db, &self.starts).await?;
        attempts::set_told_all(db, &self.told).await?;
        attempts::set_checkpoints(db, &self.checkpoints.into_iter().collect::<Vec<_>>()).await?;
        scores::put_all(db, &self.outcomes).await?;
        attempts::end_all(db, &self.ends).await?;
        for Points { forget, new } in &self.points {
            if let Some((step, iteration)) = forget {
                metrics::forget_after(db, *step, *iteration).await?;
            }
            metrics::put_all(db, new).await?;
        }
        for (line, step, attempt) in self.made_elsewhere {
            if let Some(worker) = attempts::worker_of(db, step, attempt).await? {
                self.history[line].sentence += &sentences::made_by(&worker);
            }
        }
        logs::append_all(db, &self.lines).await?;
        transitions::history_all(db, &self.history).await?;
        workers::put_aside_all(db, &self.aside).await?;
        workers::set_heard(db, &self.heard).await?;
        let mut loose = self.loose;
        if !self.saved.is_empty() {
            loose.extend(checkpoints::put_all(db, &self.saved.into_values().collect::<Vec<_>>()).await?);
        }
        loose.extend(checkpoints::forget(db, &self.done).await?);
        checkpoints::unnamed(db, loose).await
    }

    fn move_to(&mut self, of: Move<'a>) {
        let wave = self.waves_of.entry(of.guard.step).or_default();
        if self.waves.len() == *wave {
            self.waves.push(Vec::new());
        }
        self.waves[*wave].push(of);
        *wave += 1;
    }

    fn say(&mut self, guard: &Guard, sentence: String, now_ms: i64) {
        self.history.push(Line { step: guard.step, attempt: guard.attempt, sentence, now_ms });
    }
}
