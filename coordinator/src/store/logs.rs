//! Table `logs`: the last lines of each step, numbered from 1 without gaps while they are kept.

use std::collections::BTreeMap;

use experiment_spec::ids::{AttemptNumber, StepId};
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{error::Result, rows};

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

/// A line to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewLine<'a> {
    pub(super) step: StepId,
    pub(super) attempt: AttemptNumber,
    pub(super) at_ms: i64,
    pub(super) stream: &'a str,
    pub(super) text: &'a str,
}

/// Appends lines; their positions are given by the store.
pub(super) async fn append_all(db: &mut SqliteConnection, lines: &[NewLine<'_>]) -> Result<()> {
    let mut last: BTreeMap<StepId, i64> = BTreeMap::new();
    for NewLine { step, .. } in lines {
        if !last.contains_key(step) {
            let position = sqlx::query_scalar("SELECT COALESCE(MAX(position), 0) FROM logs WHERE step_id = ?1");
            last.insert(*step, position.bind(step.0).fetch_one(&mut *db).await?);
        }
    }
    let numbered = lines.iter().map(|line| {
        let position = last.get_mut(&line.step).expect("every step of a line was looked up above");
        *position += 1;
        (*position, line)
    });
    let numbered: Vec<_> = numbered.collect();
    let sql = (
        "INSERT INTO logs (step_id, position, at_ms, attempt, stream, text) SELECT * FROM (",
        ") WHERE column1 IS NOT NULL",
    );
    rows::execute(db, sql, &numbered, 6, |row, (position, of)| {
        row.push_bind(of.step.0).push_bind(*position).push_bind(of.at_ms).push_bind(of.attempt.0);
        row.push_bind(of.stream).push_bind(of.text);
    })
    .await?;
    for (step, position) in last {
        if position > MAX_LINES {
            sqlx::query("DELETE FROM logs WHERE step_id = ?1 AND position <= ?2")
                .bind(step.0)
                .bind(position - MAX_LINES)
                .execute(&mut *db)
                .await?;
        }
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
