//! The throw-away fleet: one coordinator and its workers, each in a folder of its own below one that is gone afterwards.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{daemon::Daemon, disk::Disk, network::Line};
use crate::exit::{Failure, Outcome};

/// Cores that each worker offers: two, so that there is something to over-commit.
pub(super) const CPUS: u32 = 2;
/// Short, so that a minute holds several; long beside the pause between two polls (0.5 s).
pub(super) const LEASE: Duration = Duration::from_secs(4);
/// Checkpoints come often enough to be there when an attempt is killed.
const CHECKPOINT_EVERY: &str = "50";
/// More than any disk has: nothing is taken or given out.
const MORE_THAN_THERE_IS: &str = "64TiB";

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Coordinator,
    Worker(usize),
}

/// A daemon with its disk and what it is started with.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) daemon: Daemon,
    /// None where no file system may be mounted.
    disk: Option<Disk>,
    /// A worker's way to the coordinator.
    pub(super) line: Option<Line>,
    arguments: Vec<String>,
    lacks_room: bool,
}

impl Member {
    pub(super) fn start(&mut self) -> Outcome {
        let kept_free = if self.lacks_room { MORE_THAN_THERE_IS } else { "0" };
        let min_free = ["--min-free", kept_free].map(str::to_owned);
        self.daemon.start(&[self.arguments.clone(), min_free.to_vec()].concat())
    }

    /// Fills its disk. Without one of its own it is started again with a floor that no disk meets.
    pub(super) async fn fill_disk(&mut self) -> Outcome {
        if let Some(disk) = &mut self.disk {
            return disk.fill().map_err(|error| Failure::request(format!("a disk could not be filled: {error}")));
        }
        self.lacks_room = true;
        self.daemon.kill().await;
        self.start()
    }

    /// There is room again.
    pub(super) async fn make_room(&mut self) -> Outcome {
        if let Some(disk) = &mut self.disk {
            disk.make_room();
            return Ok(());
        }
        self.lacks_room = false;
        if !self.daemon.is_at_work() {
            return Ok(());
        }
        self.daemon.kill().await;
        self.start()
    }

    /// Whether it may have ended for want of room.
    pub(super) fn is_excused(&self) -> bool {
        self.disk.as_ref().is_some_and(Disk::excuses)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) folder: PathBuf,
    pub(super) url: String,
    pub(super) coordinator: Member,
    pub(super) workers: Vec<Member>,
}

impl Fleet {
    /// Lays out the folders; nothing is started.
    pub(super) fn lay_out(folder: &Path, workers: u32) -> Outcome<Self> {
        let fail = |error: io::Error| Failure::request(format!("{}: {error}", folder.display()));
        // A port that nobody has and that the coordinator can come back to.
        let listen = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(fail)?;
        let url = format!("http://{listen}");
        let lease = format!("{}s", LEASE.as_secs());
        let serve = ["serve".to_owned(), "--listen".to_owned(), listen.to_string(), "--lease".to_owned(), lease];
        let member = |name: String, line: Option<Line>, arguments: Vec<String>| {
            let home = folder.join(&name);
            fs::create_dir_all(&home).map_err(fail)?;
            let log = folder.join(format!("{name}.log"));
            let disk = Disk::mount(&home);
            Ok::<_, Failure>(Member { daemon: Daemon::new(name, home, log), disk, line, arguments, lacks_room: false })
        };
        let worker = |number: u32| {
            let (name, cpus) = (format!("worker-{number}"), CPUS.to_string());
            let line = Line::lay(listen).map_err(fail)?;
            let url = line.url();
            let options = ["--coordinator", &url, "--name", &name, "--cpus", &cpus];
            let arguments = ["worker"].into_iter().chain(options).chain(["--checkpoint-every", CHECKPOINT_EVERY]);
            let arguments = arguments.map(str::to_owned).collect();
            member(name, Some(line), arguments)
        };
        let workers = (1..=workers).map(worker).collect::<Outcome<_>>()?;
        Ok(Self {
            folder: folder.to_owned(),
            coordinator: member("coordinator".to_owned(), None, serve.to_vec())?,
            workers,
            url,
        })
    }

    pub(super) fn member(&mut self, who: Who) -> &mut Member {
        match who {
            Who::Coordinator => &mut self.coordinator,
            Who::Worker(index) => &mut self.workers[index],
        }
    }

    pub(super) fn everybody(&self) -> Vec<Who> {
        [Who::Coordinator].into_iter().chain((0..self.workers.len()).map(Who::Worker)).collect()
    }

    /// Workers that are at work.
    pub(super) fn workers_at_work(&self) -> Vec<usize> {
        (0..self.workers.len()).filter(|index| self.workers[*index].daemon.is_at_work()).collect()
    }

    /// How often networks have hindered what was said.
    pub(super) fn hindered(&self) -> u64 {
        self.workers.iter().filter_map(|worker| worker.line.as_ref()).map(Line::hindered).sum()
    }

    /// Whether disks are really filled, or only said to be.
    pub(super) fn has_disks(&self) -> bool {
        self.coordinator.disk.is_some() && self.workers.iter().all(|worker| worker.disk.is_some())
    }

    /// Ends every process at once.
    pub(super) async fn kill(&mut self) {
        for who in self.everybody() {
            self.member(who).daemon.kill().await;
        }
    }

    /// Leaves everything where it is, to be looked at.
    pub(super) fn keep(&mut self) {
        for who in self.everybody() {
            if let Some(disk) = &mut self.member(who).disk {
                disk.keep();
            }
        }
    }
}
