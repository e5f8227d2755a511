//! Keeps the state folder within its bounds: counts what it holds, and lets go what the keep rules no longer keep.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::SqlitePool;

use crate::{
    clock::{Clock as _, SystemClock},
    config::Config,
    contents::Contents,
    keep::{KeepRules, Rule},
    service::{
        handle::{Command, Forget, Handle},
        refusal::Refusal,
    },
    store::{error::Result, kept},
};

/// Least pause between two passes.
const PAUSE: Duration = Duration::from_secs(1);
/// The longer a pass takes, the longer it pauses: so many times as long.
const REST: u32 = 20;
/// Least pause between two counts of all contents: listing many files is work for the disk.
const RECOUNT: Duration = Duration::from_mins(5);
/// Content that somebody sent, or would have sent, so many leases ago may still be named by a report: later its worker has
/// been heard, or is lost.
const YOUTH_LEASES: u32 = 2;

/// What a pass needs.
#[derive(Debug)]
pub(crate) struct Housekeeper {
    handle: Handle,
    readers: SqlitePool,
    contents: Arc<Contents>,
    rules: KeepRules,
    youth: Duration,
    /// Reports that were on their way at the start have come in a youth later.
    began: Instant,
    counted: Option<Instant>,
}

impl Housekeeper {
    pub(crate) fn new(handle: Handle, readers: SqlitePool, contents: Arc<Contents>, config: &Config) -> Self {
        let youth = config.lease * YOUTH_LEASES;
        Self { handle, readers, contents, rules: config.keep, youth, began: Instant::now(), counted: None }
    }

    /// Keeps house until the coordinator stops.
    pub(crate) async fn keep_house(mut self) {
        loop {
            let began = Instant::now();
            match self.pass().await {
                Err(Refusal::Stopping) => return,
                Err(error) => tracing::warn!(%error, "the state folder could not be tidied; tried again later"),
                Ok(()) => {}
            }
            tokio::time::sleep(PAUSE.max(began.elapsed() * REST)).await;
        }
    }

    async fn pass(&mut self) -> std::result::Result<(), Refusal> {
        self.contents.set_database_bytes(kept::database_bytes(&self.readers).await?);
        if self.counted.is_none_or(|at| at.elapsed() > RECOUNT) {
            let contents = Arc::clone(&self.contents);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || contents.recount()).await {
                tracing::warn!(%error, "the contents could not be counted");
            }
            self.counted = Some(Instant::now());
        }
        if self.began.elapsed() < self.youth {
            return Ok(());
        }
        for rule in self.rules.at_work() {
            while let Some(forget) = self.due(rule).await? {
                self.handle.ask(|reply| Command::Forget(forget, reply)).await?;
            }
        }
        Ok(())
    }

    /// What goes by a rule now; `None` when nothing does.
    async fn due(&self, rule: Rule) -> Result<Option<Forget>> {
        let mut due = kept::due(&self.readers, rule, SystemClock.now_ms()).await?;
        let (contents, youth) = (Arc::clone(&self.contents), self.youth);
        let at_rest = tokio::task::spawn_blocking(move || {
            due.retain(|of| contents.is_at_rest(&of.hash, youth));
            due
        });
        // Lost in a panic: then nothing goes this time.
        let due = at_rest.await.unwrap_or_default();
        Ok((!due.is_empty()).then_some(Forget { rule, due, youth }))
    }
}
