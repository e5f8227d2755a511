//! What workers call.

use std::sync::Arc;

use experiment_spec::{
    ids::WorkerId,
    spec::{LABEL, is_label, limits::MAX_LABELS},
};
use orchestrator_proto::{PROTOCOL_VERSION, convert, v1};
use tonic::{Request, Response, Status};

use super::{encode, reports};
use crate::{
    clock::{Clock as _, SystemClock},
    coordinator::Shared,
    scheduler::place::Free,
    service::handle::{Assignment, Command, Poll, Register},
    store::{snapshot::Gpu, workers::Registration},
};

/// Longest name, host, kind or version of a worker, in bytes.
const MAX_NAME_BYTES: usize = 200;
/// Most GPUs of a worker.
const MAX_GPUS: usize = 64;
/// Most attempts that a worker may hold.
const MAX_HELD: usize = 10_000;
/// Most reports in one poll.
const MAX_REPORTS: usize = 1_000;

/// The service `Fleet`.
#[derive(Debug)]
pub(crate) struct Fleet(pub(crate) Shared);

#[tonic::async_trait]
impl v1::fleet_server::Fleet for Fleet {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        let request = request.into_inner();
        if let Some(refused) = self.refusal(&request) {
            return Ok(Response::new(v1::RegisterResponse { refused, ..Default::default() }));
        }
        limit("held", request.held.len(), MAX_HELD)?;
        let register = Register { worker: registration(&request)?, held: convert::held(&request.held) };
        let registered = self.0.handle.ask(|reply| Command::Register(Box::new(register), reply)).await?;
        Ok(Response::new(v1::RegisterResponse {
            worker_id: registered.id.0,
            refused: String::new(),
            drop: registered.drop.into_iter().map(v1::Held::from).collect(),
            poll_interval_ms: u32::try_from(self.0.config.poll_interval.as_millis()).unwrap_or(u32::MAX),
            acknowledged: registered.last_sequence,
            lease_ms: u32::try_from(self.0.config.lease.as_millis()).unwrap_or(u32::MAX),
        }))
    }

    async fn poll(&self, request: Request<v1::PollRequest>) -> Result<Response<v1::PollResponse>, Status> {
        let request = request.into_inner();
        limit("reports", request.reports.len(), MAX_REPORTS)?;
        limit("held", request.held.len(), MAX_HELD)?;
        limit("gpus_free", request.gpus_free.len(), MAX_GPUS)?;
        let reports = request.reports.into_iter().map(reports::decode).collect();
        let poll = Poll {
            worker: WorkerId(request.worker_id),
            held: convert::held(&request.held),
            free: Free {
                cpus: request.cpus_free,
                gpus: request.gpus_free.iter().map(|gpu| (gpu.index, encode::milli(gpu.share))).collect(),
            },
            draining: request.draining,
            halted: reports::cut(request.halted, MAX_NAME_BYTES * 5),
            reports: reports::only_with_content(reports, &self.0.contents, SystemClock.now_ms()).await,
        };
        let commands_allowed = self.0.config.commands_allowed();
        let polled = self.0.handle.ask(|reply| Command::Poll(Box::new(poll), reply)).await?;
        Ok(Response::new(v1::PollResponse {
            acknowledged: polled.acknowledged,
            assignments: self.with_data(polled.assignments, commands_allowed).await,
            stop: polled.stop.into_iter().map(v1::Held::from).collect(),
            register_again: polled.register_again,
        }))
    }
}

impl Fleet {
    /// Assignments, each with the files of the data set that it reads.
    async fn with_data(&self, assignments: Vec<Assignment>, commands_allowed: bool) -> Vec<v1::Assignment> {
        if assignments.is_empty() {
            return Vec::new();
        }
        let data_files = Arc::clone(&self.0.data_files);
        // The first time files are hashed, which takes as long as reading them.
        let encode = move |it: Assignment| {
            let files = data_files.of(&it);
            encode::assignment(it, files, commands_allowed)
        };
        let encoded = tokio::task::spawn_blocking(|| assignments.into_iter().map(encode).collect()).await;
        // Lost in a panic: the worker does not say that it holds them, and is given them again.
        encoded.unwrap_or_default()
    }

    /// Why such a worker cannot work with this coordinator.
    fn refusal(&self, request: &v1::RegisterRequest) -> Option<String> {
        let ours = &self.0.config.program_version;
        let theirs: String = request.program_version.chars().take(MAX_NAME_BYTES).collect();
        if request.protocol_version == PROTOCOL_VERSION {
            return None;
        }
        Some(format!(
            "worker {theirs} speaks protocol {}, coordinator {ours} speaks protocol {PROTOCOL_VERSION}; \
             install the same version on both",
            request.protocol_version
        ))
    }
}

fn registration(request: &v1::RegisterRequest) -> Result<Registration, Status> {
    let named = [
        ("name", &request.name),
        ("host", &request.host),
        ("kind", &request.kind),
        ("program_version", &request.program_version),
    ];
    for (field, text) in named {
        limit(field, text.len(), MAX_NAME_BYTES)?;
    }
    if request.name.is_empty() {
        return Err(Status::invalid_argument("name: missing; a worker needs a name of its own"));
    }
    if request.cpus == 0 {
        return Err(Status::invalid_argument("cpus: a worker has at least one"));
    }
    limit("gpus", request.gpus.len(), MAX_GPUS)?;
    limit("labels", request.labels.len(), MAX_LABELS)?;
    if request.labels.iter().any(|label| !is_label(label)) {
        return Err(Status::invalid_argument(format!("labels: expected {LABEL}")));
    }
    let gpus: Vec<Gpu> = request
        .gpus
        .iter()
        .map(|gpu| Gpu {
            index: gpu.index,
            model: gpu.model.chars().take(MAX_NAME_BYTES).collect(),
            memory_bytes: gpu.memory_bytes,
        })
        .collect();
    Ok(Registration {
        name: request.name.clone(),
        host: request.host.clone(),
        cpus: request.cpus,
        gpus_json: serde_json::to_string(&gpus).expect("a list of GPUs is plain data that JSON can say"),
        memory_bytes: request.memory_bytes,
        kind: request.kind.clone(),
        program_version: request.program_version.clone(),
        labels: request.labels.iter().cloned().collect(),
    })
}

fn limit(field: &str, found: usize, most: usize) -> Result<(), Status> {
    if found <= most {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("{field}: {found}, at most {most} are taken")))
}
