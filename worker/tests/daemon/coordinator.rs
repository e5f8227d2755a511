//! The coordinator as the tests play it: keeps what it is told, gives what it is told to give.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use experiment_spec::{ids::ContentHash, run::StepSpec};
use orchestrator_proto::{
    PROTOCOL_VERSION,
    v1::{
        Artifact, Assignment, Chunk, GetRequest, HasRequest, HasResponse, Held, PollRequest, PollResponse, PutResponse,
        RegisterRequest, RegisterResponse, Report,
        attempt_event::Event,
        blobs_server::{Blobs, BlobsServer},
        fleet_server::{Fleet, FleetServer},
    },
};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use crate::worker::runtime;

/// How long anything may take here: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the coordinator knows and is about to say.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a test, each for itself")]
pub(crate) struct State {
    pub(crate) away: bool,
    /// Answers nothing, as if the network were cut.
    pub(crate) silent: bool,
    /// Answers no poll that carries reports, as if they took it for ever to write.
    pub(crate) silent_to_reports: bool,
    /// What workers are told; 0 = nothing.
    pub(crate) lease_ms: u32,
    pub(crate) refuse: String,
    /// Takes reports without acknowledging them.
    pub(crate) deaf: bool,
    pub(crate) register_again: bool,
    pub(crate) assignments: VecDeque<Assignment>,
    pub(crate) stop: Vec<Held>,
    pub(crate) acknowledged: u64,
    /// Each report once, in the order it first came.
    pub(crate) reports: Vec<Report>,
    /// Sequence numbers in the order they came, repetitions included.
    pub(crate) sequences: Vec<u64>,
    pub(crate) registrations: Vec<RegisterRequest>,
    pub(crate) last_poll: PollRequest,
    pub(crate) polls: u64,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// Number of reports that were there when content came.
    pub(crate) puts: Vec<usize>,
    /// What came of contents whose upload broke off.
    pub(crate) partial: BTreeMap<String, Vec<u8>>,
    /// Questions what is here.
    pub(crate) asked: usize,
    /// From where uploads began.
    pub(crate) puts_from: Vec<u64>,
    /// After so many chunks the next upload breaks off, the last entry first.
    pub(crate) puts_break_after: Vec<usize>,
    pub(crate) gets: Vec<String>,
    /// From where each of them began.
    pub(crate) offsets: Vec<u64>,
    /// After so many chunks the next one breaks off, the last entry first.
    pub(crate) gets_break_after: Vec<usize>,
    /// Changes a byte of the next one on its way.
    pub(crate) flips_a_byte: bool,
    /// Answers nothing about content.
    pub(crate) blobs_away: bool,
    /// Takes no checkpoint to its end.
    pub(crate) stalls_checkpoints: bool,
    pub(crate) stalled: usize,
}

/// A running server.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    state: Arc<Mutex<State>>,
    pub(crate) url: String,
    /// The runtime that serves, which ends with all its connections; none in the copies that answer requests.
    server: Arc<Mutex<Option<Runtime>>>,
}

impl Coordinator {
    /// Serves on a port of the system's choice.
    pub(crate) fn start() -> Self {
        let mut coordinator = Self { state: Arc::default(), url: String::new(), server: Arc::default() };
        coordinator.url = format!("http://{}", coordinator.serve("127.0.0.1:0"));
        coordinator
    }

    fn serve(&self, address: &str) -> SocketAddr {
        let runtime = runtime();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let answering = Self { server: Arc::default(), ..self.clone() };
        let server = tonic::transport::Server::builder()
            .add_service(FleetServer::new(answering.clone()))
            .add_service(BlobsServer::new(answering))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        *self.server.lock().unwrap() = Some(runtime);
        address
    }

    /// Nobody listens any more and every connection is cut, as if its process had been killed.
    pub(crate) fn stop(&self) {
        self.server.lock().unwrap().take().unwrap().shutdown_background();
    }

    /// Serves on the same port.
    pub(crate) fn serve_again(&self) {
        self.serve(self.url.strip_prefix("http://").unwrap());
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a step of two cores at the next poll.
    pub(crate) fn assign(&self, step_id: i64, attempt: u32, spec: &StepSpec) {
        self.assign_with(step_id, attempt, spec, |_| {});
    }

    pub(crate) fn assign_with(
        &self,
        step_id: i64,
        attempt: u32,
        spec: &StepSpec,
        change: impl FnOnce(&mut Assignment),
    ) {
        let mut assignment = Assignment {
            step_id,
            attempt,
            lease: lease_of(step_id, attempt),
            spec_json: spec.canonical_json(),
            fingerprint: spec.fingerprint().to_string(),
            cpus: 1,
            gpu_index: -1,
            ..Assignment::default()
        };
        change(&mut assignment);
        self.state().assignments.push_back(assignment);
    }

    /// Waits until there is something to see.
    pub(crate) fn wait<T>(&self, what: &str, see: impl Fn(&State) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(seen) = see(&self.state()) {
                return seen;
            }
            assert!(start.elapsed() < PATIENCE, "no {what} after {PATIENCE:?}: {:#?}", self.state());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The last word of an attempt.
    pub(crate) fn last_word(&self, step_id: i64, attempt: u32) -> Event {
        self.wait("last word", |state| state.events(step_id, attempt).find(|event| is_last(event)).cloned())
    }

    /// Process id of an attempt, once it has started.
    pub(crate) fn process_of(&self, step_id: i64, attempt: u32) -> u32 {
        self.wait("start", |state| {
            state.events(step_id, attempt).find_map(|event| match event {
                Event::Started(started) => Some(started.process_id),
                _ => None,
            })
        })
    }
}

/// Token of the lease on an attempt.
pub(crate) fn lease_of(step_id: i64, attempt: u32) -> u64 {
    u64::MAX - step_id.cast_unsigned() * 1_000 - u64::from(attempt)
}

/// An attempt as a worker names it.
pub(crate) fn held(step_id: i64, attempt: u32) -> Held {
    Held { step_id, attempt, lease: lease_of(step_id, attempt) }
}

pub(crate) fn is_last(event: &Event) -> bool {
    matches!(event, Event::Succeeded(_) | Event::Failed(_) | Event::Released(_))
}

impl State {
    pub(crate) fn events(&self, step_id: i64, attempt: u32) -> impl Iterator<Item = &Event> {
        self.reports
            .iter()
            .filter(move |report| report.step_id == step_id && report.attempt == attempt)
            .filter_map(|report| report.event.as_ref()?.event.as_ref())
    }

    /// Lines of the log of an attempt.
    pub(crate) fn log(&self, step_id: i64, attempt: u32) -> Vec<String> {
        self.events(step_id, attempt)
            .filter_map(|event| match event {
                Event::Log(line) => Some(line.text.clone()),
                _ => None,
            })
            .collect()
    }

    /// Metric points of a step by iteration; later ones replace earlier ones.
    pub(crate) fn points(&self, step_id: i64) -> BTreeMap<u64, f64> {
        let of_step = self.reports.iter().filter(|report| report.step_id == step_id);
        of_step
            .filter_map(|report| match report.event.as_ref()?.event.as_ref()? {
                Event::Metrics(metrics) => Some(&metrics.points),
                _ => None,
            })
            .flatten()
            .map(|point| (point.iteration, point.value))
            .collect()
    }
}

#[tonic::async_trait]
impl Fleet for Coordinator {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        let mut state = self.state();
        if state.away {
            return Err(Status::unavailable("away"));
        }
        assert_eq!(request.get_ref().protocol_version, PROTOCOL_VERSION);
        state.register_again = false;
        state.registrations.push(request.into_inner());
        Ok(Response::new(RegisterResponse {
            worker_id: 7,
            refused: state.refuse.clone(),
            poll_interval_ms: 50,
            acknowledged: state.acknowledged,
            drop: Vec::new(),
            lease_ms: state.lease_ms,
        }))
    }

    async fn poll(&self, request: Request<PollRequest>) -> Result<Response<PollResponse>, Status> {
        let has_reports = !request.get_ref().reports.is_empty();
        let silent = |state: &State| state.silent || (state.silent_to_reports && has_reports);
        while silent(&self.state()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut state = self.state();
        state.polls += 1;
        if state.away {
            return Err(Status::unavailable("away"));
        }
        if state.register_again {
            return Ok(Response::new(PollResponse { register_again: true, ..PollResponse::default() }));
        }
        let request = request.into_inner();
        assert_eq!(request.worker_id, 7);
        for report in &request.reports {
            assert_eq!(report.lease, lease_of(report.step_id, report.attempt), "a report repeats its lease");
            state.sequences.push(report.sequence);
            if state.reports.iter().all(|known| known.sequence != report.sequence) {
                state.reports.push(report.clone());
            }
        }
        if let (false, Some(last)) = (state.deaf, request.reports.last()) {
            state.acknowledged = state.acknowledged.max(last.sequence);
        }
        state.last_poll = request;
        let assignments = state.assignments.drain(..).collect();
        let stop = std::mem::take(&mut state.stop);
        Ok(Response::new(PollResponse { acknowledged: state.acknowledged, assignments, stop, register_again: false }))
    }
}

#[tonic::async_trait]
impl Blobs for Coordinator {
    type GetStream = tokio_stream::Iter<std::vec::IntoIter<Result<Chunk, Status>>>;

    async fn has(&self, request: Request<HasRequest>) -> Result<Response<HasResponse>, Status> {
        let mut state = self.state();
        state.asked += 1;
        if state.blobs_away {
            return Err(Status::unavailable("away"));
        }
        let hashes = request.into_inner().hashes;
        let present = hashes.iter().map(|hash| state.blobs.contains_key(hash)).collect();
        let partial_bytes = hashes.iter().map(|hash| state.partial.get(hash).map_or(0, Vec::len) as u64).collect();
        Ok(Response::new(HasResponse { present, partial_bytes }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let mut state = self.state();
        let GetRequest { hash, mut offset } = request.into_inner();
        state.gets.push(hash.clone());
        state.offsets.push(offset);
        let content = state.blobs.get(&hash).ok_or_else(|| Status::not_found("no such content"))?;
        let bytes_total = content.len() as u64;
        let from = usize::try_from(offset).unwrap();
        let mut chunks: Vec<_> = content[from..]
            .chunks(1000)
            .map(|data| {
                let chunk = Chunk { hash: hash.clone(), bytes_total, offset, data: data.to_vec(), checkpoint: false };
                offset += data.len() as u64;
                Ok(chunk)
            })
            .collect();
        if let Some(breaks_after) = state.gets_break_after.pop() {
            chunks.truncate(breaks_after);
            chunks.push(Err(Status::unavailable("the network is cut")));
        }
        if let Some(Ok(chunk)) = chunks.first_mut().filter(|_| std::mem::take(&mut state.flips_a_byte)) {
            chunk.data[0] ^= 1;
        }
        Ok(Response::new(tokio_stream::iter(chunks)))
    }

    async fn put(&self, request: Request<Streaming<Chunk>>) -> Result<Response<PutResponse>, Status> {
        let mut chunks = request.into_inner();
        let (mut hash, mut bytes_total, mut content) = (String::new(), 0, Vec::new());
        let mut breaks_after = self.state().puts_break_after.pop();
        while let Some(chunk) = chunks.message().await? {
            if chunk.checkpoint && self.state().stalls_checkpoints {
                self.state().stalled += 1;
                std::future::pending::<()>().await;
            }
            if hash.is_empty() {
                (hash, bytes_total) = (chunk.hash, chunk.bytes_total);
                self.state().puts_from.push(chunk.offset);
                content = self.state().partial.remove(&hash).filter(|_| chunk.offset > 0).unwrap_or_default();
            }
            if breaks_after == Some(0) {
                self.state().partial.insert(hash, content);
                return Err(Status::unavailable("the network is cut"));
            }
            breaks_after = breaks_after.map(|chunks| chunks - 1);
            assert_eq!(chunk.offset, content.len() as u64);
            content.extend(chunk.data);
        }
        assert_eq!(bytes_total, content.len() as u64);
        if hash != ContentHash::of(&content).to_string() {
            return Err(Status::data_loss("it is something else"));
        }
        let mut state = self.state();
        let reports = state.reports.iter().filter(|report| has_artifacts(report)).count();
        state.puts.push(reports);
        state.blobs.insert(hash, content);
        Ok(Response::new(PutResponse { already_present: false }))
    }
}

fn has_artifacts(report: &Report) -> bool {
    matches!(report.event.as_ref().and_then(|event| event.event.as_ref()), Some(Event::Succeeded(s)) if !s.artifacts.is_empty())
}

/// An artifact as an assignment names it.
pub(crate) fn artifact(name: &str, content: &[u8]) -> Artifact {
    Artifact {
        name: name.into(),
        hash: ContentHash::of(content).to_string(),
        bytes: content.len() as u64,
        ..Artifact::default()
    }
}
