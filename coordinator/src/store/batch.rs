//! What a group of commands writes, collected and then written table by table: many rows in one statement, all in the
//! caller's one transaction.

use std::collections::{BTreeMap, HashMap};

use experiment_spec::{
    ids::{AttemptKey, AttemptNumber, StepId, WorkerId},
    run::State,
};
use sqlx::SqliteConnection;

use super::{
    attempts::{self, Ended, NewAttempt, Start},
    error::Result,
    logs::{self, NewLine},
    metrics::{self, NewPoint},
    scores::{self, Outcome},
    transitions::{self, Line, Move, seconds},
    workers::{self, Heard},
};
use crate::scheduler::{effects::Effect, state::Worker};

/// Everything that one transaction writes, in its order.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    parts: Vec<Part<'a>>,
}

#[derive(Debug)]
enum Part<'a> {
    Rows(Box<Rows<'a>>),
    /// What is rare is written by itself, after everything that came before it.
    Effect(&'a Effect, i64),
    /// Removes the metric points of a step after an iteration.
    Forget(StepId, u64),
}

/// Rows of every table. Their order among the tables does not matter, but for the moves of one step: each of them is in
/// a wave of its own.
#[derive(Debug, Default)]
struct Rows<'a> {
    waves: Vec<Vec<Move>>,
    /// In how many waves a step is.
    waves_of: HashMap<StepId, usize>,
    history: Vec<Line>,
    new_attempts: Vec<NewAttempt>,
    /// When attempts started.
    starts: Vec<(StepId, AttemptNumber, i64)>,
    /// What they said when they started.
    told: Vec<(StepId, AttemptNumber, &'a Start)>,
    checkpoints: BTreeMap<(StepId, AttemptNumber), u64>,
    outcomes: Vec<(StepId, AttemptNumber, &'a Outcome)>,
    ends: Vec<Ended>,
    points: Vec<NewPoint<'a>>,
    lines: Vec<NewLine<'a>>,
    heard: Vec<Heard>,
}

impl<'a> Batch<'a> {
    /// Nothing but these effects.
    pub(crate) fn of(effects: &'a [Effect], workers: &BTreeMap<WorkerId, Worker>, now_ms: i64) -> Self {
        let mut batch = Self::default();
        effects.iter().for_each(|effect| batch.effect(effect, workers, now_ms));
        batch
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What the scheduler decided; `workers` are those that may be named in it.
    pub(crate) fn effect(&mut self, effect: &'a Effect, workers: &BTreeMap<WorkerId, Worker>, now_ms: i64) {
        match effect {
            Effect::Assign { guard, worker, grant, lease } => {
                let attempt = AttemptNumber(guard.attempt.0 + 1);
                let name = workers.get(worker).map_or("unknown", |worker| worker.name.as_str());
                let waited = seconds(now_ms - guard.since_ms);
                let sentence = format!("assigned to worker {name} (attempt {attempt}), queued for {waited}");
                let rows = self.rows();
                rows.move_to(Move { guard: *guard, to: State::Assigned, attempt, now_ms });
                let key = AttemptKey { step: guard.step, attempt, lease: *lease };
                rows.new_attempts.push(NewAttempt { key, worker: *worker, grant: *grant, now_ms });
                rows.history.push(Line { step: guard.step, attempt, sentence, now_ms });
            }
            Effect::Start { guard } => {
                let rows = self.rows();
                rows.move_to(Move { guard: *guard, to: State::Running, attempt: guard.attempt, now_ms });
                rows.starts.push((guard.step, guard.attempt, now_ms));
            }
            Effect::Succeed { guard } => {
                let sentence = format!("succeeded after {}", seconds(now_ms - guard.since_ms));
                let rows = self.rows();
                rows.move_to(Move { guard: *guard, to: State::Succeeded, attempt: guard.attempt, now_ms });
                rows.ends.push(Ended { guard: *guard, now_ms });
                rows.history.push(Line { step: guard.step, attempt: guard.attempt, sentence, now_ms });
            }
            Effect::SetAside { step, attempt, what } => {
                let sentence =
                    format!("attempt {attempt} no longer had its lease: what it reported late ({what}) does not count");
                self.rows().history.push(Line { step: *step, attempt: *attempt, sentence, now_ms });
            }
            Effect::Requeue { .. } | Effect::Fail { .. } | Effect::Cancel { .. } | Effect::PutAside { .. } => {
                self.parts.push(Part::Effect(effect, now_ms));
            }
        }
    }

    /// An attempt started.
    pub(crate) fn started(&mut self, key: AttemptKey, start: &'a Start, now_ms: i64) {
        let AttemptKey { step, attempt, .. } = key;
        // Before a first attempt there are none.
        if attempt.0 > 1 {
            self.parts.push(Part::Forget(step, start.from_iteration));
        }
        let rows = self.rows();
        rows.history.push(Line { step, attempt, sentence: start.sentence(), now_ms });
        rows.told.push((step, attempt, start));
    }

    /// An attempt measured something.
    pub(crate) fn points(&mut self, key: AttemptKey, points: &'a [(String, u64, f64)]) {
        let point = |(name, iteration, value): &'a (String, u64, f64)| NewPoint {
            step: key.step,
            name,
            iteration: *iteration,
            value: *value,
        };
        self.rows().points.extend(points.iter().map(point));
    }

    /// An attempt said something.
    pub(crate) fn line(&mut self, key: AttemptKey, at_ms: i64, (stream, text): (&'a str, &'a str)) {
        self.rows().lines.push(NewLine { step: key.step, attempt: key.attempt, at_ms, stream, text });
    }

    /// An attempt kept a checkpoint.
    pub(crate) fn checkpoint(&mut self, key: AttemptKey, iteration: u64) {
        self.rows().checkpoints.insert((key.step, key.attempt), iteration);
    }

    /// What an attempt left; its step succeeds in the same batch.
    pub(crate) fn outcome(&mut self, key: AttemptKey, outcome: &'a Outcome) {
        self.rows().outcomes.push((key.step, key.attempt, outcome));
    }

    /// Reports of a worker up to this one are in this batch.
    pub(crate) fn heard(&mut self, worker: WorkerId, last_sequence: u64, now_ms: i64) {
        self.rows().heard.push(Heard { worker, last_sequence, now_ms });
    }

    /// Writes everything.
    pub(crate) async fn write(self, db: &mut SqliteConnection) -> Result<()> {
        for part in self.parts {
            match part {
                Part::Rows(rows) => rows.write(db).await?,
                Part::Effect(effect, now_ms) => transitions::apply(db, effect, now_ms).await?,
                Part::Forget(step, iteration) => metrics::forget_after(db, step, iteration).await?,
            }
        }
        Ok(())
    }

    /// Rows that come after everything that is here already.
    fn rows(&mut self) -> &mut Rows<'a> {
        if !matches!(self.parts.last(), Some(Part::Rows(_))) {
            self.parts.push(Part::Rows(Box::default()));
        }
        match self.parts.last_mut() {
            Some(Part::Rows(rows)) => rows,
            _ => unreachable!("pushed two statements above"),
        }
    }
}

impl Rows<'_> {
    fn move_to(&mut self, of: Move) {
        let wave = self.waves_of.entry(of.guard.step).or_default();
        if self.waves.len() == *wave {
            self.waves.push(Vec::new());
        }
        self.waves[*wave].push(of);
        *wave += 1;
    }

    async fn write(self, db: &mut SqliteConnection) -> Result<()> {
        for wave in &self.waves {
            transitions::move_all(db, wave).await?;
        }
        attempts::insert_all(db, &self.new_attempts).await?;
        attempts::set_started_all(db, &self.starts).await?;
        attempts::set_told_all(db, &self.told).await?;
        attempts::set_checkpoints(db, &self.checkpoints.into_iter().collect::<Vec<_>>()).await?;
        scores::put_all(db, &self.outcomes).await?;
        attempts::end_all(db, &self.ends).await?;
        metrics::put_all(db, &self.points).await?;
        logs::append_all(db, &self.lines).await?;
        transitions::history_all(db, &self.history).await?;
        workers::set_heard(db, &self.heard).await
    }
}
