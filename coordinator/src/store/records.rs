//! Records of a submission's runs with their scores: what tables are made of.

use experiment_spec::ids::SubmissionId;
use futures::TryStreamExt;
use sqlx::{FromRow, SqlitePool};

use super::error::Result;

/// Bytes of text after which a page of records ends; far below the largest message.
const PAGE_BYTES: usize = 3 << 20;

/// One run.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub(crate) struct RecordRow {
    pub(crate) position: u32,
    pub(crate) step_id: i64,
    pub(crate) data_set: String,
    pub(crate) method: String,
    pub(crate) label: String,
    pub(crate) seed: i64,
    pub(crate) state: String,
    pub(crate) failure: Option<String>,
    pub(crate) spec_json: String,
    pub(crate) scores_json: Option<String>,
    pub(crate) seconds: f64,
    /// List of what [`super::attempts::codes`] reads.
    pub(crate) codes_json: String,
    pub(crate) encoder_seed: i64,
    pub(crate) features_hash: Option<String>,
}

/// Runs of a submission from a position of its plan on, and the position to go on from, if there are more.
pub(crate) async fn page(
    db: &SqlitePool,
    submission: SubmissionId,
    from_position: u32,
) -> Result<(Vec<RecordRow>, Option<u32>)> {
    let mut rows = sqlx::query_as::<_, RecordRow>(
        "SELECT l.position, s.id AS step_id, s.data_set, s.method, l.label, s.seed, s.state,
                s.failure_kind || ': ' || s.failure AS failure, s.spec_json,
                r.scores_json,
                COALESCE((SELECT SUM(seconds) FROM attempts WHERE attempts.step_id = s.id), 0.0) AS seconds,
                -- The attempt that scored, and those before it back to the last one that began at iteration 0.
                (SELECT '[' || COALESCE(GROUP_CONCAT(a.code_json, ',' ORDER BY a.number), '') || ']' FROM attempts AS a
                 WHERE a.step_id = s.id AND a.code_json IS NOT NULL AND a.number <= r.attempt
                   AND a.number >= (SELECT COALESCE(MAX(f.number), 0) FROM attempts AS f
                                    WHERE f.step_id = s.id AND f.number <= r.attempt AND f.from_iteration = 0)
                ) AS codes_json,
                e.seed AS encoder_seed,
                (SELECT hash FROM artifacts WHERE artifacts.step_id = e.id
                 ORDER BY (name LIKE 'features%') DESC, name LIMIT 1) AS features_hash
         FROM submission_steps AS l
         JOIN steps AS s ON s.id = l.step_id
         JOIN steps AS e ON e.id = s.needs
         LEFT JOIN results AS r ON r.step_id = s.id
         WHERE l.submission_id = ?1 AND l.position >= ?2 AND s.kind = 'run'
         ORDER BY l.position",
    )
    .bind(submission.0)
    .bind(from_position)
    .fetch(db);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        if bytes > PAGE_BYTES {
            return Ok((page, Some(row.position)));
        }
        bytes += row.spec_json.len() + row.scores_json.as_ref().map_or(0, String::len) + 512;
        page.push(row);
    }
    Ok((page, None))
}
