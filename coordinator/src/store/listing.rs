//! Steps as users see them: lists with filters, and one step.

use experiment_spec::ids::{StepId, SubmissionId};
use sqlx::{FromRow, SqlitePool};

use super::error::Result;

/// Most steps in one list.
pub(crate) const MAX_STEPS: u32 = 10_000;

/// One step with its last attempt.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub(crate) struct StepRow {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) attempt: u32,
    pub(crate) method: String,
    pub(crate) label: String,
    pub(crate) data_set: String,
    pub(crate) seed: i64,
    pub(crate) needs: Option<i64>,
    pub(crate) worker: Option<String>,
    pub(crate) failure_kind: Option<String>,
    pub(crate) failure: Option<String>,
    pub(crate) created_at_ms: i64,
    pub(crate) started_at_ms: Option<i64>,
    pub(crate) ended_at_ms: Option<i64>,
    pub(crate) bi_modal_average: Option<f64>,
    pub(crate) encoder_seed: Option<i64>,
}

/// What a list is narrowed down to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) submission: Option<SubmissionId>,
    pub(crate) method: Option<String>,
    pub(crate) data_set: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) seed: Option<u64>,
    pub(crate) kind: Option<String>,
    pub(crate) limit: u32,
}

/// Columns of [`StepRow`], of the step `s` with the link `l` to a submission.
macro_rules! select_steps {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.kind, s.state, s.attempt, s.method, COALESCE(l.label, '') AS label, s.data_set, s.seed,
                    s.needs, w.name AS worker, s.failure_kind, s.failure, s.created_at_ms, a.started_at_ms,
                    a.ended_at_ms,
                    (SELECT r.bi_modal_average FROM results AS r WHERE r.step_id = s.id) AS bi_modal_average,
                    (SELECT e.seed FROM steps AS e WHERE e.id = s.needs) AS encoder_seed
             FROM steps AS s
             LEFT JOIN attempts AS a ON a.step_id = s.id AND a.number = s.attempt
             LEFT JOIN workers AS w ON w.id = a.worker_id ",
            $rest
        )
    };
}

/// Conditions on a step, and the limit.
macro_rules! narrowed {
    ($rest:literal, $order:literal) => {
        concat!(
            $rest,
            " AND (?2 IS NULL OR s.method = ?2) AND (?3 IS NULL OR s.data_set = ?3) AND (?4 IS NULL OR s.state = ?4)
              AND (?5 IS NULL OR s.seed = ?5) AND (?6 IS NULL OR s.kind = ?6) ORDER BY ",
            $order,
            " LIMIT ?7"
        )
    };
}

/// Steps of a submission, in the order of its plan.
const OF_SUBMISSION: &str = concat!(
    select_steps!("JOIN submission_steps AS l ON l.step_id = s.id "),
    narrowed!("WHERE l.submission_id = ?1", "l.position")
);
/// Steps of all submissions, the newest first, with the label of the latest submission that has them.
const OF_ALL: &str = concat!(
    select_steps!(
        "LEFT JOIN submission_steps AS l ON l.step_id = s.id
             AND l.submission_id = (SELECT MAX(submission_id) FROM submission_steps WHERE step_id = s.id) "
    ),
    narrowed!("WHERE ?1 IS NULL", "s.id DESC")
);
const ONE: &str = select_steps!(
    "LEFT JOIN submission_steps AS l ON l.step_id = s.id
         AND l.submission_id = (SELECT MAX(submission_id) FROM submission_steps WHERE step_id = s.id)
     WHERE s.id = ?1"
);

/// Steps that pass the filter.
pub(crate) async fn list(db: &SqlitePool, filter: &Filter) -> Result<Vec<StepRow>> {
    Ok(sqlx::query_as(if filter.submission.is_some() { OF_SUBMISSION } else { OF_ALL })
        .bind(filter.submission.map(|id| id.0))
        .bind(&filter.method)
        .bind(&filter.data_set)
        .bind(&filter.state)
        .bind(filter.seed.map(u64::cast_signed))
        .bind(&filter.kind)
        .bind(filter.limit)
        .fetch_all(db)
        .await?)
}

/// One step.
pub(crate) async fn one(db: &SqlitePool, id: StepId) -> Result<Option<StepRow>> {
    Ok(sqlx::query_as(ONE).bind(id.0).fetch_optional(db).await?)
}

/// Specification and fingerprint of a step.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct SpecRow {
    pub(crate) spec_json: String,
    pub(crate) fingerprint: String,
}

/// Specification and fingerprint of a step that exists.
pub(crate) async fn spec(db: &SqlitePool, id: StepId) -> Result<SpecRow> {
    Ok(sqlx::query_as("SELECT spec_json, fingerprint FROM steps WHERE id = ?1").bind(id.0).fetch_one(db).await?)
}

/// Name of the state of a step.
pub(crate) async fn state(db: &SqlitePool, id: StepId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT state FROM steps WHERE id = ?1").bind(id.0).fetch_optional(db).await?)
}

/// Submissions that a step belongs to.
pub(crate) async fn submissions(db: &SqlitePool, id: StepId) -> Result<Vec<i64>> {
    Ok(sqlx::query_scalar(
        "SELECT DISTINCT submission_id FROM submission_steps WHERE step_id = ?1 ORDER BY submission_id",
    )
    .bind(id.0)
    .fetch_all(db)
    .await?)
}
