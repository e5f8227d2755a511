//! A worker daemon from its folder to its last poll.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use orchestrator_proto::{
    PROTOCOL_VERSION,
    content::ContentStore,
    file_hashes::FileHashes,
    link::Link,
    room::Floor,
    v1::{RegisterRequest, attempt_event::Event},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    cache::{Cache, CacheError},
    checkpoints::{self, Checkpoints},
    config::Config,
    error::{WorkerError, at},
    events,
    identity::{self, FolderLock},
    lease::Lease,
    outbox::{self, Outbox},
    poll::Poll,
    shared::Shared,
    slots::Slots,
    step_folder::StepFolders,
};

/// How long the attempts of a daemon that has just gone may take to let go of the folder.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// How often the uploader looks for artifacts that nobody told it of.
const UPLOAD_TICK: Duration = Duration::from_millis(200);

/// Ways to the coordinator. They are two connections, so that no heartbeat waits behind contents on a slow network.
#[derive(Clone, Debug)]
pub struct Links {
    /// For heartbeats and reports.
    pub calls: Link,
    /// For contents.
    pub contents: Link,
}

/// Runs a worker daemon until `shutdown` is cancelled: then its attempts keep a checkpoint and end, their
/// steps are given back, and what the coordinator has not acknowledged stays in the folder. Dropping
/// the future ends the attempts at once.
///
/// # Errors
/// When the folder is held or cannot be used, a setting cannot be met, or the coordinator refuses this
/// worker. A coordinator that is away is no error.
pub async fn run(config: Config, links: Links, shutdown: CancellationToken) -> Result<(), WorkerError> {
    if let Some(level) = &config.simd {
        identity::force_simd(level).map_err(WorkerError::Setting)?;
    }
    if config.cpus == 0 {
        return Err(WorkerError::Setting("a worker needs at least one core to give".into()));
    }
    let (ended, ends) = mpsc::unbounded_channel();
    let state = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || State::open(&config))
    };
    let state = state.await.map_err(|died| WorkerError::State(io::Error::other(died)))??;
    let identity = RegisterRequest {
        protocol_version: PROTOCOL_VERSION,
        program_version: env!("CARGO_PKG_VERSION").into(),
        name: state.identity,
        host: identity::host(),
        cpus: config.cpus,
        gpus: config.gpus.clone(),
        memory_bytes: identity::memory_bytes(),
        kind: identity::kind(),
        labels: config.labels.clone(),
        held: Vec::new(),
    };
    let slots = Slots::new(config.cpus, config.gpus.clone());
    let floor =
        Floor { folder: config.folder.clone(), min_free_bytes: config.min_free_bytes, option: "worker --min-free" };
    let shared = Arc::new(Shared {
        cache: Cache::new(state.blobs, config.shared_blobs, config.cache_bytes, links.contents, config.mirror.clone()),
        own_files: FileHashes::default(),
        checkpoints: Checkpoints::new((!config.shared_blobs).then_some(config.send_checkpoints)),
        config,
        outbox: state.outbox,
        folders: state.folders,
        lease: Lease::new(),
        floor,
        runtime: tokio::runtime::Handle::current(),
        news: Notify::new(),
        ended,
        _lock: state.lock,
    });
    // Until they are sent, nobody else has them.
    for hash in shared.outbox.awaiting_upload().iter().filter_map(|artifact| artifact.hash.parse().ok()) {
        shared.cache.room.keep(hash);
    }
    let poll = Poll {
        shared: Arc::clone(&shared),
        client: Poll::client(links.calls),
        identity,
        slots,
        attempts: BTreeMap::new(),
        ended: ends,
        worker_id: 0,
        interval: Duration::from_secs(1),
        draining: false,
        was_away: false,
        batch: None,
    };
    tokio::select! {
        result = poll.run(shutdown) => result,
        error = upload(&shared) => Err(error),
        never = checkpoints::keep_sending(&shared) => match never {},
        never = Box::pin(shared.cache.keep_mirroring()) => match never {},
    }
}

/// What stands in the folder of a worker.
struct State {
    lock: FolderLock,
    identity: String,
    outbox: Outbox,
    blobs: ContentStore,
    folders: StepFolders,
}

impl State {
    fn open(config: &Config) -> Result<Self, WorkerError> {
        let patience = Instant::now() + LOCK_WAIT;
        let lock = loop {
            match identity::lock(&config.folder) {
                Err(WorkerError::Held { .. }) if Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                result => break result?,
            }
        };
        let limit_bytes = if config.outbox_bytes == 0 { outbox::LIMIT_BYTES } else { config.outbox_bytes };
        let open = || -> io::Result<Self> {
            let program = std::fs::metadata(&config.program).map_err(at(&config.program))?;
            if !program.is_file() {
                return Err(at(&config.program)(io::Error::other("is no program to start attempts from")));
            }
            Ok(Self {
                identity: identity::identity(&config.folder, config.name.as_deref())?,
                outbox: Outbox::open(&config.folder.join("outbox"), limit_bytes, !config.shared_blobs)?,
                blobs: ContentStore::open(&config.blobs)?,
                folders: StepFolders::open(config.folder.join("steps"), config.keep_steps)?,
                lock,
            })
        };
        open().map_err(WorkerError::State)
    }
}

/// Sends the artifacts of succeeded attempts; the outbox keeps their reports back until they are there.
async fn upload(shared: &Arc<Shared>) -> WorkerError {
    let mut backoff = Backoff::new();
    loop {
        tokio::time::sleep(UPLOAD_TICK).await;
        let waiting = match shared.on_disk(|shared| Ok(shared.outbox.waits_for_upload())).await {
            Ok(waiting) => waiting,
            Err(error) => return error,
        };
        let Some(report) = waiting else { continue };
        let sequence = report.sequence;
        let Some(Event::Succeeded(succeeded)) = report.event.and_then(|event| event.event) else { continue };
        let instead = match shared.cache.upload(&succeeded.artifacts).await {
            Ok(()) => None,
            Err(error @ CacheError::Damaged(_)) => {
                Some(events::failed(experiment_spec::run::FailureKind::Killed, format!("artifact lost: {error}")))
            }
            Err(error) => {
                tracing::warn!(%error, "artifacts cannot be sent, trying again");
                tokio::time::sleep(backoff.next_wait()).await;
                continue;
            }
        };
        backoff = Backoff::new();
        let noted = shared.on_disk(move |shared| {
            match instead {
                None => shared.outbox.uploaded(sequence),
                Some(instead) => shared.outbox.replace(sequence, instead),
            }
            let hashes = succeeded.artifacts.iter().filter_map(|artifact| artifact.hash.parse().ok());
            hashes.for_each(|hash| shared.cache.room.let_go(&hash));
            shared.cache.room.tidy(0);
            Ok(())
        });
        if let Err(error) = noted.await {
            return error;
        }
        shared.report_soon();
    }
}
