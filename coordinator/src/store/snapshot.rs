//! The scheduler's state as the store has it: read on start, and again after a failed write.

use std::collections::BTreeSet;

use experiment_spec::ids::{AttemptNumber, LeaseToken, StepId, WorkerId};
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{
    error::{Result, damaged},
    queueing, rows, steps, submissions, workers,
};
use crate::scheduler::{
    queue::Ask,
    state::{Capacity, Grant, Phase, Scheduler, Step, Worker},
};

/// Columns of [`LiveRow`] of every step that is not final.
macro_rules! live {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.needs, s.state, s.attempt, s.retries_left, s.not_before_ms, s.priority,
                    s.paused_at_ms IS NOT NULL AS paused, s.expected_ms, s.changed_at_ms, s.shuns, s.resources_json,
                    a.worker_id, a.cpus, a.gpu_index, a.gpu_share_milli, a.memory_bytes, a.lease_token,
                    EXISTS (SELECT 1 FROM steps AS n WHERE n.id = s.needs
                            AND n.state IN ('queued', 'assigned', 'running')) AS needs_live
             FROM steps AS s
             LEFT JOIN attempts AS a ON a.step_id = s.id AND a.number = s.attempt AND a.ended_at_ms IS NULL
             WHERE s.state IN ('queued', 'assigned', 'running')",
            $rest
        )
    };
}

const ALL_LIVE: &str = live!("");
const THESE_LIVE: &str = live!(" AND s.id IN (SELECT value FROM json_each(?1)) ORDER BY s.id");

#[derive(FromRow)]
struct LiveRow {
    id: i64,
    needs: Option<i64>,
    needs_live: bool,
    state: String,
    attempt: u32,
    retries_left: u32,
    not_before_ms: i64,
    priority: Option<i32>,
    paused: bool,
    expected_ms: Option<i64>,
    changed_at_ms: i64,
    shuns: Option<i64>,
    resources_json: String,
    worker_id: Option<i64>,
    cpus: Option<u32>,
    gpu_index: Option<u32>,
    gpu_share_milli: Option<u32>,
    memory_bytes: Option<i64>,
    lease_token: Option<i64>,
}

/// One GPU of a worker, as stored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Gpu {
    pub(crate) index: u32,
    pub(crate) model: String,
    pub(crate) memory_bytes: u64,
}

/// GPUs of a worker, as stored.
pub(crate) fn gpus(json: &str) -> Result<Vec<Gpu>> {
    serde_json::from_str(json).map_err(|_| damaged("list of GPUs", json))
}

/// What a worker calls itself, as stored.
pub(crate) fn labels(json: &str) -> Result<BTreeSet<String>> {
    serde_json::from_str(json).map_err(|_| damaged("list of labels", json))
}

/// Workers that are online and every step that is not final; new leases are drawn from `lease_salt`.
pub(crate) async fn load(db: &SqlitePool, lease_salt: u64) -> Result<Scheduler> {
    let mut scheduler = Scheduler::new(lease_salt);
    for row in workers::all(db).await?.into_iter().filter(|row| row.state == "online") {
        let capacity = Capacity {
            cpus: row.cpus,
            gpus: gpus(&row.gpus_json)?.iter().map(|gpu| gpu.index).collect(),
            memory_bytes: row.memory_bytes.cast_unsigned(),
            labels: labels(&row.labels_json)?,
        };
        let aside = row.aside_until_ms.zip(row.aside_reason);
        let worker = Worker { name: row.name, capacity, aside, drained: row.drained, ..Worker::default() };
        scheduler.workers.insert(WorkerId(row.id), worker);
    }
    for (id, standing) in submissions::standings(db).await? {
        scheduler.set_standing(id, standing);
    }
    let rows: Vec<LiveRow> = sqlx::query_as(ALL_LIVE).fetch_all(db).await?;
    let ids: Vec<_> = rows.iter().map(|row| StepId(row.id)).collect();
    let mut asks = queueing::asks(db, &ids).await?;
    for row in rows {
        insert(&mut scheduler, &row, asks.remove(&StepId(row.id)).unwrap_or_default())?;
    }
    Ok(scheduler)
}

/// These steps, which were just queued; what an extraction is needed by comes after it.
pub(crate) async fn queued(db: &mut SqliteConnection, ids: &[StepId]) -> Result<Vec<Step>> {
    let rows: Vec<LiveRow> = sqlx::query_as(THESE_LIVE).bind(rows::json_list(ids)).fetch_all(&mut *db).await?;
    let mut asks = queueing::asks(db, ids).await?;
    rows.iter().map(|row| step(row, asks.remove(&StepId(row.id)).unwrap_or_default())).collect()
}

fn insert(scheduler: &mut Scheduler, row: &LiveRow, asks: Vec<Ask>) -> Result<()> {
    let step = step(row, asks)?;
    if let Some(worker) = step.phase.worker() {
        let grant = Grant {
            cpus: row.cpus.unwrap_or_default(),
            gpu: row.gpu_index.zip(row.gpu_share_milli),
            memory_bytes: row.memory_bytes.unwrap_or_default().cast_unsigned(),
        };
        let worker = scheduler
            .workers
            .get_mut(&worker)
            .ok_or_else(|| damaged("a step at work on a worker that is not online, step", &step.id.to_string()))?;
        worker.taken.insert(step.key(), grant);
    }
    scheduler.insert(step);
    Ok(())
}

fn step(row: &LiveRow, asks: Vec<Ask>) -> Result<Step> {
    let phase = match (row.state.as_str(), row.worker_id.map(WorkerId)) {
        ("queued", _) if row.needs_live => Phase::Waiting,
        ("queued", _) => Phase::Ready { not_before_ms: row.not_before_ms },
        ("assigned", Some(worker)) => Phase::Assigned(worker),
        ("running", Some(worker)) => Phase::Running(worker),
        (state, _) => return Err(damaged("a step at work without an attempt, in state", state)),
    };
    Ok(Step {
        id: StepId(row.id),
        asks,
        priority: row.priority,
        paused: row.paused,
        expected_ms: row.expected_ms.map(i64::cast_unsigned),
        needs: row.needs.map(StepId),
        resources: steps::resources(&row.resources_json)?,
        attempt: AttemptNumber(row.attempt),
        lease: LeaseToken(row.lease_token.unwrap_or_default().cast_unsigned()),
        retries_left: row.retries_left,
        shuns: row.shuns.map(WorkerId),
        since_ms: row.changed_at_ms,
        phase,
    })
}
