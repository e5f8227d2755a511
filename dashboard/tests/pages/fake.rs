//! A coordinator that answers from a value, and counts what it is asked.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::Router;
use experiment_spec::{
    catalog::{Catalog, Parameters},
    run::{ExtractionSpec, RunSpec, StepSpec},
    scores::{Normalisation, Score, Scores, Task},
};
use orchestrator_proto::v1::{
    self,
    submissions_server::{Submissions, SubmissionsServer},
};
use tonic::{Request, Response, Status, transport::Endpoint};

/// What it knows.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) submissions: Vec<v1::SubmissionSummary>,
    pub(crate) steps: Vec<v1::StepSummary>,
    pub(crate) workers: Vec<v1::WorkerSummary>,
    pub(crate) halted: String,
    /// In one page, or one a page.
    pub(crate) records: v1::GetRecordsResponse,
    pub(crate) pages: bool,
    /// Never answers when asked for records.
    pub(crate) stuck_records: bool,
    /// Never answers.
    pub(crate) stuck: bool,
    pub(crate) looks: AtomicUsize,
    pub(crate) record_calls: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Service(Arc<Fake>);

/// Fake and dashboard on one address, as the real ones are.
pub(crate) async fn serve(fake: Arc<Fake>) -> Router {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let channel = Endpoint::from_shared(url).unwrap().connect_lazy();
    let services = tonic::service::Routes::new(SubmissionsServer::new(Service(fake)));
    let app = services.prepare().into_axum_router().merge(orchestrator_dashboard::router(channel, false));
    let served = app.clone();
    tokio::spawn(async move { axum::serve(listener, served).await.unwrap() });
    app
}

/// Two submissions, the newer with a running and a failed run, an extraction, hostile texts and one score.
pub(crate) fn fake() -> Fake {
    let submission =
        |id, name: &str| v1::SubmissionSummary { id, name: name.to_owned(), created_at_ms: 1, ..Default::default() };
    Fake {
        submissions: vec![
            v1::SubmissionSummary {
                running: 1,
                succeeded: 1,
                failed: 1,
                seconds_left: 200.0,
                seconds_left_known: true,
                ..submission(2, "toy<script>")
            },
            v1::SubmissionSummary { paused: true, priority: -2, ..submission(1, "older") },
        ],
        steps: vec![
            v1::StepSummary { kind: "extraction".to_owned(), label: "small-cnn".to_owned(), ..step(1, "succeeded") },
            v1::StepSummary { bi_modal_average: Some(0.5), ..step(2, "succeeded") },
            v1::StepSummary {
                failure_kind: "nan".to_owned(),
                failure: "loss of <b>D_I</b>".to_owned(),
                ..step(3, "failed")
            },
            v1::StepSummary {
                label: "<script>alert(1)</script>".to_owned(),
                progress: Some(v1::Progress {
                    stage: "train".to_owned(),
                    iteration: 30,
                    iterations: 400,
                    iterations_per_second: 12.5,
                    loss: f64::NAN,
                    seconds_left: 29.6,
                }),
                ..step(4, "running")
            },
        ],
        workers: vec![v1::WorkerSummary {
            id: 9,
            name: "node-\"1\"".to_owned(),
            state: "put aside".to_owned(),
            aside_reason: "3 steps failed on it: <b>killed</b>".to_owned(),
            cpus: 4,
            cpus_used: 1,
            steps: vec![4],
            ..Default::default()
        }],
        halted: "the disk of <b>/srv</b> is full".to_owned(),
        records: v1::GetRecordsResponse {
            submission_id: 2,
            name: "toy<script>".to_owned(),
            records: vec![
                record("CM-GANs", "succeeded", Some(0.5)),
                record("<script>alert(1)</script>", "running", None),
            ],
            ..Default::default()
        },
        ..Fake::default()
    }
}

pub(crate) fn step(id: i64, state: &str) -> v1::StepSummary {
    v1::StepSummary {
        id,
        kind: "run".to_owned(),
        state: state.to_owned(),
        attempt: 1,
        label: format!("label-{id}"),
        data_set: "emoji".to_owned(),
        seed: 1,
        ..Default::default()
    }
}

pub(crate) fn record(label: &str, state: &str, map: Option<f64>) -> v1::Record {
    let features = ExtractionSpec {
        data_set: "emoji".to_owned(),
        split: experiment_spec::run::SplitName::Official,
        data_set_version: "1".to_owned(),
        encoder: "small-cnn".to_owned(),
        encoder_revision: 1,
        epochs: 1,
        seed: 1,
        patches: false,
    };
    let spec = RunSpec {
        method: "cm-gans".to_owned(),
        method_revision: 1,
        program: None,
        parameters: Parameters::new(),
        features,
        seed: 1,
        protocol: 1,
    };
    let score = |map| {
        let of = |task| Score {
            task,
            normalisation: Normalisation::None,
            map,
            per_category: vec![],
            precision_recall: vec![],
            tied_share: 0.0,
        };
        Scores {
            scores: Task::ALL.map(of).to_vec(),
            kind: "cpu".to_owned(),
            selected_iteration: 0,
            facts: [].into(),
            tuning: None,
            notes: vec![],
        }
    };
    v1::Record {
        data_set: "emoji".to_owned(),
        method: "cm-gans".to_owned(),
        label: label.to_owned(),
        seed: 1,
        state: state.to_owned(),
        scores_json: map.map(|map| serde_json::to_string(&score(map)).unwrap()).unwrap_or_default(),
        spec_json: StepSpec::Run(spec).canonical_json(),
        ..Default::default()
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn never<T>() -> Answer<T> {
    Err(Status::internal("a page has no business here"))
}

#[tonic::async_trait]
impl Submissions for Service {
    async fn list_submissions(
        &self,
        request: Request<v1::ListSubmissionsRequest>,
    ) -> Answer<v1::ListSubmissionsResponse> {
        if self.0.stuck {
            std::future::pending::<()>().await;
        }
        self.0.looks.fetch_add(1, Ordering::SeqCst);
        let name = request.into_inner().name_or_id;
        if name == "gone" {
            return Err(Status::not_found("no submission `gone`"));
        }
        Ok(Response::new(v1::ListSubmissionsResponse { submissions: self.0.submissions.clone() }))
    }

    async fn list_steps(&self, request: Request<v1::ListStepsRequest>) -> Answer<v1::ListStepsResponse> {
        let ask = request.into_inner();
        if ask.submission != "2" {
            return Ok(Response::new(v1::ListStepsResponse::default()));
        }
        let fits = |step: &&v1::StepSummary| ask.state.is_empty() || step.state == ask.state;
        let steps = self.0.steps.iter().filter(fits).take(ask.limit as usize).cloned().collect();
        Ok(Response::new(v1::ListStepsResponse { steps }))
    }

    async fn drain_worker(&self, _: Request<v1::DrainWorkerRequest>) -> Answer<v1::DrainWorkerResponse> {
        never()
    }

    async fn steer(&self, _: Request<v1::SteerRequest>) -> Answer<v1::SteerResponse> {
        never()
    }

    async fn thin_metrics(&self, _: Request<v1::ThinMetricsRequest>) -> Answer<v1::ThinMetricsResponse> {
        never()
    }

    async fn list_workers(&self, _: Request<v1::ListWorkersRequest>) -> Answer<v1::ListWorkersResponse> {
        Ok(Response::new(v1::ListWorkersResponse { workers: self.0.workers.clone(), halted: self.0.halted.clone() }))
    }

    async fn get_records(&self, request: Request<v1::GetRecordsRequest>) -> Answer<v1::GetRecordsResponse> {
        if self.0.stuck_records {
            std::future::pending::<()>().await;
        }
        self.0.record_calls.fetch_add(1, Ordering::SeqCst);
        let mut answer = self.0.records.clone();
        if self.0.pages {
            let from = request.into_inner().from;
            let next = from + 1;
            answer.next = if (next as usize) < answer.records.len() { next } else { 0 };
            answer.records = vec![answer.records.swap_remove(from as usize)];
        }
        Ok(Response::new(answer))
    }

    async fn get_catalog(&self, _: Request<v1::GetCatalogRequest>) -> Answer<v1::GetCatalogResponse> {
        let catalog_json = serde_json::to_string(&Catalog::default()).unwrap();
        Ok(Response::new(v1::GetCatalogResponse { catalog_json, ..Default::default() }))
    }

    type LogsStream = tokio_stream::Empty<Result<v1::LogLine, Status>>;

    async fn logs(&self, _: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        never()
    }

    async fn submit(&self, _: Request<v1::SubmitRequest>) -> Answer<v1::SubmitResponse> {
        never()
    }

    async fn show_step(&self, _: Request<v1::ShowStepRequest>) -> Answer<v1::ShowStepResponse> {
        never()
    }

    async fn cancel(&self, _: Request<v1::CancelRequest>) -> Answer<v1::CancelResponse> {
        never()
    }

    async fn retry(&self, _: Request<v1::RetryRequest>) -> Answer<v1::RetryResponse> {
        never()
    }

    async fn get_metrics(&self, _: Request<v1::GetMetricsRequest>) -> Answer<v1::GetMetricsResponse> {
        never()
    }
}
