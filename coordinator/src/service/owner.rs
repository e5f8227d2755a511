//! The one owner of the scheduler's state: a command in, reactor, store, answer out. What the reactor
//! decided is told only after the store has it; when the store fails, memory is rebuilt from it.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use experiment_spec::ids::{ContentHash, StepId, WorkerId};
use orchestrator_proto::room::Floor;
use sqlx::{Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    handle::{Answer, Command, MAX_COMMANDS},
    live::{Live, LiveWorker},
    polls::PollGroup,
    refusal::Refusal,
};
use crate::{
    clock::{Clock, SystemClock},
    contents::Contents,
    lock::FolderLock,
    scheduler::{census::Census, effects::Effect, forecast, state::Scheduler, why},
    store::{database, error::Result, snapshot, workers},
    telemetry::Telemetry,
};

/// For so long polls are gathered before they are answered together: little beside the pause between two polls of a
/// worker, and much beside the time that it takes a busy fleet to send the next one.
const GATHER: Duration = Duration::from_millis(2);

/// What is known of an online worker besides its steps.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) last_seen: Instant,
    pub(crate) last_seen_ms: i64,
    pub(crate) last_sequence: u64,
    pub(crate) draining: bool,
}

/// What an owner is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) lease: Duration,
    pub(crate) floor: Floor,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) clock: Arc<dyn Clock>,
    /// See [`Scheduler::lease_salt`].
    pub(crate) lease_salt: u64,
}

impl Settings {
    /// The clocks of this machine, and leases of their own for this start.
    pub(crate) fn new(lease: Duration, floor: Floor, telemetry: Arc<Telemetry>) -> Self {
        let lease_salt = RandomState::new().build_hasher().finish();
        Self { lease, floor, telemetry, clock: Arc::new(SystemClock), lease_salt }
    }
}

/// Owns the state and the writing connection.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) writer: SqliteConnection,
    pub(crate) readers: SqlitePool,
    pub(crate) scheduler: Scheduler,
    pub(crate) members: BTreeMap<WorkerId, Member>,
    pub(crate) live: Arc<Live>,
    pub(crate) telemetry: Arc<Telemetry>,
    /// Counts the writes, so that followers know when to look again.
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lease: Duration,
    pub(crate) floor: Floor,
    /// Contents, which go when nothing names them any more; none where there are none.
    pub(crate) contents: Option<Arc<Contents>>,
    pub(crate) last_sweep: Instant,
    /// See [`Scheduler::lease_salt`].
    pub(crate) lease_salt: u64,
    /// A write failed: memory may be ahead of the store.
    pub(crate) stale: bool,
    /// Kept as long as anything may be written.
    pub(crate) lock: FolderLock,
}

impl Owner {
    /// Reads the state from the store. Workers are given a whole lease anew to be heard of.
    pub(crate) async fn open(
        writer: SqliteConnection,
        readers: SqlitePool,
        Settings { lease, floor, telemetry, clock, lease_salt }: Settings,
        lock: FolderLock,
    ) -> Result<(Self, Arc<Live>, watch::Receiver<u64>)> {
        let live = Arc::new(Live::default());
        let (changes, written) = watch::channel(0);
        let mut owner = Self {
            writer,
            readers,
            scheduler: Scheduler::default(),
            members: BTreeMap::new(),
            live: Arc::clone(&live),
            telemetry,
            changes,
            last_sweep: clock.now(),
            clock,
            lease,
            floor,
            contents: None,
            lease_salt,
            stale: true,
            lock,
        };
        owner.rebuild().await?;
        Ok((owner, live, written))
    }

    /// Handles commands until it is told to stop or nobody can send any more.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut waiting = Vec::with_capacity(MAX_COMMANDS);
        while commands.recv_many(&mut waiting, MAX_COMMANDS).await > 0 {
            if waiting.iter().any(|command| matches!(command, Command::Poll(..))) {
                tokio::time::sleep(GATHER).await;
                while waiting.len() < MAX_COMMANDS
                    && let Ok(command) = commands.try_recv()
                {
                    waiting.push(command);
                }
            }
            if let Some(reply) = self.handle_all(waiting.drain(..)).await {
                let closed = database::close(self.writer, self.readers).await.map_err(Refusal::from);
                drop(self.lock);
                answer(reply, closed);
                return;
            }
        }
        if let Err(error) = database::close(self.writer, self.readers).await {
            tracing::warn!(%error, "the store was not closed cleanly; nothing acknowledged is lost");
        }
    }

    /// Handles commands that came together, one after the other, but neighbouring polls as one; ends with a `Stop`, which is
    /// to be answered when the store is closed.
    pub(crate) async fn handle_all(
        &mut self,
        commands: impl Iterator<Item = Command>,
    ) -> Option<oneshot::Sender<Answer<()>>> {
        let mut polls = PollGroup::default();
        for command in commands {
            match command {
                Command::Poll(poll, reply) => {
                    if polls.is_full_for(&poll) {
                        self.handle_polls(std::mem::take(&mut polls)).await;
                    }
                    polls.push(*poll, reply);
                }
                Command::Stop(reply) => {
                    self.handle_polls(polls).await;
                    return Some(reply);
                }
                other => {
                    self.handle_polls(std::mem::take(&mut polls)).await;
                    self.handle(other).await;
                }
            }
        }
        self.handle_polls(polls).await;
        None
    }

    /// Answers a group of polls together, or, when one of them spoils that, each by itself.
    async fn handle_polls(&mut self, group: PollGroup) {
        let PollGroup { mut polls, replies, .. } = group;
        if polls.is_empty() {
            return;
        }
        match self.guarded(async |owner| owner.polls(&mut polls).await).await {
            Ok(answers) => {
                for (reply, polled) in replies.into_iter().zip(answers) {
                    answer(reply, Ok(polled));
                }
            }
            Err(_) if polls.len() > 1 => {
                for (poll, reply) in polls.into_iter().zip(replies) {
                    let done = self.guarded(async |owner| owner.poll(poll).await).await;
                    answer(reply, done);
                }
            }
            Err(error) => {
                let reply = replies.into_iter().next().expect("one reply a poll");
                answer(reply, Err(error));
            }
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Submit(submit, reply) => {
                let done = self.guarded(async |owner| owner.submit(*submit).await).await;
                answer(reply, done);
            }
            Command::Register(register, reply) => {
                let done = self.guarded(async |owner| owner.register(*register).await).await;
                answer(reply, done);
            }
            Command::Cancel(chosen, reply) => {
                let done = self.guarded(async |owner| owner.cancel(chosen).await).await;
                answer(reply, done);
            }
            Command::Retry(retry, reply) => {
                let done = self.guarded(async |owner| owner.retry(retry).await).await;
                answer(reply, done);
            }
            Command::Steer(chosen, change, reply) => {
                let done = self.guarded(async |owner| owner.steer(chosen, change).await).await;
                answer(reply, done);
            }
            Command::Forecast(groups, reply) => {
                let done = self.guarded(async |owner| Ok(forecast::forecast(&owner.scheduler, &groups))).await;
                answer(reply, done);
            }
            Command::Count(reply) => {
                let done = self.guarded(async |owner| Ok(Census::of(&owner.scheduler, owner.clock.now_ms()))).await;
                answer(reply, done);
            }
            Command::Drain { worker, undo, reply } => {
                let done = self.guarded(async |owner| owner.drain(&worker, undo).await).await;
                answer(reply, done);
            }
            Command::Why(step, reply) => {
                let done = self.guarded(async |owner| Ok(owner.why(step))).await;
                answer(reply, done);
            }
            Command::Forget(forget, reply) => {
                let done = self.guarded(async |owner| owner.forget(forget).await).await;
                answer(reply, done);
            }
            Command::Thin { step, points, reply } => {
                let done = self.guarded(async |owner| owner.thin(step, points).await).await;
                answer(reply, done);
            }
            Command::Sweep(reply) => {
                let done = self.guarded(async |owner| owner.sweep(owner.clock.now()).await).await;
                answer(reply, done);
            }
            Command::Poll(..) | Command::Stop(_) => unreachable!("whoever handles many commands sees to these itself"),
        }
    }

    /// Runs one command on a state that agrees with the store, and marks it stale when the store fails.
    pub(crate) async fn guarded<T>(&mut self, command: impl AsyncFnOnce(&mut Self) -> Answer<T>) -> Answer<T> {
        if self.stale {
            self.writer = database::reconnect(&self.readers).await?;
            self.rebuild().await?;
        }
        let done = command(self).await;
        if let Err(Refusal::Store(error)) = &done {
            tracing::error!(%error, "a write failed; the state is read again");
            self.stale = true;
        }
        done
    }

    pub(super) async fn rebuild(&mut self) -> Result<()> {
        self.scheduler = snapshot::load(&self.readers, self.lease_salt).await?;
        self.look_at_disk();
        let known = std::mem::take(&mut self.members);
        for row in workers::all(&self.readers).await?.into_iter().filter(|row| row.state == "online") {
            let id = WorkerId(row.id);
            let known = known.get(&id);
            self.members.insert(
                id,
                Member {
                    last_seen: known.map_or_else(|| self.clock.now(), |member| member.last_seen),
                    last_seen_ms: known.map_or(row.last_seen_ms, |member| member.last_seen_ms),
                    last_sequence: row.last_sequence.cast_unsigned(),
                    draining: known.is_some_and(|member| member.draining),
                },
            );
            self.publish(id);
        }
        self.stale = false;
        Ok(())
    }

    /// Begins the one transaction of a command.
    pub(crate) async fn begin(writer: &mut SqliteConnection) -> Result<Transaction<'_, Sqlite>> {
        Ok(writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// The store has these effects: readers may see them.
    pub(crate) fn committed<'a>(&self, effects: impl IntoIterator<Item = &'a Effect> + Clone) {
        self.live.ended(effects.clone());
        for effect in effects {
            effect.trace();
            self.telemetry.decided(effect);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Removes contents of checkpoints that nothing names any more.
    pub(crate) fn discard(&self, loose: Vec<ContentHash>) {
        if let Some(contents) = &self.contents {
            contents.remove_checkpoints(loose);
        }
    }

    /// Shows a worker as it is now.
    pub(crate) fn publish(&self, id: WorkerId) {
        let shown = self.members.get(&id).zip(self.scheduler.workers.get(&id)).map(|(member, worker)| LiveWorker {
            stopping: member.draining,
            cpus_used: worker.taken.values().map(|grant| grant.cpus).sum(),
            memory_used_bytes: worker.taken.values().map(|grant| grant.memory_bytes).sum(),
            steps: worker.taken.keys().map(|key| key.step).collect(),
            last_seen_ms: member.last_seen_ms,
            aside: worker.aside.clone().filter(|_| worker.is_aside(self.clock.now_ms())),
            halted: worker.halted.clone(),
        });
        self.live.set_worker(id, shown);
    }

    /// Why a step stands where it stands.
    fn why(&self, step: StepId) -> Vec<String> {
        let draining = self.members.iter().filter(|(_, member)| member.draining).map(|(id, _)| *id).collect();
        let mut told = why::why(&self.scheduler, step, &draining, self.clock.now_ms());
        let worker = self.scheduler.step(step).and_then(|step| step.phase.worker());
        if let Some(member) = worker.and_then(|worker| self.members.get(&worker)) {
            let heard = self.clock.now().saturating_duration_since(member.last_seen).as_secs();
            let lease = self.lease.as_secs_f64();
            told.push(format!("its worker was heard of {heard} s ago; its lease is over after {lease} s of silence"));
        }
        told
    }
}

/// Gives an answer; whoever asked may have gone away.
fn answer<T>(reply: oneshot::Sender<Answer<T>>, done: Answer<T>) {
    if reply.send(done).is_err() {
        tracing::debug!("nobody waits for this answer any more");
    }
}
