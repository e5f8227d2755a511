//! Table `attempts` beside the transitions: what attempts say of themselves, and reading them.

use experiment_spec::ids::{AttemptNumber, StepId};
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::error::Result;

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

/// Writes where an attempt goes on from and on what kind of device.
pub(crate) async fn set_started(
    db: &mut SqliteConnection,
    step: StepId,
    attempt: AttemptNumber,
    from_iteration: u64,
    kind: &str,
) -> Result<()> {
    sqlx::query("UPDATE attempts SET from_iteration = ?1, kind = ?2 WHERE step_id = ?3 AND number = ?4")
        .bind(from_iteration.cast_signed())
        .bind(kind)
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
                attempts.started_at_ms, attempts.ended_at_ms, attempts.kind
         FROM attempts JOIN workers ON workers.id = attempts.worker_id
         WHERE attempts.step_id = ?1 ORDER BY attempts.number",
    )
    .bind(step.0)
    .fetch_all(db)
    .await?)
}

/// History of a step, oldest line first.
pub(crate) async fn history(db: &SqlitePool, step: StepId) -> Result<Vec<HistoryRow>> {
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
