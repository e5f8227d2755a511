//! Table `attempts` beside the transitions: what attempts say of themselves, and reading them.

use experiment_spec::{
    code::CodeVersion,
    ids::{AttemptNumber, StepId},
};
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{
    error::{Result, damaged},
    transitions::history,
};

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

/// Writes where an attempt goes on from, on what kind of device, and by which program.
pub(crate) async fn set_started(
    db: &mut SqliteConnection,
    step: StepId,
    attempt: AttemptNumber,
    start: &Start,
    now_ms: i64,
) -> Result<()> {
    let Start { from_iteration, kind, code } = start;
    let sentence = match from_iteration {
        0 => format!("started on {kind}"),
        iteration => format!("started on {kind}, going on from iteration {iteration}"),
    };
    history(db, step, attempt, &sentence, now_ms).await?;
    let code = code.as_ref().map(|code| serde_json::to_string(code).expect("a code version is names and one flag"));
    sqlx::query(
        "UPDATE attempts SET from_iteration = ?1, kind = ?2, code_json = ?3 WHERE step_id = ?4 AND number = ?5",
    )
    .bind(from_iteration.cast_signed())
    .bind(kind)
    .bind(code)
    .bind(step.0)
    .bind(attempt.0)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes the iteration of its last checkpoint.
pub(crate) async fn set_checkpoint(
    db: &mut SqliteConnection,
    step: StepId,
    attempt: AttemptNumber,
    iteration: u64,
) -> Result<()> {
    sqlx::query("UPDATE attempts SET checkpoint_iteration = ?1 WHERE step_id = ?2 AND number = ?3")
        .bind(iteration.cast_signed())
        .bind(step.0)
        .bind(attempt.0)
        .execute(db)
        .await?;
    Ok(())
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
