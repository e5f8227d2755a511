//! A coordinator on port 0 with a toy catalog, and a worker that only speaks.

use std::{collections::BTreeMap, fs::File, path::Path, time::Duration};

use experiment_spec::{
    catalog::{
        Catalog, DataSetEntry, EncoderEntry, EncoderNetworks, MethodEntry, Parameter, ParameterKind, ParameterValue,
        Preset, SplitEntry,
    },
    ids::ContentHash,
    run::SplitName,
    scores::{Normalisation, Score, Scores, Task},
};
use orchestrator_coordinator::{Config, Coordinator, serve};
use orchestrator_proto::{
    PROTOCOL_VERSION,
    content::ContentStore,
    link::{Bearer, Link},
    records,
    v1::{
        self, Assignment, AttemptEvent, Held, PollRequest, PollResponse, RegisterRequest, RegisterResponse, Report,
        SubmitRequest, attempt_event::Event, blobs_client::BlobsClient, fleet_client::FleetClient,
        submissions_client::SubmissionsClient,
    },
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::transport::Channel;

/// Features of every extraction.
const FEATURES: &[u8] = b"features";

pub(crate) const YAML: &str =
    "name: toy\ndatasets: [points]\nseeds: 2\nmethods:\n  - linear\n  - { method: linear, label: Steep, slope: 4 }\n";

/// One method, one data set, one encoder.
pub(crate) fn catalog() -> Catalog {
    Catalog {
        methods: vec![MethodEntry {
            key: "linear".to_owned(),
            label: "Linear".to_owned(),
            revision: 1,
            objective: "none".to_owned(),
            reference: "none".to_owned(),
            parameters: vec![Parameter {
                key: "slope".to_owned(),
                kind: ParameterKind::Integer { min: 1, max: 9 },
                default: ParameterValue::Integer(1),
                candidates: Vec::new(),
                asks_for_patches: false,
                help: "Slope.".to_owned(),
            }],
            presets: vec![Preset { name: "paper".to_owned(), values: BTreeMap::new() }],
            departures: Vec::new(),
        }],
        external: None,
        data_sets: vec![DataSetEntry {
            key: "points".to_owned(),
            version: "1".to_owned(),
            description: "Points.".to_owned(),
            classes: vec!["a".to_owned(), "b".to_owned()],
            splits: vec![SplitEntry { name: SplitName::Official, train: 8, validation: 2, test: 4 }],
            dims: None,
            default_encoder: "identity".to_owned(),
            encoders: vec!["identity".to_owned()],
        }],
        absent: Vec::new(),
        encoders: vec![EncoderEntry {
            key: "identity".to_owned(),
            revision: 1,
            description: "Copies.".to_owned(),
            networks: Some(EncoderNetworks { default_epochs: 1, image_dims: 2, text_dims: 2, patches: false }),
        }],
        protocol: 1,
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) coordinator: Coordinator,
    pub(crate) submissions: SubmissionsClient<Link>,
    pub(crate) fleet: FleetClient<Link>,
    pub(crate) blobs: BlobsClient<Link>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

pub(crate) async fn start(home: &Path) -> Server {
    start_with(Config::new(home, catalog(), "0.1.0-test")).await
}

pub(crate) async fn start_with(config: Config) -> Server {
    let blobs = config.home.join("blobs");
    let coordinator = Coordinator::open(config).await.unwrap();
    // What extractions of played workers leave.
    ContentStore::open(blobs).unwrap().put_bytes(FEATURES).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let routes = coordinator.routes();
    let serving = tokio::spawn(serve(listener, routes, async { drop(stopped.await) }));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let channel = Bearer::default().over(channel);
    Server {
        address,
        coordinator,
        submissions: SubmissionsClient::new(channel.clone()),
        fleet: FleetClient::new(channel.clone()),
        blobs: BlobsClient::new(channel),
        stop,
        serving,
    }
}

impl Server {
    /// Stops in good order.
    pub(crate) async fn shutdown(self) {
        let Server { coordinator, submissions, fleet, blobs, stop, serving, .. } = self;
        drop((submissions, fleet, blobs));
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
        coordinator.shutdown().await.unwrap();
    }

    /// Stops as if it had been killed: nothing is closed in good order. Returns when nobody has the folder.
    pub(crate) async fn kill(self, home: &Path) {
        self.serving.abort();
        drop(self.serving.await);
        drop(self.coordinator);
        let lock = File::open(home.join("orchestrator.lock")).unwrap();
        while lock.try_lock().is_err() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn submit(&mut self, yaml: &str) -> v1::SubmitResponse {
        self.submit_with(SubmitRequest { yaml: yaml.to_owned(), ..Default::default() }).await
    }

    pub(crate) async fn submit_with(&mut self, request: SubmitRequest) -> v1::SubmitResponse {
        self.submissions.submit(request).await.unwrap().into_inner()
    }

    pub(crate) async fn steps(&mut self) -> Vec<v1::StepSummary> {
        let mut steps = self.submissions.list_steps(v1::ListStepsRequest::default()).await.unwrap().into_inner().steps;
        steps.sort_by_key(|step| step.id);
        steps
    }

    /// States of all steps, by id.
    pub(crate) async fn states(&mut self) -> Vec<String> {
        self.steps().await.into_iter().map(|step| step.state).collect()
    }

    pub(crate) async fn show(&mut self, id: i64) -> v1::ShowStepResponse {
        self.submissions.show_step(v1::ShowStepRequest { id }).await.unwrap().into_inner()
    }

    pub(crate) async fn history(&mut self, id: i64) -> Vec<String> {
        self.show(id).await.history.into_iter().map(|line| line.sentence).collect()
    }

    pub(crate) async fn records(&mut self, submission: &str) -> Vec<v1::Record> {
        self.fetch(submission).await.records
    }

    pub(crate) async fn fetch(&mut self, submission: &str) -> v1::GetRecordsResponse {
        records::fetch(&mut self.submissions, submission).await.unwrap()
    }

    pub(crate) async fn worker_state(&mut self, name: &str) -> String {
        let workers = self.submissions.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
        workers.into_iter().find(|worker| worker.name == name).unwrap().state
    }

    pub(crate) async fn metrics(&mut self, id: i64) -> Vec<(u64, f64)> {
        let request = v1::GetMetricsRequest { id, ..Default::default() };
        let points = self.submissions.get_metrics(request).await.unwrap().into_inner().points;
        points.into_iter().map(|point| (point.iteration, point.value)).collect()
    }
}

/// A worker that does no work.
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) cpus: u32,
    labels: Vec<String>,
    pub(crate) id: i64,
    pub(crate) sequence: u64,
    pub(crate) held: Vec<Held>,
    /// Tokens of the leases that it was ever given, by step and attempt.
    pub(crate) leases: BTreeMap<(i64, u32), u64>,
    pub(crate) outbox: Vec<Report>,
}

/// Rows of a submission, one with each of these slopes.
pub(crate) fn rows(slopes: std::ops::Range<u32>) -> String {
    let rows: Vec<_> = slopes.map(|n| format!("  - {{ method: linear, label: R{n}, slope: {n} }}\n")).collect();
    rows.concat()
}

/// One run of the toy method.
pub(crate) const ONE_RUN: &str = "name: one\ndatasets: [points]\nseeds: 1\nmethods: [linear]\n";

/// A server whose worker has done the extraction (1) and is at work on the run (2).
pub(crate) async fn at_work(home: &Path) -> (Server, Worker) {
    let mut server = start(home).await;
    server.submit(ONE_RUN).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    worker.poll(&mut server).await;
    worker.started(1, 1, 0);
    worker.succeed(1, 1, extracted());
    assert_eq!(worker.poll(&mut server).await.assignments[0].step_id, 2);
    worker.started(2, 1, 0);
    worker.poll(&mut server).await;
    (server, worker)
}

impl Worker {
    pub(crate) fn new(name: &str, cpus: u32) -> Self {
        let (held, outbox, labels) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.to_owned(), cpus, labels, id: 0, sequence: 0, held, leases: BTreeMap::new(), outbox }
    }

    pub(crate) async fn join(server: &mut Server, name: &str, cpus: u32) -> Self {
        let mut worker = Self::new(name, cpus);
        worker.register(server).await;
        worker
    }

    pub(crate) async fn join_labelled(server: &mut Server, name: &str, labels: &[&str]) -> Self {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut worker = Self { labels, ..Self::new(name, 1) };
        worker.register(server).await;
        worker
    }

    pub(crate) async fn register(&mut self, server: &mut Server) -> RegisterResponse {
        let request = RegisterRequest {
            protocol_version: PROTOCOL_VERSION,
            program_version: "0.1.0-test".to_owned(),
            name: self.name.clone(),
            host: "here".to_owned(),
            cpus: self.cpus,
            memory_bytes: 8 << 30,
            kind: "cpu".to_owned(),
            held: self.held.clone(),
            labels: self.labels.clone(),
            ..Default::default()
        };
        let response = server.fleet.register(request).await.unwrap().into_inner();
        assert_eq!(response.refused, "");
        self.id = response.worker_id;
        self.sequence = self.sequence.max(response.acknowledged);
        response
    }

    /// Puts a report into the outbox.
    pub(crate) fn report(&mut self, step_id: i64, attempt: u32, event: Event) {
        self.sequence += 1;
        let event = Some(AttemptEvent { event: Some(event) });
        let lease = self.leases.get(&(step_id, attempt)).copied().unwrap_or_default();
        self.outbox.push(Report { sequence: self.sequence, step_id, attempt, at_ms: 1, event, lease });
    }

    pub(crate) fn request(&self) -> PollRequest {
        PollRequest {
            worker_id: self.id,
            reports: self.outbox.clone(),
            cpus_free: self.cpus,
            gpus_free: Vec::new(),
            draining: false,
            held: self.held.clone(),
            halted: String::new(),
        }
    }

    /// Polls and takes the answer in: acknowledged reports leave the outbox, assignments are held.
    pub(crate) async fn poll(&mut self, server: &mut Server) -> PollResponse {
        let response = server.fleet.poll(self.request()).await.unwrap().into_inner();
        self.take_in(&response);
        response
    }

    /// Reports and asks for nothing.
    pub(crate) async fn report_only(&mut self, server: &mut Server) {
        let request = PollRequest { cpus_free: 0, ..self.request() };
        let response = server.fleet.poll(request).await.unwrap().into_inner();
        self.take_in(&response);
    }

    pub(crate) fn take_in(&mut self, response: &PollResponse) {
        self.outbox.retain(|report| report.sequence > response.acknowledged);
        for assignment in &response.assignments {
            let Assignment { step_id, attempt, lease, .. } = *assignment;
            self.leases.insert((step_id, attempt), lease);
            self.held.push(Held { step_id, attempt, lease });
        }
        self.held.retain(|held| !response.stop.contains(held));
    }

    pub(crate) fn started(&mut self, step: i64, attempt: u32, from_iteration: u64) {
        self.report(step, attempt, started(from_iteration));
    }

    /// Ends an attempt with a result.
    pub(crate) fn succeed(&mut self, step: i64, attempt: u32, event: Event) {
        self.report(step, attempt, event);
        self.held.retain(|held| (held.step_id, held.attempt) != (step, attempt));
    }

    /// Works on whatever it is given until nothing is left.
    pub(crate) async fn work(&mut self, server: &mut Server) -> usize {
        let mut done = 0;
        loop {
            let assignments = self.poll(server).await.assignments;
            if assignments.is_empty() && self.outbox.is_empty() {
                return done;
            }
            for assignment in assignments {
                let (step, attempt) = (assignment.step_id, assignment.attempt);
                self.started(step, attempt, 0);
                let is_run = assignment.spec_json.starts_with("{\"run\"");
                self.succeed(step, attempt, if is_run { scored(0.5) } else { extracted() });
                done += 1;
            }
        }
    }
}

pub(crate) fn started(from_iteration: u64) -> Event {
    Event::Started(v1::Started {
        from_iteration,
        kind: "cpu avx2 0.1.0".to_owned(),
        process_id: 1,
        ..v1::Started::default()
    })
}

/// A program of this revision, built by somebody who was at work on it.
pub(crate) fn code(revision: &str) -> v1::CodeVersion {
    let [version, revision, compiler] = ["0.1.0", revision, "rustc 1.95.0"].map(str::to_owned);
    v1::CodeVersion { version, revision, dirty: true, compiler }
}

pub(crate) fn metric(iteration: u64, value: f64) -> Event {
    Event::Metrics(v1::Metrics { points: vec![v1::MetricPoint { name: "loss".to_owned(), iteration, value }] })
}

pub(crate) fn failed(kind: &str) -> Event {
    Event::Failed(v1::Failed { failure_kind: kind.to_owned(), message: format!("it was {kind}") })
}

/// Result of an extraction.
pub(crate) fn extracted() -> Event {
    let hash = ContentHash::of(FEATURES).to_string();
    let artifacts = vec![v1::Artifact { name: "features".to_owned(), hash, bytes: 8, ..v1::Artifact::default() }];
    Event::Succeeded(v1::Succeeded { scores_json: String::new(), artifacts, seconds: 2.0 })
}

/// Text of scores with this MAP in every cell.
pub(crate) fn scores_json(map: f64) -> String {
    let scores = Normalisation::ALL
        .into_iter()
        .flat_map(|normalisation| Task::ALL.map(|task| (task, normalisation)))
        .map(|(task, normalisation)| Score {
            task,
            normalisation,
            map,
            per_category: vec![Some(map), None],
            precision_recall: vec![map; 3],
            tied_share: 0.0,
        })
        .collect();
    let scores = Scores {
        scores,
        kind: "cpu avx2 0.1.0".to_owned(),
        selected_iteration: 3,
        facts: BTreeMap::new(),
        tuning: None,
        notes: Vec::new(),
    };
    serde_json::to_string(&scores).unwrap()
}

/// Result of a run.
pub(crate) fn scored(map: f64) -> Event {
    Event::Succeeded(v1::Succeeded { scores_json: scores_json(map), artifacts: Vec::new(), seconds: 3.0 })
}

/// A configuration in which silence is noticed at once.
pub(crate) fn impatient(home: &Path) -> Config {
    Config { lease: Duration::from_millis(300), ..Config::new(home, catalog(), "0.1.0-test") }
}
