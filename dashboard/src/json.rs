//! The overview as JSON for scripts. Keys may be added, never renamed.

use experiment_spec::table::Document;
use orchestrator_proto::v1::{StepSummary, SubmissionSummary, WorkerSummary};
use serde::Serialize;

use crate::overview::Overview;

/// `/api/overview.json`: submissions, one of them from near, workers, and the tables in the form of
/// [`experiment_spec::table::json`]. Unknown times, rates and losses are null.
#[derive(Debug, Serialize)]
pub(crate) struct OverviewJson<'a> {
    at_ms: i64,
    submissions: Vec<SubmissionJson<'a>>,
    /// Id of the submission that `steps` and `tables` belong to.
    submission: Option<i64>,
    steps: Vec<StepJson<'a>>,
    runs_left_out: usize,
    workers: Vec<WorkerJson<'a>>,
    /// Why nothing is given out; null while runs are.
    halted: Option<&'a str>,
    #[serde(flatten)]
    tables: Document<'a>,
    tables_problem: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct SubmissionJson<'a> {
    id: i64,
    name: &'a str,
    created_at_ms: i64,
    queued: u32,
    assigned: u32,
    running: u32,
    succeeded: u32,
    failed: u32,
    cancelled: u32,
    extractions_pending: u32,
    seconds_left: Option<f64>,
    priority: i32,
    paused: bool,
}

#[derive(Debug, Serialize)]
struct StepJson<'a> {
    id: i64,
    kind: &'a str,
    state: &'a str,
    attempt: u32,
    method: &'a str,
    label: &'a str,
    data_set: &'a str,
    seed: u64,
    worker: &'a str,
    progress: Option<ProgressJson<'a>>,
    failure_kind: &'a str,
    failure: &'a str,
    bi_modal_average: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ProgressJson<'a> {
    stage: &'a str,
    iteration: u64,
    iterations: u64,
    iterations_per_second: f64,
    loss: f64,
    seconds_left: f64,
}

#[derive(Debug, Serialize)]
struct WorkerJson<'a> {
    id: i64,
    name: &'a str,
    state: &'a str,
    /// Why it gets nothing for a while; empty when it is not put aside.
    aside_reason: &'a str,
    cpus: u32,
    cpus_used: u32,
    devices: &'a [String],
    labels: &'a [String],
    kind: &'a str,
    last_seen_ms: i64,
    steps: &'a [i64],
}

impl<'a> OverviewJson<'a> {
    pub(crate) fn of(overview: &'a Overview) -> Self {
        let shown = overview.shown.as_ref();
        let tables = shown.map(|shown| shown.tables.as_ref());
        Self {
            at_ms: overview.at_ms,
            submissions: overview.submissions.iter().map(SubmissionJson::of).collect(),
            submission: shown.map(|shown| shown.summary.id),
            steps: shown.iter().flat_map(|shown| &shown.steps).map(StepJson::of).collect(),
            runs_left_out: shown.map_or(0, |shown| shown.left_out),
            workers: overview.workers.iter().map(WorkerJson::of).collect(),
            halted: (!overview.halted.is_empty()).then_some(overview.halted.as_str()),
            tables: Document::of(tables.and_then(Result::ok).map_or(&[], |tables| tables.as_slice())),
            tables_problem: tables.and_then(Result::err).map(String::as_str),
        }
    }
}

impl<'a> SubmissionJson<'a> {
    fn of(summary: &'a SubmissionSummary) -> Self {
        Self {
            id: summary.id,
            name: &summary.name,
            created_at_ms: summary.created_at_ms,
            queued: summary.queued,
            assigned: summary.assigned,
            running: summary.running,
            succeeded: summary.succeeded,
            failed: summary.failed,
            cancelled: summary.cancelled,
            extractions_pending: summary.extractions_pending,
            seconds_left: summary.seconds_left_known.then_some(summary.seconds_left),
            priority: summary.priority,
            paused: summary.paused,
        }
    }
}

impl<'a> StepJson<'a> {
    fn of(step: &'a StepSummary) -> Self {
        let progress = step.progress.as_ref().map(|progress| ProgressJson {
            stage: &progress.stage,
            iteration: progress.iteration,
            iterations: progress.iterations,
            iterations_per_second: progress.iterations_per_second,
            loss: progress.loss,
            seconds_left: progress.seconds_left,
        });
        Self {
            id: step.id,
            kind: &step.kind,
            state: &step.state,
            attempt: step.attempt,
            method: &step.method,
            label: &step.label,
            data_set: &step.data_set,
            seed: step.seed,
            worker: &step.worker,
            progress,
            failure_kind: &step.failure_kind,
            failure: &step.failure,
            bi_modal_average: step.bi_modal_average,
        }
    }
}

impl<'a> WorkerJson<'a> {
    fn of(worker: &'a WorkerSummary) -> Self {
        Self {
            id: worker.id,
            name: &worker.name,
            state: &worker.state,
            aside_reason: &worker.aside_reason,
            cpus: worker.cpus,
            cpus_used: worker.cpus_used,
            devices: &worker.devices,
            labels: &worker.labels,
            kind: &worker.kind,
            last_seen_ms: worker.last_seen_ms,
            steps: &worker.steps,
        }
    }
}
