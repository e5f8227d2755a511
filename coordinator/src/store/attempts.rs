//! Table `attempts` beside the transitions: what attempts say of themselves, and reading them.

use std::borrow::Cow;

use experiment_spec::{
    code::CodeVersion,
    ids::{AttemptKey, AttemptNumber, StepId, WorkerId},
    run::FailureKind,
};
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{
    error::{Result, StoreError, damaged},
    rows,
};
use crate::scheduler::{effects::Guard, state::Grant};

/// One attempt.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub(crate) struct AttemptRow {
    pub(crate) number: u32,
    pub(crate) worker: String,
    pub(crate) outcome: Option<String>,
    pub(crate) assigned_at_ms: i64,
    pub(crate) started_at_ms: Option<i64>,
    pub(crate) ended_at_ms: Option<i64>,
    pub(crate) kind: Option<String>,
    /// See [`codes`].
    pub(crate) code_json: Option<String>,
}

/// What an attempt says when it starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Start {
    /// Iteration of the checkpoint it goes on from; 0 = it begins at the beginning.
    pub(crate) from_iteration: u64,
    /// Kind of the scores it would yield.
    pub(crate) kind: String,
    /// The attempt that made that checkpoint, if it did so on another worker.
    pub(crate) of_attempt: Option<AttemptNumber>,
    /// The program; workers of before this field do not say.
    pub(crate) code: Option<CodeVersion>,
}

/// One line of a step's history.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct HistoryRow {
    pub(crate) at_ms: i64,
    pub(crate) attempt: u32,
    pub(crate) sentence: String,
}

/// Most lines of history in one answer, the latest ones.
const MAX_HISTORY: i64 = 10_000;

impl Start {
    /// The same for people.
    pub(super) fn sentence(&self) -> String {
        match (self.from_iteration, &self.kind) {
            (0, kind) => format!("started on {kind}"),
            (iteration, kind) => format!("started on {kind}, goes on from iteration {iteration}"),
        }
    }
}

/// An attempt that was just assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewAttempt {
    pub(super) key: AttemptKey,
    pub(super) worker: WorkerId,
    pub(super) grant: Grant,
    pub(super) now_ms: i64,
}

/// Writes new attempts.
pub(super) async fn insert_all(db: &mut SqliteConnection, new: &[NewAttempt]) -> Result<()> {
    let sql = (
        "INSERT INTO attempts (step_id, number, worker_id, cpus, gpu_index, gpu_share_milli, memory_bytes,
                                     assigned_at_ms, lease_token) SELECT * FROM (",
        ") WHERE column1 IS NOT NULL",
    );
    rows::execute(db, sql, new, 9, |row, of| {
        row.push_bind(of.key.step.0).push_bind(of.key.attempt.0).push_bind(of.worker.0).push_bind(of.grant.cpus);
        row.push_bind(of.grant.gpu.map(|gpu| gpu.0)).push_bind(of.grant.gpu.map_or(0, |gpu| gpu.1));
        row.push_bind(of.grant.memory_bytes.cast_signed()).push_bind(of.now_ms);
        row.push_bind(of.key.lease.0.cast_signed());
    })
    .await?;
    Ok(())
}

/// Writes when attempts started.
pub(super) async fn set_started_all(db: &mut SqliteConnection, starts: &[(StepId, AttemptNumber, i64)]) -> Result<()> {
    let sql = (
        "UPDATE attempts SET started_at_ms = new.column3 FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND attempts.step_id = new.column1 AND attempts.number = new.column2",
    );
    rows::execute(db, sql, starts, 3, |row, (step, attempt, now_ms)| {
        row.push_bind(step.0).push_bind(attempt.0).push_bind(*now_ms);
    })
    .await?;
    Ok(())
}

/// Writes where attempts go on from, on what kind of device, and by which program.
pub(super) async fn set_told_all(db: &mut SqliteConnection, told: &[(StepId, AttemptNumber, &Start)]) -> Result<()> {
    let sql = (
        "UPDATE attempts SET from_iteration = new.column3, kind = new.column4, code_json = new.column5 FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND attempts.step_id = new.column1 AND attempts.number = new.column2",
    );
    rows::execute(db, sql, told, 5, |row, (step, attempt, start)| {
        let code = start.code.as_ref();
        let code = code.map(|code| serde_json::to_string(code).expect("a code version is names and one flag"));
        row.push_bind(step.0).push_bind(attempt.0).push_bind(start.from_iteration.cast_signed());
        row.push_bind(start.kind.as_str()).push_bind(code);
    })
    .await?;
    Ok(())
}

/// Writes the iterations of last checkpoints.
pub(super) async fn set_checkpoints(
    db: &mut SqliteConnection,
    checkpoints: &[((StepId, AttemptNumber), u64)],
) -> Result<()> {
    let sql = (
        "UPDATE attempts SET checkpoint_iteration = new.column3 FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND attempts.step_id = new.column1 AND attempts.number = new.column2",
    );
    rows::execute(db, sql, checkpoints, 3, |row, ((step, attempt), iteration)| {
        row.push_bind(step.0).push_bind(attempt.0).push_bind(iteration.cast_signed());
    })
    .await?;
    Ok(())
}

/// An attempt that ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended<'a> {
    pub(super) guard: Guard,
    pub(super) outcome: &'static str,
    pub(super) failure: Option<(FailureKind, Cow<'a, str>)>,
    pub(super) now_ms: i64,
}

/// Ends attempts, each of which must be at work.
pub(super) async fn end_all(db: &mut SqliteConnection, ended: &[Ended<'_>]) -> Result<()> {
    let sql = (
        "UPDATE attempts SET ended_at_ms = new.column3, outcome = new.column4, failure_kind = new.column5,
             failure = new.column6, seconds = COALESCE(seconds, (new.column3 - started_at_ms) / 1000.0, 0) FROM (",
        ") AS new
         WHERE new.column1 IS NOT NULL AND attempts.step_id = new.column1 AND attempts.number = new.column2
             AND ended_at_ms IS NULL",
    );
    let changed = rows::execute(db, sql, ended, 6, |row, of| {
        row.push_bind(of.guard.step.0).push_bind(of.guard.attempt.0).push_bind(of.now_ms).push_bind(of.outcome);
        let failure = of.failure.as_ref();
        row.push_bind(failure.map(|failure| failure.0.name())).push_bind(failure.map(|failure| failure.1.as_ref()));
    });
    let changed = changed.await?;
    match ended.first() {
        Some(Ended { guard, .. }) if changed != ended.len() as u64 => {
            Err(StoreError::Guard { step: guard.step, state: guard.state.name(), attempt: guard.attempt })
        }
        _ => Ok(()),
    }
}

/// Name of the worker that an attempt was given to.
pub(super) async fn worker_of(
    db: &mut SqliteConnection,
    step: StepId,
    attempt: AttemptNumber,
) -> Result<Option<String>> {
    let sql = "SELECT workers.name FROM attempts JOIN workers ON workers.id = attempts.worker_id
               WHERE attempts.step_id = ?1 AND attempts.number = ?2";
    Ok(sqlx::query_scalar(sql).bind(step.0).bind(attempt.0).fetch_optional(db).await?)
}

/// Attempts of a step, the first one first.
pub(crate) async fn list(db: &SqlitePool, step: StepId) -> Result<Vec<AttemptRow>> {
    Ok(sqlx::query_as(
        "SELECT attempts.number, workers.name AS worker, attempts.outcome, attempts.assigned_at_ms,
                attempts.started_at_ms, attempts.ended_at_ms, attempts.kind, attempts.code_json
         FROM attempts JOIN workers ON workers.id = attempts.worker_id
         WHERE attempts.step_id = ?1 ORDER BY attempts.number",
    )
    .bind(step.0)
    .fetch_all(db)
    .await?)
}

/// Reads one code version, or a list of them, back.
pub(crate) fn codes<T: serde::de::DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|_| damaged("code of an attempt", json))
}

/// History of a step, oldest line first.
pub(crate) async fn list_history(db: &SqlitePool, step: StepId) -> Result<Vec<HistoryRow>> {
    Ok(sqlx::query_as(
        "SELECT at_ms, attempt, sentence FROM (
             SELECT id, at_ms, attempt, sentence FROM history WHERE step_id = ?1 ORDER BY id DESC LIMIT ?2
         ) ORDER BY id",
    )
    .bind(step.0)
    .bind(MAX_HISTORY)
    .fetch_all(db)
    .await?)
}
