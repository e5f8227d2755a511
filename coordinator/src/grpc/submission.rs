//! What users call.

use std::{collections::HashSet, sync::Arc};

use experiment_spec::{
    ids::{StepId, SubmissionId},
    run::{FailureKind, State},
};
use orchestrator_proto::{PROTOCOL_VERSION, v1};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{encode, logs, streams::Messages, submit, thinning};
use crate::{
    coordinator::Shared,
    service::{
        handle::{Change, Chosen, Command, Retry},
        refusal::Refusal,
    },
    store::{attempts, estimates, listing, metrics, records, scores, steps, submissions, workers},
};

/// Log streams at a time, over all clients.
const MAX_FOLLOWERS: usize = 256;
/// Submissions in a list when nothing is said, and at most.
const SUBMISSIONS: (u32, u32) = (100, 1_000);

/// The service `Submissions`.
#[derive(Debug)]
pub(crate) struct Submissions {
    shared: Shared,
    followers: Arc<Semaphore>,
}

impl Submissions {
    /// The service over a running coordinator.
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared, followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)) }
    }

    async fn resolve(&self, name_or_id: &str) -> Result<SubmissionId, Refusal> {
        let found = submissions::resolve(&self.shared.readers, name_or_id).await?;
        found.ok_or_else(|| Refusal::no_submission(name_or_id))
    }

    async fn resolve_if_named(&self, name_or_id: &str) -> Result<Option<SubmissionId>, Refusal> {
        if name_or_id.is_empty() { Ok(None) } else { self.resolve(name_or_id).await.map(Some) }
    }

    async fn step(&self, id: i64) -> Result<listing::StepRow, Refusal> {
        listing::one(&self.shared.readers, StepId(id)).await?.ok_or_else(|| Refusal::no_step(id))
    }

    /// Seconds until a submission is done: what remains by like steps and by present rates, over the
    /// steps that are at work now. Not known while a kind of step has never been seen to end.
    async fn seconds_left(&self, id: SubmissionId) -> Result<Option<f64>, Refusal> {
        let remaining = estimates::remaining(&self.shared.readers, id).await?;
        let alike: HashSet<_> =
            remaining.iter().map(|step| (step.kind.clone(), step.method.clone(), step.data_set.clone())).collect();
        let means = estimates::mean_seconds(&self.shared.readers, alike).await?;
        let (mut total, mut at_work) = (0.0, 0_u32);
        for step in remaining {
            at_work += u32::from(step.state != State::Queued.name());
            let rated = self.shared.live.progress(StepId(step.id)).map(|progress| progress.seconds_left);
            let mean = means.get(&(step.kind, step.method, step.data_set)).copied();
            match rated.filter(|seconds| *seconds > 0.0).or(mean) {
                Some(seconds) => total += seconds,
                None => return Ok(None),
            }
        }
        Ok(Some(total / f64::from(at_work.max(1))))
    }
}

#[tonic::async_trait]
impl v1::submissions_server::Submissions for Submissions {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        Ok(Response::new(submit::submit(&self.shared, request.into_inner()).await?))
    }

    async fn list_submissions(
        &self,
        request: Request<v1::ListSubmissionsRequest>,
    ) -> Result<Response<v1::ListSubmissionsResponse>, Status> {
        let request = request.into_inner();
        let only = self.resolve_if_named(&request.name_or_id).await?;
        let limit = if request.limit == 0 { SUBMISSIONS.0 } else { request.limit.min(SUBMISSIONS.1) };
        let rows = submissions::list(&self.shared.readers, only, limit).await.map_err(Refusal::from)?;
        let mut summaries = Vec::with_capacity(rows.len());
        for row in rows {
            let id = SubmissionId(row.id);
            let is_done = row.queued + row.assigned + row.running + row.extractions_pending == 0;
            let left = if is_done { Some(0.0) } else { self.seconds_left(id).await? };
            let yaml = match only {
                Some(_) => submissions::text(&self.shared.readers, id).await.map_err(Refusal::from)?.yaml,
                None => String::new(),
            };
            summaries.push(v1::SubmissionSummary {
                id: row.id,
                name: row.name,
                file_name: row.file_name,
                created_at_ms: row.created_at_ms,
                queued: row.queued,
                assigned: row.assigned,
                running: row.running,
                succeeded: row.succeeded,
                failed: row.failed,
                cancelled: row.cancelled,
                extractions_pending: row.extractions_pending,
                yaml,
                seconds_left: left.unwrap_or(0.0),
                seconds_left_known: left.is_some(),
                paused: row.paused,
                priority: row.priority,
            });
        }
        Ok(Response::new(v1::ListSubmissionsResponse { submissions: summaries }))
    }

    async fn list_steps(
        &self,
        request: Request<v1::ListStepsRequest>,
    ) -> Result<Response<v1::ListStepsResponse>, Status> {
        let request = request.into_inner();
        if !request.state.is_empty() && State::from_name(&request.state).is_none() {
            return Err(unknown("state", &request.state, &State::ALL.map(State::name)));
        }
        if !["", "run", "extraction"].contains(&request.kind.as_str()) {
            return Err(unknown("kind", &request.kind, &["run", "extraction"]));
        }
        let given = |text: String| (!text.is_empty()).then_some(text);
        let most = listing::MAX_STEPS;
        let filter = listing::Filter {
            submission: self.resolve_if_named(&request.submission).await?,
            method: given(request.method),
            data_set: given(request.data_set),
            state: given(request.state),
            seed: request.seed,
            kind: given(request.kind),
            limit: if request.limit == 0 { most } else { request.limit.min(most) },
        };
        let rows = listing::list(&self.shared.readers, &filter).await.map_err(Refusal::from)?;
        let steps = rows.into_iter().map(|row| encode::step(row, &self.shared.live)).collect();
        Ok(Response::new(v1::ListStepsResponse { steps }))
    }

    async fn show_step(&self, request: Request<v1::ShowStepRequest>) -> Result<Response<v1::ShowStepResponse>, Status> {
        let id = StepId(request.into_inner().id);
        let db = &self.shared.readers;
        let row = self.step(id.0).await?;
        let spec = listing::spec(db, id).await.map_err(Refusal::from)?;
        let attempts = attempts::list(db, id).await.map_err(Refusal::from)?;
        let history = attempts::list_history(db, id).await.map_err(Refusal::from)?;
        let scores_json = scores::scores_json(db, id).await.map_err(Refusal::from)?;
        let artifacts = scores::artifacts(db, id).await.map_err(Refusal::from)?;
        let submissions = listing::submissions(db, id).await.map_err(Refusal::from)?;
        let standing = self.shared.handle.ask(|reply| Command::Why(id, reply)).await?;
        Ok(Response::new(v1::ShowStepResponse {
            step: Some(encode::step(row, &self.shared.live)),
            spec_json: spec.spec_json,
            fingerprint: spec.fingerprint,
            attempts: attempts.into_iter().map(encode::attempt).collect::<Result<_, Refusal>>()?,
            history: history.into_iter().map(encode::history).collect(),
            scores_json: scores_json.unwrap_or_default(),
            artifacts: artifacts.into_iter().map(encode::artifact).collect(),
            submissions,
            standing,
        }))
    }

    type LogsStream = Messages<v1::LogLine>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let cut = request.extensions().get().cloned();
        let request = request.into_inner();
        self.step(request.id).await?;
        let permit = Arc::clone(&self.followers).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("{MAX_FOLLOWERS} log streams are open; close one and try again"))
        })?;
        Ok(Response::new(logs::stream(self.shared.clone(), request, cut, permit)))
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Result<Response<v1::CancelResponse>, Status> {
        let request = request.into_inner();
        let chosen = chosen(request.submission, request.steps)?;
        let cancelled = self.shared.handle.ask(|reply| Command::Cancel(chosen, reply)).await?;
        Ok(Response::new(v1::CancelResponse { cancelled }))
    }

    async fn retry(&self, request: Request<v1::RetryRequest>) -> Result<Response<v1::RetryResponse>, Status> {
        let request = request.into_inner();
        let kind = request.failure_kind;
        if !kind.is_empty() && FailureKind::from_name(&kind).is_none() {
            return Err(unknown("failure_kind", &kind, &FailureKind::ALL.map(FailureKind::name)));
        }
        let retry = Retry {
            chosen: chosen(request.submission, request.steps)?,
            failure_kind: (!kind.is_empty()).then_some(kind),
            cancelled_too: request.cancelled_too,
        };
        let queued = self.shared.handle.ask(|reply| Command::Retry(retry, reply)).await?;
        Ok(Response::new(v1::RetryResponse { queued }))
    }

    async fn steer(&self, request: Request<v1::SteerRequest>) -> Result<Response<v1::SteerResponse>, Status> {
        let request = request.into_inner();
        let change = match request.change {
            Some(v1::steer_request::Change::Paused(paused)) => Change::Paused(paused),
            Some(v1::steer_request::Change::Priority(priority)) => Change::Priority(submit::priority(priority)?),
            None => return Err(Status::invalid_argument("change: say `paused` or `priority`")),
        };
        let chosen = chosen(request.submission, request.steps)?;
        let steps = self.shared.handle.ask(|reply| Command::Steer(chosen, change, reply)).await?;
        Ok(Response::new(v1::SteerResponse { steps }))
    }

    async fn thin_metrics(
        &self,
        request: Request<v1::ThinMetricsRequest>,
    ) -> Result<Response<v1::ThinMetricsResponse>, Status> {
        let request = request.into_inner();
        let chosen = chosen(request.submission.clone(), request.steps.clone())?;
        let submission = self.resolve_if_named(&chosen.submission.unwrap_or_default()).await?;
        if let Some(missing) = steps::missing(&self.shared.readers, &chosen.steps).await.map_err(Refusal::from)? {
            return Err(Refusal::no_step(missing.0).into());
        }
        Ok(Response::new(thinning::thin(&self.shared, submission, &request).await?))
    }

    async fn get_records(
        &self,
        request: Request<v1::GetRecordsRequest>,
    ) -> Result<Response<v1::GetRecordsResponse>, Status> {
        let request = request.into_inner();
        let id = self.resolve(&request.submission).await?;
        let text = submissions::text(&self.shared.readers, id).await.map_err(Refusal::from)?;
        let page = records::page(&self.shared.readers, id, request.from).await;
        let (rows, next) = page.map_err(Refusal::from)?;
        Ok(Response::new(v1::GetRecordsResponse {
            submission_id: id.0,
            name: text.name,
            yaml: text.yaml,
            records: rows.into_iter().map(encode::record).collect::<Result<_, Refusal>>()?,
            created_at_ms: text.created_at_ms,
            next: next.unwrap_or(0),
            tables_json: text.tables_json,
        }))
    }

    async fn get_metrics(
        &self,
        request: Request<v1::GetMetricsRequest>,
    ) -> Result<Response<v1::GetMetricsResponse>, Status> {
        let request = request.into_inner();
        self.step(request.id).await?;
        let name = (!request.name.is_empty()).then_some(request.name.as_str());
        // Nothing said reads as 0: then also a point of iteration 0 is meant.
        let after = (request.after_iteration > 0).then_some(request.after_iteration);
        let rows = metrics::list(&self.shared.readers, StepId(request.id), name, after, metrics::MAX_POINTS).await;
        let points = rows.map_err(Refusal::from)?.into_iter().map(encode::metric).collect();
        Ok(Response::new(v1::GetMetricsResponse { points }))
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let rows = workers::all(&self.shared.readers).await.map_err(Refusal::from)?;
        let live = self.shared.live.workers();
        let summaries: Result<_, Refusal> = rows.into_iter().map(|row| encode::worker(row, &live)).collect();
        let halted = self.shared.live.halted().unwrap_or_default();
        Ok(Response::new(v1::ListWorkersResponse { workers: summaries?, halted }))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        let v1::DrainWorkerRequest { worker, undo } = request.into_inner();
        if worker.is_empty() {
            return Err(Status::invalid_argument("worker: missing"));
        }
        let (name, steps) = self.shared.handle.ask(|reply| Command::Drain { worker, undo, reply }).await?;
        let steps = steps.into_iter().map(|step| step.0).collect();
        Ok(Response::new(v1::DrainWorkerResponse { name, steps }))
    }

    async fn get_catalog(&self, _: Request<v1::GetCatalogRequest>) -> Result<Response<v1::GetCatalogResponse>, Status> {
        let config = &self.shared.config;
        Ok(Response::new(v1::GetCatalogResponse {
            catalog_json: serde_json::to_string(&config.catalog).expect("a catalog is plain data that JSON can say"),
            version: config.program_version.clone(),
            protocol_version: PROTOCOL_VERSION,
        }))
    }
}

/// What a user chose; nothing at all is a mistake, not everything.
fn chosen(submission: String, steps: Vec<i64>) -> Result<Chosen, Status> {
    if submission.is_empty() && steps.is_empty() {
        return Err(Status::invalid_argument("neither a submission nor runs are named"));
    }
    let submission = (!submission.is_empty()).then_some(submission);
    Ok(Chosen { submission, steps: steps.into_iter().map(StepId).collect() })
}

fn unknown(field: &str, found: &str, known: &[&str]) -> Status {
    let found: String = found.chars().take(80).collect();
    Status::invalid_argument(format!("{field}: `{found}` is not one of {}", known.join(", ")))
}
