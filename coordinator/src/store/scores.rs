//! Tables `results`, `scores`, `artifacts`: what succeeded steps left.

use experiment_spec::{
    ids::{AttemptNumber, ContentHash, StepId},
    scores::Scores,
};
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::error::{Result, damaged};

/// One artifact of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Artifact {
    pub(crate) name: String,
    pub(crate) hash: ContentHash,
    pub(crate) bytes: u64,
}

/// What an attempt left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The text as it was sent.
    pub(crate) scores_json: String,
    /// The same, read; what an extraction says need not be scores.
    pub(crate) scores: std::result::Result<Scores, String>,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) seconds: f64,
}

/// Writes the outcome of a step that succeeds in the same transaction.
pub(crate) async fn put(
    db: &mut SqliteConnection,
    step: StepId,
    attempt: AttemptNumber,
    outcome: &Outcome,
) -> Result<()> {
    sqlx::query("INSERT INTO results (step_id, attempt, scores_json, seconds) VALUES (?1, ?2, ?3, ?4)")
        .bind(step.0)
        .bind(attempt.0)
        .bind(&outcome.scores_json)
        .bind(outcome.seconds)
        .execute(&mut *db)
        .await?;
    sqlx::query("UPDATE attempts SET seconds = ?1 WHERE step_id = ?2 AND number = ?3")
        .bind(outcome.seconds)
        .bind(step.0)
        .bind(attempt.0)
        .execute(&mut *db)
        .await?;
    for score in outcome.scores.iter().flat_map(|scores| &scores.scores) {
        sqlx::query("INSERT INTO scores (step_id, task, normalisation, map, tied_share) VALUES (?1, ?2, ?3, ?4, ?5)")
            .bind(step.0)
            .bind(score.task.name())
            .bind(score.normalisation.name())
            .bind(score.map)
            .bind(score.tied_share)
            .execute(&mut *db)
            .await?;
    }
    for artifact in &outcome.artifacts {
        sqlx::query("INSERT INTO artifacts (step_id, name, hash, bytes) VALUES (?1, ?2, ?3, ?4)")
            .bind(step.0)
            .bind(&artifact.name)
            .bind(artifact.hash.to_string())
            .bind(artifact.bytes.cast_signed())
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// The exact text of a step's scores.
pub(crate) async fn scores_json(db: &SqlitePool, step: StepId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT scores_json FROM results WHERE step_id = ?1").bind(step.0).fetch_optional(db).await?)
}

#[derive(FromRow)]
struct ArtifactRow {
    name: String,
    hash: String,
    bytes: i64,
}

/// Artifacts of a step by name.
pub(crate) async fn artifacts(db: impl sqlx::SqliteExecutor<'_>, step: StepId) -> Result<Vec<Artifact>> {
    let rows: Vec<ArtifactRow> =
        sqlx::query_as("SELECT name, hash, bytes FROM artifacts WHERE step_id = ?1 ORDER BY name")
            .bind(step.0)
            .fetch_all(db)
            .await?;
    rows.into_iter()
        .map(|row| {
            let hash = row.hash.parse().map_err(|_| damaged("hash of an artifact", &row.hash))?;
            Ok(Artifact { name: row.name, hash, bytes: row.bytes.cast_unsigned() })
        })
        .collect()
}
