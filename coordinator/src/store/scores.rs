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

/// Writes the outcomes of steps that succeed in the same transaction.
pub(super) async fn put_all(db: &mut SqliteConnection, outcomes: &[(StepId, AttemptNumber, &Outcome)]) -> Result<()> {
    let sql = (
        "INSERT INTO results (step_id, attempt, scores_json, seconds, bi_modal_average) SELECT * FROM (",
        ") WHERE column1 IS NOT NULL",
    );
    rows::execute(db, sql, outcomes, 5, |row, (step, attempt, of)| {
        row.push_bind(step.0).push_bind(attempt.0).push_bind(of.scores_json.as_str()).push_bind(of.seconds);
        let scores = of.scores.as_ref().ok();
        row.push_bind(scores.and_then(|scores| scores.average(Average::BiModal, Normalisation::None)));
    })
    .await?;
    let sql = (
        "UPDATE attempts SET seconds = new.column3 FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND attempts.step_id = new.column1 AND attempts.number = new.column2",
    );
    rows::execute(db, sql, outcomes, 3, |row, (step, attempt, of)| {
        row.push_bind(step.0).push_bind(attempt.0).push_bind(of.seconds);
    })
    .await?;
    let artifacts = outcomes.iter().flat_map(|(step, _, of)| of.artifacts.iter().map(move |artifact| (step, artifact)));
    let sql = ("INSERT INTO artifacts (step_id, name, hash, bytes) SELECT * FROM (", ") WHERE column1 IS NOT NULL");
    rows::execute(db, sql, &artifacts.collect::<Vec<_>>(), 4, |row, (step, artifact)| {
        row.push_bind(step.0).push_bind(artifact.name.as_str()).push_bind(artifact.hash.to_string());
        row.push_bind(artifact.bytes.cast_signed());
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
        "SELECT step_id, name, hash, bytes FROM artifacts
         WHERE step_id IN (SELECT value FROM json_each(?1)) ORDER BY step_id, name",
    )
    .bind(rows::json_list(steps))
    .fetch_all(db)
    .await?;
    let mut found: HashMap<StepId, Vec<Artifact>> = HashMap::new();
    for row in rows {
        let hash = row.hash.parse().map_err(|_| damaged("hash of an artifact", &row.hash))?;
        let artifact = Artifact { name: row.name, hash, bytes: row.bytes.cast_unsigned() };
        found.entry(StepId(row.step_id)).or_default().push(artifact);
    }
    Ok(found)
}
