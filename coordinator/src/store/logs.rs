//! Table `logs`: the last lines of each step, numbered from 1 without gaps while they are kept.

use experiment_spec::ids::StepId;
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::error::Result;

/// Lines kept of one step; older ones go.
pub(crate) const MAX_LINES: i64 = 10_000;
/// Most lines read at once.
const PAGE_LINES: i64 = 1_000;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct LogRow {
    pub(crate) position: i64,
    pub(crate) at_ms: i64,
    pub(crate) attempt: u32,
    pub(crate) stream: String,
    pub(crate) text: String,
}

/// Appends a line; its position is given by the store.
pub(crate) async fn append(db: &mut SqliteConnection, step: StepId, line: &LogRow) -> Result<()> {
    let position: i64 = sqlx::query_scalar(
        "INSERT INTO logs (step_id, position, at_ms, attempt, stream, text)
         VALUES (?1, (SELECT COALESCE(MAX(position), 0) + 1 FROM logs WHERE step_id = ?1), ?2, ?3, ?4, ?5)
         RETURNING position",
    )
    .bind(step.0)
    .bind(line.at_ms)
    .bind(line.attempt)
    .bind(&line.stream)
    .bind(&line.text)
    .fetch_one(&mut *db)
    .await?;
    if position > MAX_LINES {
        sqlx::query("DELETE FROM logs WHERE step_id = ?1 AND position <= ?2")
            .bind(step.0)
            .bind(position - MAX_LINES)
            .execute(db)
            .await?;
    }
    Ok(())
}

/// The next lines after a position; empty when there are none yet.
pub(crate) async fn page(db: &SqlitePool, step: StepId, after: u64) -> Result<Vec<LogRow>> {
    Ok(sqlx::query_as(
        "SELECT position, at_ms, attempt, stream, text FROM logs
         WHERE step_id = ?1 AND position > ?2 ORDER BY position LIMIT ?3",
    )
    .bind(step.0)
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(PAGE_LINES)
    .fetch_all(db)
    .await?)
}
