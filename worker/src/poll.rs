//! The loop to the coordinator: one call is heartbeat, report and request for work.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use experiment_spec::ids::AttemptKey;
use orchestrator_proto::{
    MAX_MESSAGE_BYTES,
    link::Link,
    v1::{
        Assignment, Held, PollRequest, PollResponse, RegisterRequest, attempt_event::Event, fleet_client::FleetClient,
    },
};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    attempt::{Attempt, Stop},
    backoff::Backoff,
    error::WorkerError,
    events, fail_point,
    outbox::Batch,
    shared::Shared,
    slots::Slots,
};

/// A call that is not answered for a third of the lease, but within these bounds, has failed: the coordinator answers at
/// once, or is away, and a call that got lost is made again before the lease is over.
const SHORTEST_CALL: Duration = Duration::from_secs(1);
const LONGEST_CALL: Duration = Duration::from_secs(15);
/// News are collected for so long before they are reported, so that a burst is one call.
const COLLECT: Duration = Duration::from_millis(10);
/// Bounds for the interval that the coordinator asks for.
const INTERVAL_MS: std::ops::RangeInclusive<u32> = 10..=60_000;
/// For so long a poll waits until what it would report is on the disk; then it goes without.
const DISK_PATIENCE: Duration = Duration::from_millis(500);
/// How long a daemon that is shut down tries to deliver what its attempts have left.
const DELIVERY: Duration = Duration::from_secs(3);

pub(crate) struct Poll {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: FleetClient<Link>,
    pub(crate) identity: RegisterRequest,
    pub(crate) slots: Slots,
    pub(crate) attempts: BTreeMap<AttemptKey, Attempt>,
    pub(crate) ended: UnboundedReceiver<AttemptKey>,
    pub(crate) worker_id: i64,
    pub(crate) interval: Duration,
    pub(crate) draining: bool,
    /// The last call was not answered: the next one only asks for the lease. What has been kept meanwhile may be much,
    /// and take the coordinator longer to write than is left of the lease.
    pub(crate) was_away: bool,
    /// What is to be sent next, while the disk is waited for.
    pub(crate) batch: Option<JoinHandle<io::Result<Batch>>>,
}

/// What came of a call.
enum Answer {
    /// Done; whether there is more to report at once.
    Done { more: bool },
    /// The coordinator is away or out of order: try again later.
    Away(Status),
}

impl Poll {
    pub(crate) fn client(link: Link) -> FleetClient<Link> {
        FleetClient::new(link).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Works until told to shut down, then gives back what is at work and delivers what can be delivered.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let mut backoff = Backoff::new();
        let mut registered = false;
        let mut next = Instant::now();
        let mut give_up_at = None;
        loop {
            let work = async {
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = self.shared.news.notified(), if registered && backoff.is_fresh() => sleep(COLLECT).await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled(), if !self.draining => {
                    tracing::info!(attempts = self.attempts.len(), "shutting down");
                    self.draining = true;
                    self.attempts.values().for_each(|attempt| attempt.stop(Stop::Release));
                }
                () = work => {}
            }
            while let Ok(key) = self.ended.try_recv() {
                self.attempts.remove(&key);
                self.slots.give_back(key);
            }
            if self.draining && self.attempts.is_empty() {
                let give_up_at = *give_up_at.get_or_insert_with(|| Instant::now() + DELIVERY);
                let delivered = self.shared.on_disk(|shared| Ok(shared.outbox.is_empty())).await?;
                if delivered || Instant::now() >= give_up_at {
                    tracing::info!(delivered, "shut down");
                    return Ok(());
                }
            }
            let answer =
                if registered { self.poll(&mut registered).await? } else { self.register(&mut registered).await? };
            next = match answer {
                Answer::Done { more } => {
                    backoff = Backoff::new();
                    Instant::now() + if more { Duration::ZERO } else { self.interval }
                }
                Answer::Away(status) => {
                    // A lease that is short is asked for again in time.
                    let wait = backoff.next_wait().min(self.shared.lease.length() / 4);
                    let (why, wait_ms) = (status.message(), wait.as_millis());
                    tracing::warn!(why, wait_ms, "the coordinator does not answer, trying again");
                    Instant::now() + wait
                }
            };
        }
    }

    /// Attempts at work, and those whose last word was not acknowledged.
    async fn held(&self) -> Result<Vec<Held>, WorkerError> {
        let mut held = self.shared.on_disk(|shared| Ok(shared.outbox.ended())).await?;
        held.extend(self.attempts.keys());
        held.sort_unstable();
        held.dedup();
        Ok(held.into_iter().map(Held::from).collect())
    }

    async fn register(&mut self, registered: &mut bool) -> Result<Answer, WorkerError> {
        let request = RegisterRequest { held: self.held().await?, ..self.identity.clone() };
        let called_at = std::time::Instant::now();
        let response = match answered(timeout(self.call_limit(), self.client.register(request)).await)? {
            Ok(response) => response,
            Err(status) => return Ok(self.away(status)),
        };
        if !response.refused.is_empty() {
            return Err(WorkerError::Refused(response.refused));
        }
        tracing::info!(worker = response.worker_id, name = self.identity.name, "registered");
        self.worker_id = response.worker_id;
        let interval_ms = response.poll_interval_ms.clamp(*INTERVAL_MS.start(), *INTERVAL_MS.end());
        self.interval = Duration::from_millis(interval_ms.into());
        self.shared.lease.set_length(Duration::from_millis(response.lease_ms.into()));
        self.shared.lease.renew(called_at);
        self.shared.outbox.number_above(response.acknowledged);
        self.cancel(&response.drop);
        *registered = true;
        Ok(Answer::Done { more: true })
    }

    async fn poll(&mut self, registered: &mut bool) -> Result<Answer, WorkerError> {
        let Batch { reports, is_full } =
            if self.was_away { Batch { reports: Vec::new(), is_full: true } } else { self.batch().await };
        let sent = reports.last().map(|report| report.sequence);
        let scored = reports.iter().any(events::is_score);
        // Checkpoints and features need room.
        let halted = self.shared.floor.lack().unwrap_or_default();
        let takes = !self.draining && halted.is_empty();
        let request = PollRequest {
            worker_id: self.worker_id,
            reports,
            cpus_free: if takes { self.slots.cpus_free() } else { 0 },
            gpus_free: if takes { self.slots.gpus_free() } else { Vec::new() },
            draining: self.draining,
            held: self.held().await?,
            halted,
        };
        let called_at = std::time::Instant::now();
        let response = match answered(timeout(self.call_limit(), self.client.poll(request)).await)? {
            Ok(response) => response,
            Err(status) => return Ok(self.away(status)),
        };
        if scored {
            fail_point::passes("outbox-before-ack");
        }
        if response.register_again {
            *registered = false;
            return Ok(Answer::Done { more: true });
        }
        self.shared.lease.renew(called_at);
        self.was_away = false;
        self.take(response, sent.unwrap_or(0), is_full).await
    }

    /// What is to be sent; nothing while the disk does not keep up: the heartbeat goes on.
    async fn batch(&mut self) -> Batch {
        let batch = self.batch.get_or_insert_with(|| {
            let shared = Arc::clone(&self.shared);
            tokio::task::spawn_blocking(move || shared.outbox.batch())
        });
        let Ok(batch) = timeout(DISK_PATIENCE, batch).await else {
            tracing::warn!("the disk does not keep up: reports wait until they are on it");
            return Batch { reports: Vec::new(), is_full: false };
        };
        self.batch = None;
        batch.unwrap_or_else(|died| Err(io::Error::other(died))).unwrap_or_else(|error| {
            // Nothing may be sent that is not safe here.
            tracing::error!(%error, "reports cannot be synced");
            Batch { reports: Vec::new(), is_full: false }
        })
    }

    fn call_limit(&self) -> Duration {
        (self.shared.lease.length() / 3).clamp(SHORTEST_CALL, LONGEST_CALL)
    }

    /// No answer came. Where no coordinator is running, nobody is given what this worker has.
    fn away(&mut self, status: Status) -> Answer {
        self.was_away = true;
        if nobody_listens(&status) {
            self.shared.lease.renew(std::time::Instant::now());
        }
        Answer::Away(status)
    }

    async fn take(&mut self, response: PollResponse, sent: u64, is_full: bool) -> Result<Answer, WorkerError> {
        self.cancel(&response.stop);
        let acknowledged = response.acknowledged.min(sent);
        self.shared
            .on_disk(move |shared| {
                for (key, last_word) in shared.outbox.acknowledge(acknowledged) {
                    tracing::debug!(attempt = %key, "its last word is acknowledged");
                    if !matches!(last_word, Event::Succeeded(_)) {
                        shared.folders.leave(key);
                    } else if let Err(error) = shared.folders.remove(key) {
                        tracing::warn!(attempt = %key, %error, "the folder of a step that is done cannot be removed");
                    }
                }
                Ok(())
            })
            .await?;
        for assignment in response.assignments {
            self.assign(assignment).await;
        }
        Ok(Answer::Done { more: is_full && acknowledged == sent })
    }

    /// Starts an attempt, or gives the step back when there is no room for it.
    async fn assign(&mut self, assignment: Assignment) {
        let key = AttemptKey::from(&assignment);
        if self.attempts.contains_key(&key) {
            return;
        }
        let refusal =
            if self.draining { Err("the worker is shut down".to_owned()) } else { self.slots.take(&assignment) };
        let started = refusal.and_then(|gpu| {
            Attempt::start(Arc::clone(&self.shared), assignment, gpu).map_err(|error| {
                self.slots.give_back(key);
                format!("no thread for the attempt: {error}")
            })
        });
        match started {
            Ok(attempt) => {
                tracing::info!(attempt = %key, "assigned");
                self.attempts.insert(key, attempt);
            }
            Err(reason) => {
                tracing::warn!(attempt = %key, reason, "given back");
                self.shared.report_soon();
                let told = self.shared.on_disk(move |shared| shared.outbox.append(key, events::released(0, reason)));
                if let Err(error) = told.await {
                    // The coordinator misses the attempt at the next poll and gives it again.
                    tracing::error!(attempt = %key, %error, "giving it back cannot be kept");
                }
            }
        }
    }

    fn cancel(&self, unwanted: &[Held]) {
        for attempt in unwanted.iter().filter_map(|held| self.attempts.get(&held.into())) {
            attempt.stop(Stop::Cancel);
        }
    }
}

/// Whether the coordinator's machine itself says that nobody listens there.
fn nobody_listens(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Tells a refusal of the worker itself, which ends it, from everything that may pass.
fn answered<T>(
    answer: Result<Result<tonic::Response<T>, Status>, tokio::time::error::Elapsed>,
) -> Result<Result<T, Status>, WorkerError> {
    match answer {
        Ok(Ok(response)) => Ok(Ok(response.into_inner())),
        Ok(Err(status)) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
            Err(WorkerError::Refused(status.message().to_owned()))
        }
        Ok(Err(status)) => Ok(Err(status)),
        Err(_) => Ok(Err(Status::deadline_exceeded("no answer in time"))),
    }
}
