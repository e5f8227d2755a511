//! Tables `submissions` and `submission_steps`: what was asked for, and which steps answer it.

use experiment_spec::ids::{ContentHash, SubmissionId};
use sqlx::{FromRow, SqliteConnection, SqliteExecutor, SqlitePool};

use super::error::Result;
use crate::scheduler::queue::Standing;

/// A submission as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewSubmission {
    pub(crate) name: String,
    pub(crate) file_name: String,
    pub(crate) yaml: String,
    /// `None`: the client sent none.
    pub(crate) request_id: Option<String>,
    pub(crate) client_version: String,
    /// List of [`experiment_spec::spec::TableSpec`].
    pub(crate) tables_json: String,
    /// Higher goes first.
    pub(crate) priority: i32,
}

/// One row with the counts of its runs by state.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub(crate) struct SubmissionRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) file_name: String,
    pub(crate) created_at_ms: i64,
    pub(crate) already_scored: u32,
    pub(crate) queued: u32,
    pub(crate) assigned: u32,
    pub(crate) running: u32,
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
    pub(crate) cancelled: u32,
    pub(crate) extractions: u32,
    pub(crate) extractions_pending: u32,
    pub(crate) priority: i32,
    pub(crate) paused: bool,
}

/// Writes a submission without its steps.
pub(crate) async fn insert(db: &mut SqliteConnection, new: &NewSubmission, now_ms: i64) -> Result<SubmissionId> {
    let id = sqlx::query_scalar(
        "INSERT INTO submissions (name, file_name, yaml, text_hash, request_id, client_version, tables_json,
                                  already_scored, created_at_ms, priority)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9) RETURNING id",
    )
    .bind(&new.name)
    .bind(&new.file_name)
    .bind(&new.yaml)
    .bind(ContentHash::of(new.yaml.as_bytes()).to_string())
    .bind(&new.request_id)
    .bind(&new.client_version)
    .bind(&new.tables_json)
    .bind(now_ms)
    .bind(new.priority)
    .fetch_one(db)
    .await?;
    Ok(SubmissionId(id))
}

/// Writes how many runs were linked to a score.
pub(crate) async fn set_already_scored(db: &mut SqliteConnection, id: SubmissionId, count: u32) -> Result<()> {
    sqlx::query("UPDATE submissions SET already_scored = ?1 WHERE id = ?2").bind(count).bind(id.0).execute(db).await?;
    Ok(())
}

/// Marks a submission as taken back, or as live again.
pub(crate) async fn set_cancelled(db: &mut SqliteConnection, id: SubmissionId, at_ms: Option<i64>) -> Result<()> {
    sqlx::query("UPDATE submissions SET cancelled_at_ms = ?1 WHERE id = ?2").bind(at_ms).bind(id.0).execute(db).await?;
    Ok(())
}

/// Pauses a submission, or lets it go on.
pub(crate) async fn set_paused(db: &mut SqliteConnection, id: SubmissionId, at_ms: Option<i64>) -> Result<()> {
    sqlx::query("UPDATE submissions SET paused_at_ms = ?1 WHERE id = ?2").bind(at_ms).bind(id.0).execute(db).await?;
    Ok(())
}

/// Writes the priority of a submission.
pub(crate) async fn set_priority(db: &mut SqliteConnection, id: SubmissionId, priority: i32) -> Result<()> {
    sqlx::query("UPDATE submissions SET priority = ?1 WHERE id = ?2").bind(priority).bind(id.0).execute(db).await?;
    Ok(())
}

/// How every submission stands.
pub(crate) async fn standings(db: &SqlitePool) -> Result<Vec<(SubmissionId, Standing)>> {
    let rows: Vec<(i64, i32, bool, bool)> = sqlx::query_as(
        "SELECT id, priority, paused_at_ms IS NOT NULL, cancelled_at_ms IS NOT NULL FROM submissions ORDER BY id",
    )
    .fetch_all(db)
    .await?;
    let standing = |(id, priority, paused, cancelled)| (SubmissionId(id), Standing { priority, paused, cancelled });
    Ok(rows.into_iter().map(standing).collect())
}

/// The submission that this request made before.
pub(crate) async fn of_request(db: impl SqliteExecutor<'_>, request_id: &str) -> Result<Option<SubmissionId>> {
    let id: Option<i64> = sqlx::query_scalar("SELECT id FROM submissions WHERE request_id = ?1")
        .bind(request_id)
        .fetch_optional(db)
        .await?;
    Ok(id.map(SubmissionId))
}

/// The latest submission of this name, if its text is this one.
pub(crate) async fn latest_like(db: impl SqliteExecutor<'_>, name: &str, yaml: &str) -> Result<Option<SubmissionId>> {
    let latest: Option<(i64, String)> =
        sqlx::query_as("SELECT id, text_hash FROM submissions WHERE name = ?1 ORDER BY id DESC LIMIT 1")
            .bind(name)
            .fetch_optional(db)
            .await?;
    let hash = ContentHash::of(yaml.as_bytes()).to_string();
    Ok(latest.filter(|(_, text_hash)| *text_hash == hash).map(|(id, _)| SubmissionId(id)))
}

/// The submission of that id, or the latest of that name. A name that is a number is looked for last.
pub(crate) async fn resolve(db: impl SqliteExecutor<'_>, name_or_id: &str) -> Result<Option<SubmissionId>> {
    let id: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM submissions WHERE id = ?1 OR name = ?2 ORDER BY (id = ?1) DESC, id DESC LIMIT 1",
    )
    .bind(name_or_id.parse::<i64>().unwrap_or(0))
    .bind(name_or_id)
    .fetch_optional(db)
    .await?;
    Ok(id.map(SubmissionId))
}

/// Name, text, tables and time of a submission.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct TextRow {
    pub(crate) name: String,
    pub(crate) yaml: String,
    pub(crate) tables_json: String,
    pub(crate) created_at_ms: i64,
}

/// What was sent.
pub(crate) async fn text(db: &SqlitePool, id: SubmissionId) -> Result<TextRow> {
    Ok(sqlx::query_as("SELECT name, yaml, tables_json, created_at_ms FROM submissions WHERE id = ?1")
        .bind(id.0)
        .fetch_one(db)
        .await?)
}

/// Submissions with their counts, newest first; one of them, or the latest `limit`.
pub(crate) async fn list(
    db: impl SqliteExecutor<'_>,
    only: Option<SubmissionId>,
    limit: u32,
) -> Result<Vec<SubmissionRow>> {
    Ok(sqlx::query_as(
        "SELECT s.id, s.name, s.file_name, s.created_at_ms, s.already_scored,
                s.priority, s.paused_at_ms IS NOT NULL AS paused,
                COUNT(*) FILTER (WHERE t.kind = 'run' AND t.state = 'queued') AS queued,
                COUNT(*) FILTER (WHERE t.kind = 'run' AND t.state = 'assigned') AS assigned,
                COUNT(*) FILTER (WHERE t.kind = 'run' AND t.state = 'running') AS running,
                COUNT(*) FILTER (WHERE t.kind = 'run' AND t.state = 'succeeded') AS succeeded,
                COUNT(*) FILTER (WHERE t.kind = 'run' AND t.state = 'failed') AS failed,
                COUNT(*) FILTER (WHERE t.kind = 'run' AND t.state = 'cancelled') AS cancelled,
                COUNT(*) FILTER (WHERE t.kind = 'extraction') AS extractions,
                COUNT(*) FILTER (WHERE t.kind = 'extraction' AND t.state IN ('queued', 'assigned', 'running'))
                    AS extractions_pending
         FROM (SELECT id, name, file_name, created_at_ms, already_scored, priority, paused_at_ms FROM submissions
               WHERE ?1 IS NULL OR id = ?1 ORDER BY id DESC LIMIT ?2) AS s
         LEFT JOIN submission_steps AS l ON l.submission_id = s.id
         LEFT JOIN steps AS t ON t.id = l.step_id
         GROUP BY s.id ORDER BY s.id DESC",
    )
    .bind(only.map(|id| id.0))
    .bind(limit)
    .fetch_all(db)
    .await?)
}
