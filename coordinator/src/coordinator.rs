//! A running coordinator: folder, store, owner, services.

use std::{fs, future::Future, path::Path, sync::Arc};

use orchestrator_proto::{
    MAX_MESSAGE_BYTES,
    room::Floor,
    v1::{blobs_server::BlobsServer, fleet_server::FleetServer, submissions_server::SubmissionsServer},
};
use sqlx::SqlitePool;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{codec::CompressionEncoding, service::Routes, transport::Server};

use crate::{
    config::Config,
    contents::Contents,
    data_files::DataFiles,
    error::OpenError,
    file_system::network_file_system,
    grpc::{
        blobs::{Blobs, MAX_TRANSFERS},
        fleet::Fleet,
        submission::Submissions,
    },
    housekeeping::Housekeeper,
    liveness,
    lock::{FolderLock, LockError},
    service::{
        handle::{Command, Handle, MAX_COMMANDS},
        live::Live,
        owner::{Owner, Settings},
        refusal::Refusal,
    },
    store::{
        database::{self, DatabaseError},
        error::StoreError,
    },
    telemetry::Telemetry,
};

/// Name of the database in the state folder.
pub(crate) const DATABASE_FILE: &str = "orchestrator.db";

/// What the services share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) handle: Handle,
    pub(crate) readers: SqlitePool,
    pub(crate) live: Arc<Live>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) written: watch::Receiver<u64>,
    pub(crate) contents: Arc<Contents>,
    pub(crate) data_files: Arc<DataFiles>,
    pub(crate) transfers: Arc<Semaphore>,
}

/// A coordinator at work. Dropped without [`Coordinator::shutdown`] it stops too, losing nothing that
/// was acknowledged.
#[derive(Debug)]
pub struct Coordinator {
    shared: Shared,
    tasks: Tasks,
}

/// The tasks of a coordinator, which end with it. The owner has the lock of the folder: it is free once
/// nothing can be written any more.
#[derive(Debug)]
struct Tasks {
    owner: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    keeper: JoinHandle<()>,
    tidier: JoinHandle<()>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.sweeper.abort();
        self.keeper.abort();
        self.tidier.abort();
        self.owner.abort();
    }
}

impl Coordinator {
    /// Locks the folder, opens and migrates the store, takes up where it stopped.
    ///
    /// # Errors
    /// When the folder is held by another process, cannot be written, or has another program's schema.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let home = config.home.clone();
        fs::create_dir_all(&home).map_err(|error| OpenError::io(&home, error))?;
        if let Some(kind) = network_file_system(&home).map_err(|error| OpenError::io(&home, error))? {
            return Err(OpenError::Network { home, kind });
        }
        let lock = FolderLock::take(&home).map_err(|error| match error {
            LockError::Held(holder) => OpenError::Held { home: home.clone(), holder },
            LockError::Io(error) => OpenError::io(&home, error),
        })?;
        let contents = Contents::open(&home, config.max_bytes).map_err(|error| OpenError::io(&home, error))?;
        let contents = Arc::new(contents);
        let opened = database::open(&home.join(DATABASE_FILE)).await;
        let (writer, readers) = opened.map_err(|error| refused(&home, error))?;
        let telemetry = Telemetry::new(&config.program_version);
        let floor = Floor { folder: home.clone(), min_free_bytes: config.min_free_bytes, option: "serve --min-free" };
        let settings = Settings::new(config.lease, floor, Arc::clone(&telemetry));
        let owner = Owner::open(writer, readers.clone(), settings, lock).await;
        let (mut owner, live, written) = owner.map_err(|error| refused(&home, error.into()))?;
        owner.contents = Some(Arc::clone(&contents));
        let (sender, receiver) = mpsc::channel(MAX_COMMANDS);
        let handle = Handle(sender);
        let sweeper = tokio::spawn(liveness::keep_sweeping(handle.clone(), config.lease));
        let keeper = Housekeeper::new(handle.clone(), readers.clone(), Arc::clone(&contents), &config);
        let keeper = tokio::spawn(keeper.keep_house());
        let stores = [Arc::clone(&contents.blobs), Arc::clone(&contents.checkpoints)];
        let tidier = tokio::spawn(liveness::keep_tidying(stores, config.tidy_every));
        let data_files = Arc::new(DataFiles::new(config.data_sets.clone()));
        let config = Arc::new(config);
        let transfers = Arc::new(Semaphore::new(MAX_TRANSFERS));
        let shared = Shared { config, handle, readers, live, telemetry, written, contents, data_files, transfers };
        Ok(Self { shared, tasks: Tasks { owner: tokio::spawn(owner.run(receiver)), sweeper, keeper, tidier } })
    }

    /// The services of `orchestrator.v1`, with their limits.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let shared = &self.shared;
        let submissions = SubmissionsServer::new(Submissions::new(shared.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let fleet = FleetServer::new(Fleet(shared.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let blobs = BlobsServer::new(Blobs(shared.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Routes::new(submissions).add_service(fleet).add_service(blobs)
    }

    /// Reads out what a monitoring system is to know; may be kept and called as long as the coordinator is at work.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics(self.shared.clone())
    }

    /// Finishes what is being written, closes the store and gives the folder free. Requests that come later
    /// are refused and log streams end, so that a server over the routes can end too. Attempts of workers go
    /// on; they are taken up again by the next start.
    ///
    /// # Errors
    /// When the store cannot be closed cleanly; what was acknowledged is in it all the same.
    pub async fn shutdown(mut self) -> Result<(), OpenError> {
        let closed = self.shared.handle.ask(Command::Stop).await;
        // It ends after this command, or has ended before: either way nothing is left to wait for.
        drop((&mut self.tasks.owner).await);
        match closed {
            Ok(()) | Err(Refusal::Stopping) => Ok(()),
            Err(Refusal::Store(error)) => Err(refused(&self.shared.config.home, error.into())),
            Err(error) => Err(OpenError::Store {
                database: self.shared.config.home.join(DATABASE_FILE),
                reason: error.to_string(),
            }),
        }
    }
}

/// See [`Coordinator::metrics`].
#[derive(Clone, Debug)]
pub struct Metrics(Shared);

impl Metrics {
    /// Content type of the text.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Counters and gauges as text, in the text format of Prometheus.
    ///
    /// # Errors
    /// When the coordinator is being stopped, or has too much to do: the sentence says so.
    pub async fn text(&self) -> Result<String, String> {
        let census = self.0.handle.ask(Command::Count).await.map_err(|refusal| refusal.to_string())?;
        Ok(self.0.telemetry.text(&census, &self.0.config.home, self.0.contents.bytes()))
    }
}

/// Serves routes on a bound listener until `shutdown` is ready and the requests at work are answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    Server::builder().add_routes(routes).serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown).await
}

fn refused(home: &Path, error: DatabaseError) -> OpenError {
    let database = home.join(DATABASE_FILE);
    match error {
        DatabaseError::Store(StoreError::Full) => OpenError::Full { home: home.to_owned() },
        DatabaseError::Store(StoreError::ReadOnly) => OpenError::ReadOnly { home: home.to_owned() },
        DatabaseError::Store(error) => OpenError::Store { database, reason: error.to_string() },
        other => OpenError::Schema { database, reason: other.to_string() },
    }
}
