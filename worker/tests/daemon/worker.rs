//! Workers of the tests: daemons in this process, and daemons that can be killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use orchestrator_proto::link::Bearer;
use orchestrator_worker::{CheckpointPolicy, Config, Links, WorkerError};
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::coordinator::{Coordinator, PATIENCE};

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn links(channel: Channel) -> Links {
    let link = Bearer::default().over(channel);
    Links { calls: link.clone(), contents: link }
}

pub(crate) fn config(folder: &Path) -> Config {
    let mut config = Config::new(folder.join("worker"), std::env::current_exe().unwrap(), 2);
    config.checkpoint_every = CheckpointPolicy { iterations: 20, seconds: 0 };
    config
}

/// A coordinator, a folder, and a daemon in a task.
pub(crate) struct Fixture {
    pub(crate) runtime: Runtime,
    pub(crate) coordinator: Coordinator,
    pub(crate) folder: tempfile::TempDir,
}

/// A daemon in a task of this process.
pub(crate) struct Daemon {
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), WorkerError>>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let runtime = runtime();
        let coordinator = Coordinator::start();
        Self { runtime, coordinator, folder: tempfile::tempdir().unwrap() }
    }

    /// A fixture whose daemon is at work.
    pub(crate) fn at_work() -> (Self, Daemon) {
        let fixture = Self::new();
        let daemon = fixture.daemon(|_| {});
        (fixture, daemon)
    }

    pub(crate) fn daemon(&self, change: impl FnOnce(&mut Config)) -> Daemon {
        let mut config = config(self.folder.path());
        change(&mut config);
        let _entered = self.runtime.enter();
        let channel = Endpoint::from_shared(self.coordinator.url.clone()).unwrap().connect_lazy();
        let shutdown = CancellationToken::new();
        let task = self.runtime.spawn(orchestrator_worker::run(config, links(channel), shutdown.clone()));
        Daemon { shutdown, task }
    }

    /// A daemon in a process of its own, with a fail point if there is a name.
    pub(crate) fn daemon_process(&self, fail_point: &str) -> Killable {
        self.daemon_process_with(|command| {
            if !fail_point.is_empty() {
                command.env("ORCHESTRATOR_FAIL_POINT", fail_point);
            }
        })
    }

    /// A daemon in a process of its own, in an environment of its own.
    pub(crate) fn daemon_process_with(&self, change: impl FnOnce(&mut Command)) -> Killable {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("daemon").arg(&self.coordinator.url).arg(self.folder.path()).stderr(Stdio::null());
        change(&mut command);
        Killable(command.spawn().unwrap())
    }

    pub(crate) fn end(&self, daemon: Daemon) -> Result<(), WorkerError> {
        daemon.shutdown.cancel();
        self.ended(daemon)
    }

    /// What the daemon ends with.
    pub(crate) fn ended(&self, daemon: Daemon) -> Result<(), WorkerError> {
        let _entered = self.runtime.enter();
        self.runtime.block_on(tokio::time::timeout(PATIENCE, daemon.task)).expect("the daemon ends").unwrap()
    }

    /// Folders of steps that are there.
    pub(crate) fn step_folders(&self) -> Vec<PathBuf> {
        let steps = self.folder.path().join("worker/steps");
        fs::read_dir(steps).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// A process that does not outlive the test.
pub(crate) struct Killable(pub(crate) Child);

impl Killable {
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for it to end by itself.
    pub(crate) fn ends(mut self) -> std::process::ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the process does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The argument `daemon URL FOLDER`: offers the GPUs it can use, and works until it is killed.
pub(crate) fn daemon_process(arguments: &[String]) -> ExitCode {
    let mut config = config(Path::new(&arguments[1]));
    config.gpus = orchestrator_worker::usable_gpus();
    let url = arguments[0].clone();
    let ended = runtime().block_on(async move {
        let channel = Endpoint::from_shared(url).unwrap().connect_lazy();
        orchestrator_worker::run(config, links(channel), CancellationToken::new()).await
    });
    eprintln!("{ended:?}");
    ExitCode::FAILURE
}

/// Whether a process is at work: neither gone nor a zombie that nobody has reaped.
pub(crate) fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Asserts that a process ends, and how soon.
pub(crate) fn ends_within(process: u32, limit: Duration) {
    let start = Instant::now();
    while is_alive(process) {
        assert!(start.elapsed() < limit, "process {process} is alive after {limit:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
