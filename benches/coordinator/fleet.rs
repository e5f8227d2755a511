//! Workers that compute nothing: they take what they are given and report what they are told to.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use experiment_spec::{
    ids::{AttemptKey, ContentHash},
    scores::{Normalisation, Score, Scores, Task},
};
use orchestrator_proto::{
    MAX_MESSAGE_BYTES, PROTOCOL_VERSION,
    v1::{
        Artifact, Assignment, AttemptEvent, Chunk, DrainWorkerRequest, Held, MetricPoint, Metrics, PollRequest,
        RegisterRequest, Report, Started, Succeeded, attempt_event::Event, blobs_client::BlobsClient,
        fleet_client::FleetClient, submissions_client::SubmissionsClient,
    },
};
use tonic::transport::Channel;

use crate::server::connect;

/// A worker as the coordinator sees it.
pub(crate) struct Worker {
    client: FleetClient<Channel>,
    id: i64,
    cpus: u32,
    sequence: u64,
    held: Vec<Held>,
    pub(crate) outbox: Vec<Report>,
}

impl Worker {
    /// Registers with so many slots, over a connection of its own.
    pub(crate) async fn join(url: &str, name: &str, cpus: u32) -> Self {
        Self::join_over(connect(url).await, name, cpus).await
    }

    /// Registers with so many slots.
    pub(crate) async fn join_over(channel: Channel, name: &str, cpus: u32) -> Self {
        let mut client = FleetClient::new(channel)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let request = RegisterRequest {
            protocol_version: PROTOCOL_VERSION,
            program_version: "bench".to_owned(),
            name: name.to_owned(),
            host: "here".to_owned(),
            cpus,
            memory_bytes: 64 << 30,
            kind: "cpu avx2 bench".to_owned(),
            ..Default::default()
        };
        let registered = client.register(request).await.expect("it is registered").into_inner();
        assert_eq!(registered.refused, "");
        Self { client, id: registered.worker_id, cpus, sequence: 0, held: Vec::new(), outbox: Vec::new() }
    }

    /// Queues a report about what it was given.
    pub(crate) fn report(&mut self, of: &Assignment, event: Event) {
        self.sequence += 1;
        if matches!(event, Event::Succeeded(_)) {
            self.held.retain(|held| held.step_id != of.step_id);
        }
        self.outbox.push(Report {
            sequence: self.sequence,
            step_id: of.step_id,
            attempt: of.attempt,
            at_ms: 1_700_000_000_000,
            event: Some(AttemptEvent { event: Some(event) }),
            lease: of.lease,
        });
    }

    /// Reports and takes what it is given.
    pub(crate) async fn poll(&mut self) -> Vec<Assignment> {
        let cpus_free = self.cpus - u32::try_from(self.held.len()).expect("no more than its cpus");
        self.poll_with(cpus_free).await
    }

    /// Reports and takes nothing.
    pub(crate) async fn report_only(&mut self) {
        assert_eq!(self.poll_with(0).await.len(), 0, "it has no room");
    }

    async fn poll_with(&mut self, cpus_free: u32) -> Vec<Assignment> {
        let request = PollRequest {
            worker_id: self.id,
            reports: std::mem::take(&mut self.outbox),
            cpus_free,
            held: self.held.clone(),
            ..Default::default()
        };
        let response = self.client.poll(request).await.expect("the poll is answered").into_inner();
        assert_eq!(response.acknowledged, self.sequence, "what is reported is durable");
        self.held.extend(response.assignments.iter().map(|of| Held::from(AttemptKey::from(of))));
        response.assignments
    }
}

/// Makes the one extraction that everything waits for; its features are eight bytes.
pub(crate) async fn extract(url: &str) {
    let content = b"features".to_vec();
    let hash = ContentHash::of(&content).to_string();
    let bytes = content.len() as u64;
    let chunk = Chunk { hash: hash.clone(), bytes_total: bytes, offset: 0, data: content, checkpoint: false };
    let mut blobs = BlobsClient::new(connect(url).await);
    blobs.put(tokio_stream::iter([chunk])).await.expect("the content is taken");
    let mut worker = Worker::join(url, "extractor", 1).await;
    let given = worker.poll().await.pop().expect("the extraction is given out first");
    assert!(given.spec_json.starts_with("{\"extraction\""));
    worker.report(&given, started());
    let artifacts = vec![Artifact { name: "features".to_owned(), hash, bytes, ..Artifact::default() }];
    let done = Succeeded { scores_json: String::new(), artifacts, seconds: 1.0 };
    worker.report(&given, Event::Succeeded(done));
    // Drained, so that it is given none of the runs, and is nobody else to work when others are failed on.
    let mut submissions = SubmissionsClient::new(connect(url).await);
    let drain = DrainWorkerRequest { worker: "extractor".to_owned(), undo: false };
    submissions.drain_worker(drain).await.expect("it is drained");
    assert_eq!(worker.poll().await.len(), 0);
}

/// So many workers at once, each until `work` has nothing left to do.
pub(crate) async fn at_once<F>(workers: Vec<Worker>, work: impl Fn(Worker, Arc<AtomicUsize>) -> F) -> usize
where
    F: Future<Output = ()> + Send + 'static,
{
    let done = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(work(worker, Arc::clone(&done)))).collect();
    for task in tasks {
        task.await.expect("the worker does not panic");
    }
    done.load(Ordering::Relaxed)
}

pub(crate) fn started() -> Event {
    Event::Started(Started {
        from_iteration: 0,
        kind: "cpu avx2 bench".to_owned(),
        process_id: 1,
        ..Started::default()
    })
}

/// Points of one quantity from an iteration on.
pub(crate) fn points(name: &str, from: u64, count: u64) -> Event {
    let point = |iteration: u64| {
        #[expect(clippy::cast_precision_loss, reason = "iterations are few")]
        let value = (iteration as f64).sin();
        MetricPoint { name: name.to_owned(), iteration, value }
    };
    Event::Metrics(Metrics { points: (from..from + count).map(point).collect() })
}

/// Text of scores: every task and normalisation, with so many categories and levels of recall.
pub(crate) fn scores_json(categories: usize, levels: usize) -> String {
    let every = Normalisation::ALL.into_iter().flat_map(|normalisation| Task::ALL.map(|task| (task, normalisation)));
    let scores = every.map(|(task, normalisation)| Score {
        task,
        normalisation,
        map: 1.0 / 3.0,
        per_category: vec![Some(1.0 / 7.0); categories],
        precision_recall: vec![1.0 / 9.0; levels],
        tied_share: 0.0,
    });
    let scores = Scores {
        scores: scores.collect(),
        kind: "cpu avx2 bench".to_owned(),
        selected_iteration: 100,
        facts: std::collections::BTreeMap::new(),
        tuning: None,
        notes: Vec::new(),
    };
    serde_json::to_string(&scores).expect("scores are plain data")
}
