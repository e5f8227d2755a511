//! Table `checkpoints`: where the next attempt of a step may go on from. Who changes a row is told which contents nothing
//! names any more.

use std::collections::HashMap;

use experiment_spec::ids::{AttemptNumber, ContentHash, StepId};
use sqlx::{FromRow, SqliteConnection};

use super::{
    error::{Result, damaged},
    rows,
};

/// State of an attempt that the coordinator has the content of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) hash: ContentHash,
    pub(crate) bytes: u64,
    pub(crate) iteration: u64,
    /// Kind of what led to it: an attempt of another kind begins again.
    pub(crate) kind: String,
}

/// The same, and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) attempt: AttemptNumber,
    /// Name of the worker.
    pub(crate) worker: String,
}

/// A checkpoint on its way into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Saved<'a> {
    pub(super) step: StepId,
    pub(super) attempt: AttemptNumber,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) now_ms: i64,
}

#[derive(FromRow)]
struct CheckpointRow {
    step_id: i64,
    attempt: u32,
    iteration: i64,
    kind: String,
    hash: String,
    bytes: i64,
    worker: String,
}

/// Writes the last checkpoints of steps, one a step; returns the contents of those before.
pub(super) async fn put_all(db: &mut SqliteConnection, saved: &[Saved<'_>]) -> Result<Vec<ContentHash>> {
    let before = forget(db, &saved.iter().map(|of| of.step).collect::<Vec<_>>()).await?;
    let sql = (
        "INSERT INTO checkpoints (step_id, attempt, iteration, kind, hash, bytes, saved_at_ms) SELECT * FROM (",
        ") WHERE column1 IS NOT NULL",
    );
    rows::execute(db, sql, saved, 7, |row, of| {
        let Checkpoint { hash, bytes, iteration, kind } = of.checkpoint;
        row.push_bind(of.step.0).push_bind(of.attempt.0).push_bind(iteration.cast_signed()).push_bind(kind.as_str());
        row.push_bind(hash.to_string()).push_bind(bytes.cast_signed()).push_bind(of.now_ms);
    })
    .await?;
    Ok(before)
}

/// Forgets the checkpoints of steps; returns their contents.
pub(super) async fn forget(db: &mut SqliteConnection, steps: &[StepId]) -> Result<Vec<ContentHash>> {
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "DELETE FROM checkpoints WHERE step_id IN (SELECT value FROM json_each(?1)) RETURNING hash";
    let hashes: Vec<String> = sqlx::query_scalar(sql).bind(rows::json_list(steps)).fetch_all(db).await?;
    hashes.iter().map(|hash| read(hash)).collect()
}

/// Those of these contents that no row names.
pub(super) async fn unnamed(db: &mut SqliteConnection, mut hashes: Vec<ContentHash>) -> Result<Vec<ContentHash>> {
    hashes.sort_unstable();
    hashes.dedup();
    let mut unnamed = Vec::new();
    for hash in hashes {
        let named: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM checkpoints WHERE hash = ?1)")
            .bind(hash.to_string())
            .fetch_one(&mut *db)
            .await?;
        if !named {
            unnamed.push(hash);
        }
    }
    Ok(unnamed)
}

/// The checkpoints that there are of these steps.
pub(super) async fn of_steps(db: &mut SqliteConnection, steps: &[StepId]) -> Result<HashMap<StepId, Made>> {
    let found: Vec<CheckpointRow> = sqlx::query_as(
        "SELECT checkpoints.step_id, checkpoints.attempt, checkpoints.iteration, checkpoints.kind, checkpoints.hash, checkpoints.bytes,
                workers.name AS worker
         FROM checkpoints
         JOIN attempts ON attempts.step_id = checkpoints.step_id AND attempts.number = checkpoints.attempt
         JOIN workers ON workers.id = attempts.worker_id
         WHERE checkpoints.step_id IN (SELECT value FROM json_each(?1))",
    )
    .bind(rows::json_list(steps))
    .fetch_all(db)
    .await?;
    let checkpoint = |row: CheckpointRow| {
        let (hash, bytes, iteration) = (read(&row.hash)?, row.bytes.cast_unsigned(), row.iteration.cast_unsigned());
        let checkpoint = Checkpoint { hash, bytes, iteration, kind: row.kind };
        Ok((StepId(row.step_id), Made { checkpoint, attempt: AttemptNumber(row.attempt), worker: row.worker }))
    };
    found.into_iter().map(checkpoint).collect()
}

fn read(hash: &str) -> Result<ContentHash> {
    hash.parse().map_err(|_| damaged("hash of a checkpoint", hash))
}
