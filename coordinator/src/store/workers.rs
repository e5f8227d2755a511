//! Table `workers`: the fleet, and how far each one's reports have come.

use std::collections::BTreeSet;

use experiment_spec::ids::WorkerId;
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{error::Result, rows};

/// What a worker says of itself when it registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) cpus: u32,
    /// GPUs as JSON: index, model, memory.
    pub(crate) gpus_json: String,
    pub(crate) memory_bytes: u64,
    pub(crate) kind: String,
    pub(crate) program_version: String,
    /// What it calls itself.
    pub(crate) labels: BTreeSet<String>,
}

/// One row.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct WorkerRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) cpus: u32,
    pub(crate) gpus_json: String,
    pub(crate) memory_bytes: i64,
    pub(crate) kind: String,
    pub(crate) program_version: String,
    pub(crate) state: String,
    pub(crate) last_sequence: i64,
    pub(crate) last_seen_ms: i64,
    pub(crate) aside_until_ms: Option<i64>,
    pub(crate) aside_reason: Option<String>,
    pub(crate) drained: bool,
    pub(crate) labels_json: String,
}

/// What the store knows already of a worker that registers.
#[derive(Clone, Copy, Debug, FromRow)]
pub(crate) struct Known {
    pub(crate) id: i64,
    pub(crate) last_sequence: i64,
    pub(crate) drained: bool,
}

/// Writes a registration; the same name keeps its id, its last report and whether it is drained.
pub(crate) async fn register(db: &mut SqliteConnection, worker: &Registration, now_ms: i64) -> Result<Known> {
    Ok(sqlx::query_as(
        "INSERT INTO workers (name, host, cpus, gpus_json, memory_bytes, kind, program_version, state,
                              last_sequence, registered_at_ms, last_seen_ms, labels_json)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'online', 0, ?8, ?8, ?9)
         ON CONFLICT (name) DO UPDATE SET
             host = ?2, cpus = ?3, gpus_json = ?4, memory_bytes = ?5, kind = ?6, program_version = ?7,
             state = 'online', registered_at_ms = ?8, last_seen_ms = ?8, aside_until_ms = NULL, aside_reason = NULL,
             labels_json = ?9
         RETURNING id, last_sequence, drained",
    )
    .bind(&worker.name)
    .bind(&worker.host)
    .bind(worker.cpus)
    .bind(&worker.gpus_json)
    .bind(worker.memory_bytes.cast_signed())
    .bind(&worker.kind)
    .bind(&worker.program_version)
    .bind(now_ms)
    .bind(serde_json::to_string(&worker.labels).expect("a list of labels is plain data that JSON can say"))
    .fetch_one(db)
    .await?)
}

/// A worker whose reports have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) worker: WorkerId,
    /// Number of the last of them.
    pub(super) last_sequence: u64,
    pub(super) now_ms: i64,
}

/// Writes that reports up to these are in the store.
pub(super) async fn set_heard(db: &mut SqliteConnection, heard: &[Heard]) -> Result<()> {
    let sql = (
        "UPDATE workers SET last_sequence = new.column2, last_seen_ms = new.column3 FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND workers.id = new.column1",
    );
    rows::execute(db, sql, heard, 3, |row, of| {
        row.push_bind(of.worker.0).push_bind(of.last_sequence.cast_signed()).push_bind(of.now_ms);
    })
    .await?;
    Ok(())
}

/// Writes that workers are lost, and when each was heard of last.
pub(crate) async fn set_lost_all(db: &mut SqliteConnection, lost: &[(WorkerId, i64)]) -> Result<()> {
    let sql = (
        "UPDATE workers SET state = 'lost', last_seen_ms = new.column2 FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND workers.id = new.column1",
    );
    rows::execute(db, sql, lost, 2, |row, (id, last_seen_ms)| {
        row.push_bind(id.0).push_bind(*last_seen_ms);
    })
    .await?;
    Ok(())
}

/// Most workers that may be meant by one name.
const MAX_MEANT: usize = 10;

/// Ids and names of the workers that may be meant: the one of that name, else the one of that id, else all whose name
/// is this with something generated behind a hyphen.
pub(crate) async fn find(db: &mut SqliteConnection, named: &str) -> Result<Vec<(i64, String)>> {
    let mut meant: Vec<(i64, String)> = sqlx::query_as(
        "SELECT id, name FROM workers
         WHERE name = ?1 OR id = ?2 OR substr(name, 1, length(?1) + 1) = ?1 || '-'
         ORDER BY (name = ?1) DESC, (id = ?2) DESC, id LIMIT ?3",
    )
    .bind(named)
    .bind(named.parse::<i64>().unwrap_or(0))
    .bind(u32::try_from(MAX_MEANT).unwrap_or(u32::MAX))
    .fetch_all(db)
    .await?;
    if meant.first().is_some_and(|(id, name)| name == named || id.to_string() == named) {
        meant.truncate(1);
    }
    Ok(meant)
}

/// Writes that a user drains a worker, or that it gets work again, also if it was put aside.
pub(crate) async fn set_drained(db: &mut SqliteConnection, id: WorkerId, drained: bool) -> Result<()> {
    sqlx::query(
        "UPDATE workers SET drained = ?1, aside_until_ms = CASE WHEN ?1 THEN aside_until_ms END,
             aside_reason = CASE WHEN ?1 THEN aside_reason END
         WHERE id = ?2",
    )
    .bind(drained)
    .bind(id.0)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes until when workers get nothing, and why.
pub(super) async fn put_aside_all(db: &mut SqliteConnection, aside: &[(WorkerId, i64, &str)]) -> Result<()> {
    let sql = (
        "UPDATE workers SET aside_until_ms = new.column2, aside_reason = new.column3 FROM (",
        ") AS new WHERE new.column1 IS NOT NULL AND workers.id = new.column1",
    );
    rows::execute(db, sql, aside, 3, |row, (worker, until_ms, reason)| {
        row.push_bind(worker.0).push_bind(*until_ms).push_bind(*reason);
    })
    .await?;
    Ok(())
}

/// Every worker that ever registered, by id.
pub(crate) async fn all(db: &SqlitePool) -> Result<Vec<WorkerRow>> {
    Ok(sqlx::query_as(
        "SELECT id, name, cpus, gpus_json, memory_bytes, kind, program_version, state, last_sequence, last_seen_ms,
                aside_until_ms, aside_reason, drained, labels_json
         FROM workers ORDER BY id",
    )
    .fetch_all(db)
    .await?)
}
