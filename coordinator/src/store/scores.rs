//! Tables `results` and `artifacts`: what succeeded steps left.

use std::collections::HashMap;

use experiment_spec::{
    ids::{AttemptNumber, ContentHash, StepId},
    scores::{Average, Normalisation, Scores},
};
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{
    error::{Result, damaged},
    rows,
};

/// One artifact of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Artifact {
    pub(crate) name: String,
    pub(crate) hash: ContentHash,
    pub(crate) bytes: u64,
    /// Since when its content is not kept; `None`: it is here.
    pub(crate) removed_at_ms: Option<i64>,
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

/// What an attempt left, on its way into the tables.
pub(super) type NewOutcome<'a> = (StepId, AttemptNumber, &'a Outcome, i64);

/// Writes the outcomes of steps that succeed in the same transaction, at that time.
pub(super) async fn put_all(db: &mut SqliteConnection, outcomes: &[NewOutcome<'_>]) -> Result<()> {
    let sql = (
        "INSERT INTO results (step_id, attempt, scores_json, seconds, bi_modal_average) SELECT * FROM (",
        ") WHERE column1 IS NOT NULL",
    );
    rows::execute(db, sql, outcomes, 5, |row, (step, attempt, of, _)| {
        row.push_bind(step.0).push_bind(attempt.0).push_bind(of.scores_json.as_str()).push_bind(of.seconds);
        let scores = of.scores.as_ref().ok();
        row.push_bind(scores.and_then(|scores| scores.average(Average::BiModal, Normalisation::None)));
    })
    .await?;
    let sql = (
        "UPDATE attempts SET seconds = new.column3 FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND attempts.step_id = new.column1 AND attempts.number = new.column2",
    );
    rows::execute(db, sql, outcomes, 3, |row, (step, attempt, of, _)| {
        row.push_bind(step.0).push_bind(attempt.0).push_bind(of.seconds);
    })
    .await?;
    let mut artifacts: Vec<(StepId, &Artifact, i64)> = Vec::new();
    for (step, _, of, now_ms) in outcomes {
        artifacts.extend(of.artifacts.iter().map(|artifact| (*step, artifact, *now_ms)));
    }
    let sql = (
        "INSERT INTO artifacts (step_id, name, hash, bytes, accepted_at_ms, removed_at_ms) SELECT * FROM (",
        ") WHERE column1 IS NOT NULL",
    );
    rows::execute(db, sql, &artifacts, 6, |row, (step, artifact, now_ms)| {
        row.push_bind(step.0).push_bind(artifact.name.as_str()).push_bind(artifact.hash.to_string());
        row.push_bind(artifact.bytes.cast_signed()).push_bind(*now_ms).push_bind(artifact.removed_at_ms);
    })
    .await?;
    Ok(())
}

/// The exact text of a step's scores.
pub(crate) async fn scores_json(db: &SqlitePool, step: StepId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT scores_json FROM results WHERE step_id = ?1").bind(step.0).fetch_optional(db).await?)
}

#[derive(FromRow)]
struct ArtifactRow {
    step_id: i64,
    name: String,
    hash: String,
    bytes: i64,
    removed_at_ms: Option<i64>,
}

/// Artifacts of a step by name.
pub(crate) async fn artifacts(db: impl sqlx::SqliteExecutor<'_>, step: StepId) -> Result<Vec<Artifact>> {
    Ok(artifacts_of(db, &[step]).await?.remove(&step).unwrap_or_default())
}

/// Artifacts of several steps, each by name.
pub(crate) async fn artifacts_of(
    db: impl sqlx::SqliteExecutor<'_>,
    steps: &[StepId],
) -> Result<HashMap<StepId, Vec<Artifact>>> {
    let rows: Vec<ArtifactRow> = sqlx::query_as(
        "SELECT step_id, name, hash, bytes, removed_at_ms FROM artifacts
         WHERE step_id IN (SELECT value FROM json_each(?1)) ORDER BY step_id, name",
    )
    .bind(rows::json_list(steps))
    .fetch_all(db)
    .await?;
    let mut found: HashMap<StepId, Vec<Artifact>> = HashMap::new();
    for row in rows {
        let hash = row.hash.parse().map_err(|_| damaged("hash of an artifact", &row.hash))?;
        let ArtifactRow { name, removed_at_ms, .. } = row;
        let artifact = Artifact { name, hash, bytes: row.bytes.cast_unsigned(), removed_at_ms };
        found.entry(StepId(row.step_id)).or_default().push(artifact);
    }
    Ok(found)
}
