//! Table `metrics`: one value a step, name and iteration. A repeated stretch replaces its points.

use experiment_spec::ids::StepId;
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{error::Result, rows};

/// Most points in one answer; a client goes on after the last iteration it got.
pub(crate) const MAX_POINTS: i64 = 100_000;

/// One point.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub(crate) struct MetricRow {
    pub(crate) name: String,
    pub(crate) iteration: i64,
    /// `None`: not a number.
    pub(crate) value: Option<f64>,
}

/// A point to be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct NewPoint<'a> {
    pub(super) step: StepId,
    pub(super) name: &'a str,
    pub(super) iteration: u64,
    pub(super) value: f64,
}

/// Writes points in place of older ones of the same iteration; of two in the same list the latter stays.
pub(super) async fn put_all(db: &mut SqliteConnection, points: &[NewPoint<'_>]) -> Result<()> {
    let sql = (
        "INSERT INTO metrics (step_id, name, iteration, value) SELECT * FROM (",
        ") WHERE column1 IS NOT NULL ON CONFLICT (step_id, name, iteration) DO UPDATE SET value = excluded.value",
    );
    rows::execute(db, sql, points, 4, |row, of| {
        row.push_bind(of.step.0).push_bind(of.name).push_bind(of.iteration.cast_signed()).push_bind(of.value);
    })
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
    most: i64,
) -> Result<Vec<MetricRow>> {
    let mut points: Vec<MetricRow> = sqlx::query_as(
        "SELECT name, iteration, value FROM metrics
         WHERE step_id = ?1 AND (?2 IS NULL OR name = ?2) AND iteration > ?3
         ORDER BY iteration, name LIMIT ?4",
    )
    .bind(step.0)
    .bind(name)
    .bind(after_iteration.map_or(-1, u64::cast_signed))
    .bind(most)
    .fetch_all(db)
    .await?;
    // A full page ends between two iterations: whoever goes on after its last one misses nothing.
    if i64::try_from(points.len()) == Ok(most)
        && let Some(last) = points.last().map(|point| point.iteration)
        && points[0].iteration < last
    {
        points.retain(|point| point.iteration < last);
    }
    Ok(points)
}
