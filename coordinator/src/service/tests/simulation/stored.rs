//! What the store holds, read back in plain values.

use std::collections::BTreeMap;

use experiment_spec::ids::{AttemptKey, AttemptNumber, LeaseToken, StepId, WorkerId};
use sqlx::SqlitePool;

use crate::scheduler::state::Grant;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredStep {
    pub(super) state: String,
    pub(super) attempt: u32,
    pub(super) needs: Option<StepId>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredAttempt {
    pub(super) key: AttemptKey,
    pub(super) worker: WorkerId,
    pub(super) grant: Grant,
    pub(super) is_started: bool,
    pub(super) outcome: Option<String>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredWorker {
    pub(super) name: String,
    pub(super) is_online: bool,
    pub(super) is_drained: bool,
    pub(super) last_sequence: u64,
}

/// What decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) steps: BTreeMap<StepId, StoredStep>,
    pub(super) attempts: BTreeMap<(StepId, AttemptNumber), StoredAttempt>,
    /// Which attempt was accepted, and its text.
    pub(super) results: BTreeMap<StepId, (AttemptNumber, String)>,
    pub(super) workers: BTreeMap<WorkerId, StoredWorker>,
    pub(super) submissions: Vec<(i64, String)>,
}

type AttemptRow = (i64, u32, i64, i64, u32, Option<u32>, u32, i64, bool, Option<String>);

impl Stored {
    pub(super) async fn read(db: &SqlitePool) -> Self {
        let steps: Vec<(i64, String, u32, Option<i64>)> =
            sqlx::query_as("SELECT id, state, attempt, needs FROM steps").fetch_all(db).await.unwrap();
        let attempts: Vec<AttemptRow> = sqlx::query_as(
            "SELECT step_id, number, lease_token, worker_id, cpus, gpu_index, gpu_share_milli, memory_bytes,
                    started_at_ms IS NOT NULL, CASE WHEN ended_at_ms IS NOT NULL THEN outcome END FROM attempts",
        )
        .fetch_all(db)
        .await
        .unwrap();
        let results: Vec<(i64, u32, String)> =
            sqlx::query_as("SELECT step_id, attempt, scores_json FROM results").fetch_all(db).await.unwrap();
        let workers: Vec<(i64, String, bool, bool, i64)> =
            sqlx::query_as("SELECT id, name, state = 'online', drained, last_sequence FROM workers")
                .fetch_all(db)
                .await
                .unwrap();
        let step = |(id, state, attempt, needs): (i64, String, u32, Option<i64>)| {
            (StepId(id), StoredStep { state, attempt, needs: needs.map(StepId) })
        };
        let result = |(id, attempt, text)| (StepId(id), (AttemptNumber(attempt), text));
        let worker = |(id, name, is_online, is_drained, last): (i64, String, bool, bool, i64)| {
            (WorkerId(id), StoredWorker { name, is_online, is_drained, last_sequence: last.cast_unsigned() })
        };
        Self {
            steps: steps.into_iter().map(step).collect(),
            attempts: attempts.into_iter().map(attempt).collect(),
            results: results.into_iter().map(result).collect(),
            workers: workers.into_iter().map(worker).collect(),
            submissions: sqlx::query_as("SELECT id, request_id FROM submissions ORDER BY id")
                .fetch_all(db)
                .await
                .unwrap(),
        }
    }
}

fn attempt(row: AttemptRow) -> ((StepId, AttemptNumber), StoredAttempt) {
    let (step, number, lease, worker, cpus, gpu, share, memory, is_started, outcome) = row;
    let key =
        AttemptKey { step: StepId(step), attempt: AttemptNumber(number), lease: LeaseToken(lease.cast_unsigned()) };
    let grant = Grant { cpus, gpu: gpu.map(|gpu| (gpu, share)), memory_bytes: memory.cast_unsigned() };
    ((key.step, key.attempt), StoredAttempt { key, worker: WorkerId(worker), grant, is_started, outcome })
}

/// What was told of steps, in the order in which it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) lines: BTreeMap<StepId, Vec<(AttemptNumber, String)>>,
    pub(super) points: BTreeMap<(StepId, String, u64), f64>,
    /// How often the history of a step says that this attempt started.
    pub(super) starts: BTreeMap<(StepId, AttemptNumber), u32>,
    /// How often it says that something of it came too late.
    pub(super) late: BTreeMap<(StepId, AttemptNumber), u32>,
    /// Iterations of last checkpoints.
    pub(super) checkpoints: BTreeMap<(StepId, AttemptNumber), u64>,
}

impl Told {
    pub(super) async fn read(db: &SqlitePool) -> Self {
        let mut told = Self::default();
        let lines: Vec<(i64, u32, String)> =
            sqlx::query_as("SELECT step_id, attempt, text FROM logs ORDER BY step_id, position")
                .fetch_all(db)
                .await
                .unwrap();
        for (step, attempt, text) in lines {
            told.lines.entry(StepId(step)).or_default().push((AttemptNumber(attempt), text));
        }
        let points: Vec<(i64, String, i64, f64)> =
            sqlx::query_as("SELECT step_id, name, iteration, value FROM metrics").fetch_all(db).await.unwrap();
        told.points =
            points.into_iter().map(|(id, name, at, value)| ((StepId(id), name, at.cast_unsigned()), value)).collect();
        let history: Vec<(i64, u32, String)> =
            sqlx::query_as("SELECT step_id, attempt, sentence FROM history").fetch_all(db).await.unwrap();
        for (step, attempt, sentence) in history {
            let key = (StepId(step), AttemptNumber(attempt));
            if sentence.starts_with("started on ") {
                *told.starts.entry(key).or_default() += 1;
            } else if sentence.contains("no longer had its lease") {
                *told.late.entry(key).or_default() += 1;
            }
        }
        let checkpoints: Vec<(i64, u32, i64)> = sqlx::query_as(
            "SELECT step_id, number, checkpoint_iteration FROM attempts WHERE checkpoint_iteration IS NOT NULL",
        )
        .fetch_all(db)
        .await
        .unwrap();
        told.checkpoints = checkpoints
            .into_iter()
            .map(|(id, number, at)| ((StepId(id), AttemptNumber(number)), at.cast_unsigned()))
            .collect();
        told
    }
}
