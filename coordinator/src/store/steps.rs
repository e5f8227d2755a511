//! Table `steps`: finding the step that answers a planned one, or making it; queueing steps again.

use experiment_spec::{
    ids::{AttemptNumber, ContentHash, LeaseToken, StepId, SubmissionId},
    run::{Resources, State, StepSpec},
};
use sqlx::{FromRow, SqliteConnection};

use super::{
    error::{Result, damaged},
    transitions::{history, transition},
};
use crate::scheduler::{
    effects::Guard,
    state::{Order, Phase, Step},
};

/// A step as the plan wants it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewStep {
    pub(crate) spec: StepSpec,
    pub(crate) fingerprint: ContentHash,
    pub(crate) label: String,
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

/// A stored step as far as linking and queueing look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: StepId,
    pub(crate) state: State,
    pub(crate) attempt: AttemptNumber,
}

#[derive(FromRow)]
struct FoundRow {
    id: i64,
    state: String,
    attempt: u32,
}

/// The state of that name.
pub(crate) fn state(name: &str) -> Result<State> {
    State::from_name(name).ok_or_else(|| damaged("state", name))
}

/// The step of that fingerprint to link to: one that is scored rather than the latest.
pub(crate) async fn find(db: impl sqlx::SqliteExecutor<'_>, fingerprint: &ContentHash) -> Result<Option<Found>> {
    let row: Option<FoundRow> = sqlx::query_as(
        "SELECT id, state, attempt FROM steps WHERE fingerprint = ?1
         ORDER BY (state = 'succeeded') DESC, nonce DESC LIMIT 1",
    )
    .bind(fingerprint.to_string())
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok(Found { id: StepId(row.id), state: state(&row.state)?, attempt: AttemptNumber(row.attempt) }))
        .transpose()
}

/// Writes a new step of the queue.
pub(crate) async fn insert(
    db: &mut SqliteConnection,
    new: &NewStep,
    needs: Option<StepId>,
    order: Order,
    now_ms: i64,
) -> Result<Step> {
    let (method, data_set, seed) = new.listed_under();
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO steps (kind, fingerprint, nonce, needs, method, data_set, seed, spec_json, resources_json, state,
                            attempt, retries, retries_left, not_before_ms, order_submission, order_position,
                            created_at_ms, changed_at_ms)
         VALUES (?1, ?2, (SELECT COALESCE(MAX(nonce) + 1, 0) FROM steps WHERE fingerprint = ?2), ?3, ?4, ?5, ?6, ?7,
                 ?8, 'queued', 0, ?9, ?9, 0, ?10, ?11, ?12, ?12)
         RETURNING id",
    )
    .bind(new.kind())
    .bind(new.fingerprint.to_string())
    .bind(needs.map(|id| id.0))
    .bind(method)
    .bind(data_set)
    .bind(seed.cast_signed())
    .bind(new.spec.canonical_json())
    .bind(serde_json::to_string(&new.resources).expect("resources are plain data that JSON can say"))
    .bind(new.retries)
    .bind(order.submission.0)
    .bind(order.position)
    .bind(now_ms)
    .fetch_one(&mut *db)
    .await?;
    let step = Step {
        id: StepId(id),
        order,
        needs,
        resources: new.resources.clone(),
        attempt: AttemptNumber(0),
        lease: LeaseToken::default(),
        retries_left: new.retries,
        shuns: None,
        since_ms: now_ms,
        phase: Phase::Waiting,
    };
    history(db, step.id, step.attempt, &format!("queued by submission {}", order.submission), now_ms).await?;
    Ok(step)
}

/// Queues a failed or cancelled step again, at this place of the queue and with so many retries.
pub(crate) async fn queue_again(
    db: &mut SqliteConnection,
    found: &Found,
    order: Order,
    (resources, retries): (&Resources, u32),
    why: &str,
    now_ms: i64,
) -> Result<Step> {
    let guard = Guard { step: found.id, state: found.state, attempt: found.attempt, worker: None, since_ms: now_ms };
    transition(db, &guard, State::Queued, now_ms).await?;
    let needs: Option<i64> = sqlx::query_scalar(
        "UPDATE steps SET failure_kind = NULL, failure = NULL, not_before_ms = 0, shuns = NULL, retries = ?1, retries_left = ?1,
             order_submission = ?2, order_position = ?3, resources_json = ?4
         WHERE id = ?5 RETURNING needs",
    )
    .bind(retries)
    .bind(order.submission.0)
    .bind(order.position)
    .bind(serde_json::to_string(resources).expect("resources are plain data that JSON can say"))
    .bind(found.id.0)
    .fetch_one(&mut *db)
    .await?;
    history(db, found.id, found.attempt, why, now_ms).await?;
    Ok(Step {
        id: found.id,
        order,
        needs: needs.map(StepId),
        resources: resources.clone(),
        attempt: found.attempt,
        lease: LeaseToken::default(),
        retries_left: retries,
        shuns: None,
        since_ms: now_ms,
        phase: Phase::Waiting,
    })
}

/// A step that may be tried again, with what queueing it needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retryable {
    pub(crate) found: Found,
    pub(crate) order: Order,
    pub(crate) resources: Resources,
    pub(crate) retries: u32,
    pub(crate) failure_kind: Option<String>,
}

#[derive(FromRow)]
struct RetryRow {
    state: String,
    attempt: u32,
    order_submission: i64,
    order_position: u32,
    resources_json: String,
    retries: u32,
    failure_kind: Option<String>,
}

/// A step in a final state other than success.
pub(crate) async fn retryable(db: &mut SqliteConnection, id: StepId) -> Result<Option<Retryable>> {
    let row: Option<RetryRow> = sqlx::query_as(
        "SELECT state, attempt, order_submission, order_position, resources_json, retries, failure_kind
         FROM steps
         WHERE id = ?1 AND state IN ('failed', 'cancelled')",
    )
    .bind(id.0)
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        Ok(Retryable {
            found: Found { id, state: state(&row.state)?, attempt: AttemptNumber(row.attempt) },
            order: Order { submission: SubmissionId(row.order_submission), position: row.order_position },
            resources: resources(&row.resources_json)?,
            retries: row.retries,
            failure_kind: row.failure_kind,
        })
    })
    .transpose()
}

/// Resources as they are stored.
pub(crate) fn resources(json: &str) -> Result<Resources> {
    serde_json::from_str(json).map_err(|_| damaged("resources", json))
}

/// The extraction that a step needs.
pub(crate) async fn needs(db: &mut SqliteConnection, id: StepId) -> Result<Option<StepId>> {
    let needs: Option<Option<i64>> =
        sqlx::query_scalar("SELECT needs FROM steps WHERE id = ?1").bind(id.0).fetch_optional(db).await?;
    Ok(needs.flatten().map(StepId))
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

/// Whether there is such a step.
pub(crate) async fn exists(db: &mut SqliteConnection, id: StepId) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM steps WHERE id = ?1)").bind(id.0).fetch_one(db).await?)
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
