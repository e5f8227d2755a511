//! The coordinator's process: the real owner on a real store, which can be killed at any commit and started again.

use std::{
    fs,
    future::poll_fn,
    path::PathBuf,
    pin::pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Poll as Ready, Waker},
    time::Duration,
};

use orchestrator_proto::room::Floor;
use sqlx::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::chance::Chance;
use crate::{
    lock::FolderLock,
    service::{
        handle::{Answer, Change, Chosen, Command, Poll, Polled, Register, Registered, Retry, Submit, Submitted},
        owner::{Owner, Settings},
        refusal::Refusal,
        tests::time::Clocks,
    },
    store::database,
    telemetry::Telemetry,
};

pub(super) const LEASE: Duration = Duration::from_secs(15);
const DATABASE: &str = "orchestrator.db";
const BACKUP: &str = "backup.db";

/// What is asked of the coordinator.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Register(Register),
    Poll(Poll),
    Submit(Submit),
    Cancel(Chosen),
    Retry(Retry),
    Steer(Chosen, Change),
    Drain { worker: String, undo: bool },
    Sweep,
}

/// What the owner says to it.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Registered(Registered),
    Polled(Polled),
    Submitted(Submitted),
    Count(u32),
    Drained,
    /// Nothing was changed.
    Refused,
    /// The write failed; nothing was changed.
    NotWritten,
}

/// What happens at a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The disk refuses it.
    Refused,
    /// The process dies before it is on the disk.
    DiesBefore,
    /// The process dies when it is on the disk, before anybody is told.
    DiesAfter,
}

/// What becomes of commits.
#[derive(Debug, Default)]
struct Commits {
    plan: Mutex<Plan>,
    /// The owner is gone: the commit at which it died goes on.
    gone: Condvar,
}

#[derive(Debug, Default)]
struct Plan {
    /// Commits up to the one that something happens to, and what.
    next: Option<(u64, Fate)>,
    is_dying: bool,
    /// Of whoever waits for the owner.
    waker: Option<Waker>,
}

impl Commits {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called in the thread of the connection, before each commit; whether it may pass. A death is waited for here, so
    /// that the owner never hears of the commit, however fast that is.
    fn passes(&self) -> bool {
        let mut plan = self.plan();
        let Some((after, fate)) = plan.next else { return true };
        plan.next = after.checked_sub(1).map(|after| (after, fate));
        if plan.next.is_some() {
            return true;
        }
        if fate != Fate::Refused {
            plan.is_dying = true;
            if let Some(waker) = plan.waker.take() {
                waker.wake();
            }
            while plan.is_dying {
                plan = self.gone.wait(plan).unwrap_or_else(PoisonError::into_inner);
            }
        }
        fate == Fate::DiesAfter
    }

    fn owner_is_gone(&self) {
        self.plan().is_dying = false;
        self.gone.notify_all();
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Seat {
    home: TempDir,
    pub(super) clocks: Arc<Clocks>,
    commits: Arc<Commits>,
    /// Whether the present connection's commits are.
    is_watched: bool,
    owner: Option<Owner>,
    seed: u64,
    starts: u64,
}

impl Seat {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            home: tempfile::tempdir().expect("a folder"),
            clocks: Arc::new(Clocks::new()),
            commits: Arc::default(),
            is_watched: false,
            owner: None,
            seed,
            starts: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The process starts, on what is on the disk.
    pub(super) async fn start(&mut self) {
        let lock = FolderLock::take(self.home.path()).expect("nobody else has it");
        let (writer, readers) = database::open(&self.path(DATABASE)).await.expect("the store opens");
        self.starts += 1;
        let settings = Settings {
            lease: LEASE,
            floor: Floor { folder: self.home.path().to_owned(), min_free_bytes: 0, option: "" },
            telemetry: Telemetry::new("0.1.0-simulated"),
            clock: Arc::clone(&self.clocks) as _,
            // Far from one another, as random ones are.
            lease_salt: Chance::new(self.seed ^ (self.starts << 40)).number(),
        };
        let (owner, ..) = Owner::open(writer, readers, settings, lock).await.expect("the state is read");
        self.owner = Some(owner);
        self.watch_commits().await;
    }

    /// The process is gone; what was committed is on the disk.
    pub(super) async fn stop(&mut self) {
        let Some(Owner { writer, readers, lock, .. }) = self.owner.take() else { return };
        readers.close().await;
        // One that died in a commit may not be closed cleanly.
        drop(writer.close().await);
        drop(lock);
    }

    /// The owner at work.
    pub(super) fn owner(&self) -> &Owner {
        self.owner.as_ref().expect("the coordinator is at work")
    }

    pub(super) fn is_up(&self) -> bool {
        self.owner.is_some()
    }

    /// Copies the store as it is, as `orchestrator backup` would; the coordinator must be stopped.
    pub(super) fn back_up(&self) {
        fs::copy(self.path(DATABASE), self.path(BACKUP)).expect("it is copied");
    }

    /// Brings that copy back; the coordinator must be stopped.
    pub(super) fn restore(&self) {
        for end in ["-wal", "-shm"] {
            drop(fs::remove_file(self.path(&format!("{DATABASE}{end}"))));
        }
        fs::copy(self.path(BACKUP), self.path(DATABASE)).expect("it is copied");
    }

    async fn watch_commits(&mut self) {
        let commits = Arc::clone(&self.commits);
        let writer = &mut self.owner.as_mut().expect("the coordinator is at work").writer;
        // What survives a power loss is the subject of `tests/kill.rs`; here it only takes time.
        sqlx::query("PRAGMA synchronous = OFF").execute(&mut *writer).await.expect("a setting");
        let mut handle = writer.lock_handle().await.expect("it is open");
        handle.set_commit_hook(move || commits.passes());
        drop(handle);
        self.is_watched = true;
    }

    /// After so many commits more, one meets this fate.
    pub(super) fn doom(&self, after: u64, fate: Fate) {
        self.commits.plan().next = Some((after, fate));
    }

    /// Nothing happens to commits any more.
    pub(super) fn forgive(&self) {
        self.commits.plan().next = None;
    }

    fn is_doomed(&self) -> bool {
        self.commits.plan().next.is_some()
    }

    /// Hands requests that came together to the owner. What it said to each before it died, if it did; whether it did.
    pub(super) async fn handle(&mut self, requests: &[Request]) -> (Vec<Option<Reply>>, bool) {
        let was_doomed = self.is_doomed();
        let owner = self.owner.as_mut().expect("the coordinator is at work");
        let (commands, read): (Vec<_>, Vec<_>) = requests.iter().cloned().map(command).unzip();
        let died = {
            let mut handling = pin!(owner.handle_all(commands.into_iter()));
            poll_fn(|context| {
                let mut plan = self.commits.plan();
                if plan.is_dying {
                    return Ready::Ready(true);
                }
                plan.waker = Some(context.waker().clone());
                drop(plan);
                handling.as_mut().poll(context).map(|_| false)
            })
            .await
        };
        if died {
            self.commits.owner_is_gone();
            self.stop().await;
        } else {
            // After a refused commit the owner takes a new connection before it does anything else.
            self.is_watched &= !was_doomed || self.is_doomed();
            if !self.is_watched && !self.owner().stale {
                self.watch_commits().await;
            }
        }
        (read.into_iter().map(|read| read()).collect(), died)
    }
}

type Read = Box<dyn FnOnce() -> Option<Reply>>;

fn command(request: Request) -> (Command, Read) {
    match request {
        Request::Register(register) => asked(Reply::Registered, |reply| Command::Register(Box::new(register), reply)),
        Request::Poll(poll) => asked(Reply::Polled, |reply| Command::Poll(Box::new(poll), reply)),
        Request::Submit(submit) => asked(Reply::Submitted, |reply| Command::Submit(Box::new(submit), reply)),
        Request::Cancel(chosen) => asked(Reply::Count, |reply| Command::Cancel(chosen, reply)),
        Request::Retry(retry) => asked(Reply::Count, |reply| Command::Retry(retry, reply)),
        Request::Steer(chosen, change) => asked(Reply::Count, |reply| Command::Steer(chosen, change, reply)),
        Request::Drain { worker, undo } => asked(|_| Reply::Drained, |reply| Command::Drain { worker, undo, reply }),
        Request::Sweep => asked(Reply::Count, Command::Sweep),
    }
}

fn asked<T: 'static>(
    said: impl FnOnce(T) -> Reply + 'static,
    ask: impl FnOnce(oneshot::Sender<Answer<T>>) -> Command,
) -> (Command, Read) {
    let (sender, mut receiver) = oneshot::channel();
    let read = move || {
        Some(match receiver.try_recv().ok()? {
            Ok(answer) => said(answer),
            Err(Refusal::Store(_)) => Reply::NotWritten,
            Err(_) => Reply::Refused,
        })
    };
    (ask(sender), Box::new(read))
}
