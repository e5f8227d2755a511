//! Table `metrics`: one value a step, name and iteration. A repeated stretch replaces its points.

use experiment_spec::ids::StepId;
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::error::Result;

/// Most points in one answer; a client goes on after the last iteration it got.
const MAX_POINTS: i64 = 100_000;

/// One point.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub(crate) struct MetricRow {
    pub(crate) name: String,
    pub(crate) iteration: i64,
    /// `None`: not a number.
    pub(crate) value: Option<f64>,
}

/// Writes a point in place of an older one of the same iteration.
pub(crate) async fn put(db: &mut SqliteConnection, step: StepId, name: &str, iteration: u64, value: f64) -> Result<()> {
    sqlx::query(
        "INSERT INTO metrics (step_id, name, iteration, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (step_id, name, iteration) DO UPDATE SET value = ?4",
    )
    .bind(step.0)
    .bind(name)
    .bind(iteration.cast_signed())
    .bind(value)
    .execute(db)
    .await?;
    Ok(())
}

/// Removes the points that an attempt going on from `iteration` will make again.
pub(crate) async fn forget_after(db: &mut SqliteConnection, step: StepId, iteration: u64) -> Result<()> {
    sqlx::query("DELETE FROM metrics WHERE step_id = ?1 AND iteration > ?2")
        .bind(step.0)
        .bind(iteration.cast_signed())
        .execute(db)
        .await?;
    Ok(())
}

/// Points of a step after an iteration, by iteration and name; of one quantity when it is named.
pub(crate) async fn list(
    db: &SqlitePool,
    step: StepId,
    name: Option<&str>,
    after_iteration: Option<u64>,
) -> Result<Vec<MetricRow>> {
    Ok(sqlx::query_as(
        "SELECT name, iteration, value FROM metrics
         WHERE step_id = ?1 AND (?2 IS NULL OR name = ?2) AND iteration > ?3
         ORDER BY iteration, name LIMIT ?4",
    )
    .bind(step.0)
    .bind(name)
    .bind(after_iteration.map_or(-1, u64::cast_signed))
    .bind(MAX_POINTS)
    .fetch_all(db)
    .await?)
}
