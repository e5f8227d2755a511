//! Table `steps`: a step as it is planned, and which ones there are.

use experiment_spec::{
    ids::{ContentHash, StepId, SubmissionId},
    run::{Resources, State, StepSpec},
};
use sqlx::SqliteConnection;

use super::{
    error::{Result, damaged},
    rows,
};

/// A step as the plan wants it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewStep {
    pub(crate) spec: StepSpec,
    pub(crate) fingerprint: ContentHash,
    pub(crate) label: String,
    /// Pass over the seeds, from 0.
    pub(crate) round: u32,
    /// How long it takes, by like steps.
    pub(crate) expected_ms: Option<u64>,
    /// Index of the extraction it reads, among the steps of its submission and before it.
    pub(crate) needs: Option<usize>,
    pub(crate) resources: Resources,
    pub(crate) retries: u32,
}

impl NewStep {
    /// Method (or encoder), data set and seed that it is listed under.
    pub(crate) fn listed_under(&self) -> (String, String, u64) {
        match &self.spec {
            StepSpec::Extraction(spec) => (spec.shown_encoder(), spec.shown_data_set(), spec.seed),
            StepSpec::Run(spec) => (spec.method.clone(), spec.features.shown_data_set(), spec.seed),
        }
    }

    /// `run` or `extraction`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.spec {
            StepSpec::Extraction(_) => "extraction",
            StepSpec::Run(_) => "run",
        }
    }
}

/// The state of that name.
pub(crate) fn state(name: &str) -> Result<State> {
    State::from_name(name).ok_or_else(|| damaged("state", name))
}

/// Resources as they are stored.
pub(crate) fn resources(json: &str) -> Result<Resources> {
    serde_json::from_str(json).map_err(|_| damaged("resources", json))
}

/// Steps of a submission, in the order of its plan.
pub(crate) async fn of_submission(db: &mut SqliteConnection, id: SubmissionId) -> Result<Vec<StepId>> {
    let ids: Vec<i64> =
        sqlx::query_scalar("SELECT step_id FROM submission_steps WHERE submission_id = ?1 ORDER BY position")
            .bind(id.0)
            .fetch_all(db)
            .await?;
    Ok(ids.into_iter().map(StepId).collect())
}

/// Steps of a submission that no other live submission asks for.
pub(crate) async fn only_of(db: &mut SqliteConnection, id: SubmissionId) -> Result<Vec<StepId>> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT step_id FROM submission_steps AS mine WHERE submission_id = ?1 AND NOT EXISTS (
             SELECT 1 FROM submission_steps AS other JOIN submissions ON submissions.id = other.submission_id
             WHERE other.step_id = mine.step_id AND other.submission_id <> ?1 AND submissions.cancelled_at_ms IS NULL
         ) ORDER BY position",
    )
    .bind(id.0)
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(StepId).collect())
}

/// The first of these that there is no step of.
pub(crate) async fn missing(db: impl sqlx::SqliteExecutor<'_>, ids: &[StepId]) -> Result<Option<StepId>> {
    let missing: Option<i64> = sqlx::query_scalar(
        "SELECT value FROM json_each(?1) WHERE value NOT IN (SELECT id FROM steps) ORDER BY key LIMIT 1",
    )
    .bind(rows::json_list(ids))
    .fetch_optional(db)
    .await?;
    Ok(missing.map(StepId))
}

/// Pauses steps of the queue by themselves, or lets them go on.
pub(crate) async fn set_paused(db: &mut SqliteConnection, ids: &[StepId], at_ms: Option<i64>) -> Result<()> {
    sqlx::query("UPDATE steps SET paused_at_ms = ?1 WHERE id IN (SELECT value FROM json_each(?2))")
        .bind(at_ms)
        .bind(rows::json_list(ids))
        .execute(db)
        .await?;
    Ok(())
}

/// Gives steps a priority of their own.
pub(crate) async fn set_priority(db: &mut SqliteConnection, ids: &[StepId], priority: i32) -> Result<()> {
    sqlx::query("UPDATE steps SET priority = ?1 WHERE id IN (SELECT value FROM json_each(?2))")
        .bind(priority)
        .bind(rows::json_list(ids))
        .execute(db)
        .await?;
    Ok(())
}

/// Fingerprints of the steps of a submission, in the order of its plan.
pub(crate) async fn fingerprints(db: &mut SqliteConnection, id: SubmissionId) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT steps.fingerprint FROM submission_steps JOIN steps ON steps.id = submission_steps.step_id
         WHERE submission_steps.submission_id = ?1 ORDER BY submission_steps.position",
    )
    .bind(id.0)
    .fetch_all(db)
    .await?)
}
