//! How long steps took that are like others: same kind, method (or encoder) and data set.

use std::collections::{HashMap, HashSet};

use experiment_spec::ids::SubmissionId;
use sqlx::{FromRow, SqlitePool};

use super::error::Result;

/// Kind, method and data set.
pub(crate) type Likeness = (String, String, String);

/// Steps whose mean is taken: the latest ones, since the code gets faster.
const RECENT_STEPS: u32 = 100;

/// Mean seconds of the latest succeeded steps of each likeness asked for; those without any are absent.
pub(crate) async fn mean_seconds(db: &SqlitePool, likenesses: HashSet<Likeness>) -> Result<HashMap<Likeness, f64>> {
    let mut means = HashMap::new();
    for likeness in likenesses {
        let mean: Option<f64> = sqlx::query_scalar(
            "SELECT AVG(total) FROM (
                 SELECT (SELECT SUM(seconds) FROM attempts WHERE attempts.step_id = steps.id) AS total
                 FROM steps WHERE kind = ?1 AND method = ?2 AND data_set = ?3 AND state = 'succeeded'
                 ORDER BY id DESC LIMIT ?4)",
        )
        .bind(&likeness.0)
        .bind(&likeness.1)
        .bind(&likeness.2)
        .bind(RECENT_STEPS)
        .fetch_one(db)
        .await?;
        if let Some(mean) = mean {
            means.insert(likeness, mean);
        }
    }
    Ok(means)
}

/// A step of a submission that is not final.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct Remaining {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) method: String,
    pub(crate) data_set: String,
    pub(crate) state: String,
}

/// What is still to be done for a submission.
pub(crate) async fn remaining(db: &SqlitePool, submission: SubmissionId) -> Result<Vec<Remaining>> {
    Ok(sqlx::query_as(
        "SELECT DISTINCT s.id, s.kind, s.method, s.data_set, s.state
         FROM submission_steps AS l JOIN steps AS s ON s.id = l.step_id
         WHERE l.submission_id = ?1 AND s.state IN ('queued', 'assigned', 'running')",
    )
    .bind(submission.0)
    .fetch_all(db)
    .await?)
}
