//! The scheduler's state as the store has it: read on start, and again after a failed write.

use experiment_spec::ids::{AttemptNumber, LeaseToken, StepId, SubmissionId, WorkerId};
use sqlx::{FromRow, SqlitePool};

use super::{
    error::{Result, damaged},
    steps, workers,
};
use crate::scheduler::state::{Capacity, Grant, Order, Phase, Scheduler, Step, Worker};

#[derive(FromRow)]
struct LiveRow {
    id: i64,
    needs: Option<i64>,
    needs_live: bool,
    state: String,
    attempt: u32,
    retries_left: u32,
    not_before_ms: i64,
    order_submission: i64,
    order_position: u32,
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

/// Workers that are online and every step that is not final; new leases are drawn from `lease_salt`.
pub(crate) async fn load(db: &SqlitePool, lease_salt: u64) -> Result<Scheduler> {
    let mut scheduler = Scheduler::new(lease_salt);
    for row in workers::all(db).await?.into_iter().filter(|row| row.state == "online") {
        let capacity = Capacity {
            cpus: row.cpus,
            gpus: gpus(&row.gpus_json)?.iter().map(|gpu| gpu.index).collect(),
            memory_bytes: row.memory_bytes.cast_unsigned(),
        };
        let aside = row.aside_until_ms.zip(row.aside_reason);
        let worker = Worker { name: row.name, capacity, aside, drained: row.drained, ..Worker::default() };
        scheduler.workers.insert(WorkerId(row.id), worker);
    }
    let rows: Vec<LiveRow> = sqlx::query_as(
        "SELECT s.id, s.needs, s.state, s.attempt, s.retries_left, s.not_before_ms, s.order_submission,
                s.order_position, s.changed_at_ms, s.shuns, s.resources_json, a.worker_id, a.cpus, a.gpu_index,
                a.gpu_share_milli, a.memory_bytes, a.lease_token,
                EXISTS (SELECT 1 FROM steps AS n WHERE n.id = s.needs
                        AND n.state IN ('queued', 'assigned', 'running')) AS needs_live
         FROM steps AS s
         LEFT JOIN attempts AS a ON a.step_id = s.id AND a.number = s.attempt AND a.ended_at_ms IS NULL
         WHERE s.state IN ('queued', 'assigned', 'running')",
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        insert(&mut scheduler, &row)?;
    }
    Ok(scheduler)
}

fn insert(scheduler: &mut Scheduler, row: &LiveRow) -> Result<()> {
    let id = StepId(row.id);
    let worker = row.worker_id.map(WorkerId);
    let phase = match (row.state.as_str(), worker) {
        ("queued", _) if row.needs_live => Phase::Waiting,
        ("queued", _) => Phase::Ready { not_before_ms: row.not_before_ms },
        ("assigned", Some(worker)) => Phase::Assigned(worker),
        ("running", Some(worker)) => Phase::Running(worker),
        (state, _) => return Err(damaged("a step at work without an attempt, in state", state)),
    };
    let step = Step {
        id,
        order: Order { submission: SubmissionId(row.order_submission), position: row.order_position },
        needs: row.needs.map(StepId),
        resources: steps::resources(&row.resources_json)?,
        attempt: AttemptNumber(row.attempt),
        lease: LeaseToken(row.lease_token.unwrap_or_default().cast_unsigned()),
        retries_left: row.retries_left,
        shuns: row.shuns.map(WorkerId),
        since_ms: row.changed_at_ms,
        phase,
    };
    if let Some(worker) = phase.worker() {
        let grant = Grant {
            cpus: row.cpus.unwrap_or_default(),
            gpu: row.gpu_index.zip(row.gpu_share_milli),
            memory_bytes: row.memory_bytes.unwrap_or_default().cast_unsigned(),
        };
        let worker = scheduler
            .workers
            .get_mut(&worker)
            .ok_or_else(|| damaged("a step at work on a worker that is not online, step", &id.to_string()))?;
        worker.taken.insert(step.key(), grant);
    }
    scheduler.insert(step);
    Ok(())
}
