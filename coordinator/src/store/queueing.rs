//! Steps come into the queue: new ones, and those that are tried again. A submission is written table by table, many rows in
//! one statement: a large one must not keep workers waiting for their heartbeats.

use std::collections::{BTreeMap, HashMap};

use experiment_spec::{
    ids::{AttemptNumber, ContentHash, StepId, SubmissionId},
    run::{Resources, State},
};
use sqlx::{FromRow, SqliteConnection, SqliteExecutor};

use super::{
    error::{Result, damaged},
    rows,
    steps::{NewStep, resources, state},
    transitions::{self, Line, Move},
};
use crate::scheduler::{effects::Guard, queue::Ask};

/// A stored step as far as linking and queueing look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: StepId,
    pub(crate) state: State,
    pub(crate) attempt: AttemptNumber,
    /// The extraction whose features it reads.
    pub(crate) needs: Option<StepId>,
    /// Number of the next step of this fingerprint.
    pub(crate) next_nonce: i64,
}

#[derive(FromRow)]
struct FoundRow {
    fingerprint: String,
    id: i64,
    state: String,
    attempt: u32,
    needs: Option<i64>,
    nonce: i64,
}

/// The steps of these fingerprints to link to: of several one that is scored rather than the latest.
pub(crate) async fn find(
    db: impl SqliteExecutor<'_>,
    fingerprints: impl Iterator<Item = ContentHash>,
) -> Result<HashMap<ContentHash, Found>> {
    let fingerprints: Vec<_> = fingerprints.map(|fingerprint| fingerprint.to_string()).collect();
    let rows: Vec<FoundRow> = sqlx::query_as(
        "SELECT fingerprint, id, state, attempt, needs, nonce FROM steps
         WHERE fingerprint IN (SELECT value FROM json_each(?1)) ORDER BY (state = 'succeeded'), nonce",
    )
    .bind(serde_json::to_string(&fingerprints).expect("a list of texts"))
    .fetch_all(db)
    .await?;
    let mut found: HashMap<ContentHash, Found> = HashMap::new();
    for row in rows {
        let fingerprint = row.fingerprint.parse().map_err(|_| damaged("fingerprint", &row.fingerprint))?;
        let before = found.get(&fingerprint).map_or(0, |found| found.next_nonce);
        let row = Found {
            id: StepId(row.id),
            state: state(&row.state)?,
            attempt: AttemptNumber(row.attempt),
            needs: row.needs.map(StepId),
            next_nonce: before.max(row.nonce + 1),
        };
        found.insert(fingerprint, row);
    }
    Ok(found)
}

/// Number of the next step that is written.
pub(crate) async fn next_id(db: &mut SqliteConnection) -> Result<i64> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'steps'").fetch_optional(db).await?;
    Ok(last.unwrap_or(0) + 1)
}

/// A step to be written, with its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Insert<'a> {
    pub(crate) id: StepId,
    pub(crate) nonce: i64,
    pub(crate) new: &'a NewStep,
    pub(crate) needs: Option<StepId>,
}

/// Writes new steps of the queue.
pub(crate) async fn insert(
    db: &mut SqliteConnection,
    submission: SubmissionId,
    inserts: &[Insert<'_>],
    now_ms: i64,
) -> Result<()> {
    let sql = (
        "INSERT INTO steps (id, kind, fingerprint, nonce, needs, method, data_set, seed, spec_json, resources_json, state,
                            attempt, retries, retries_left, not_before_ms, expected_ms, created_at_ms, changed_at_ms)
         SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, 'queued',
                0, column11, column11, 0, column12, column13, column13 FROM (",
        ") WHERE column1 IS NOT NULL",
    );
    rows::execute(db, sql, inserts, 13, |row, Insert { id, nonce, new, needs }| {
        let (method, data_set, seed) = new.listed_under();
        row.push_bind(id.0).push_bind(new.kind()).push_bind(new.fingerprint.to_string()).push_bind(*nonce);
        row.push_bind(needs.map(|id| id.0)).push_bind(method).push_bind(data_set).push_bind(seed.cast_signed());
        row.push_bind(new.spec.canonical_json()).push_bind(json(&new.resources)).push_bind(new.retries);
        row.push_bind(new.expected_ms.map(u64::cast_signed)).push_bind(now_ms);
    })
    .await?;
    let line = |insert: &Insert<'_>| Line {
        step: insert.id,
        attempt: AttemptNumber(0),
        sentence: format!("queued by submission {submission}"),
        now_ms,
    };
    transitions::history_all(db, &inserts.iter().map(line).collect::<Vec<_>>()).await
}

fn json(resources: &Resources) -> String {
    serde_json::to_string(resources).expect("resources are plain data that JSON can say")
}

/// A failed or cancelled step that is queued again, with what it is given then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Again {
    pub(crate) found: Found,
    pub(crate) resources: Resources,
    pub(crate) retries: u32,
    pub(crate) expected_ms: Option<u64>,
}

/// Queues failed or cancelled steps again.
pub(crate) async fn queue_again(db: &mut SqliteConnection, again: &[Again], why: &str, now_ms: i64) -> Result<()> {
    let guard = |Found { id, state, attempt, .. }: &Found| Guard {
        step: *id,
        state: *state,
        attempt: *attempt,
        worker: None,
        since_ms: now_ms,
    };
    let moves = again.iter().map(|Again { found, retries, .. }| Move {
        queued: Some((*retries, 0, None)),
        ..Move::new(&guard(found), State::Queued, now_ms)
    });
    transitions::move_all(db, &moves.collect::<Vec<_>>()).await?;
    let sql = (
        "UPDATE steps SET retries = new.column2, resources_json = new.column3, expected_ms = new.column4,
             needs = new.column5, paused_at_ms = NULL, priority = NULL FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND steps.id = new.column1",
    );
    rows::execute(db, sql, again, 5, |row, of| {
        row.push_bind(of.found.id.0).push_bind(of.retries).push_bind(json(&of.resources));
        row.push_bind(of.expected_ms.map(u64::cast_signed)).push_bind(of.found.needs.map(|needs| needs.0));
    })
    .await?;
    let line =
        |Again { found, .. }: &Again| Line { step: found.id, attempt: found.attempt, sentence: why.to_owned(), now_ms };
    transitions::history_all(db, &again.iter().map(line).collect::<Vec<_>>()).await
}

/// A step that may be tried again, and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retryable {
    pub(crate) again: Again,
    pub(crate) failure_kind: Option<String>,
}

#[derive(FromRow)]
struct RetryRow {
    id: i64,
    state: String,
    attempt: u32,
    needs: Option<i64>,
    resources_json: String,
    retries: u32,
    expected_ms: Option<i64>,
    failure_kind: Option<String>,
}

/// Those of these steps, and of the extractions they need, that ended in another way than success.
pub(crate) async fn retryable(db: &mut SqliteConnection, steps: &[StepId]) -> Result<BTreeMap<StepId, Retryable>> {
    let rows: Vec<RetryRow> = sqlx::query_as(
        "SELECT id, state, attempt, needs, resources_json, retries, expected_ms, failure_kind FROM steps
         WHERE state IN ('failed', 'cancelled') AND id IN (
             SELECT value FROM json_each(?1)
             UNION SELECT needs FROM steps WHERE id IN (SELECT value FROM json_each(?1)))",
    )
    .bind(rows::json_list(steps))
    .fetch_all(db)
    .await?;
    let retryable = |row: RetryRow| {
        let id = StepId(row.id);
        let (attempt, needs) = (AttemptNumber(row.attempt), row.needs.map(StepId));
        let found = Found { id, state: state(&row.state)?, attempt, needs, next_nonce: 0 };
        let (resources, retries) = (resources(&row.resources_json)?, row.retries);
        let again = Again { found, resources, retries, expected_ms: row.expected_ms.map(i64::cast_unsigned) };
        Ok((id, Retryable { again, failure_kind: row.failure_kind }))
    };
    rows.into_iter().map(retryable).collect()
}

/// A place of a submission and the step that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link<'a> {
    pub(crate) ask: Ask,
    pub(crate) step: StepId,
    pub(crate) label: &'a str,
}

/// Writes which steps answer a submission.
pub(crate) async fn link(db: &mut SqliteConnection, links: &[Link<'_>]) -> Result<()> {
    let sql = (
        "INSERT INTO submission_steps (submission_id, position, step_id, label, round) SELECT * FROM (",
        ") WHERE column1 IS NOT NULL",
    );
    rows::execute(db, sql, links, 5, |row, Link { ask, step, label }| {
        row.push_bind(ask.submission.0).push_bind(ask.position).push_bind(step.0).push_bind(*label);
        row.push_bind(ask.round);
    })
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct AskRow {
    step_id: i64,
    submission_id: i64,
    round: u32,
    position: u32,
}

/// Who asks for these steps, the first submission first.
pub(crate) async fn asks(db: impl SqliteExecutor<'_>, steps: &[StepId]) -> Result<BTreeMap<StepId, Vec<Ask>>> {
    let rows: Vec<AskRow> = sqlx::query_as(
        "SELECT step_id, submission_id, MIN(round) AS round, MIN(position) AS position FROM submission_steps
         WHERE step_id IN (SELECT value FROM json_each(?1)) GROUP BY step_id, submission_id
         ORDER BY step_id, submission_id",
    )
    .bind(rows::json_list(steps))
    .fetch_all(db)
    .await?;
    let mut asks: BTreeMap<StepId, Vec<Ask>> = BTreeMap::new();
    for AskRow { step_id, submission_id, round, position } in rows {
        asks.entry(StepId(step_id)).or_default().push(Ask { submission: SubmissionId(submission_id), round, position });
    }
    Ok(asks)
}
