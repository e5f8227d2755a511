//! Duties on a timer: one pass each, and one dull loop.

use std::{sync::Arc, time::Duration};

use orchestrator_proto::content::ContentStore;

use crate::service::{
    handle::{Command, Handle},
    refusal::Refusal,
};

/// Passes within one lease: that it ran out is noticed a fifth of it late at most, and never later than
/// [`LONGEST_PAUSE`].
const SWEEPS_PER_LEASE: u32 = 5;
/// Longest pause between two passes.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Looks once for workers that were silent too long; returns how many were declared lost.
pub(crate) async fn sweep_one(handle: &Handle) -> Result<u32, Refusal> {
    handle.ask(Command::Sweep).await
}

/// Sweeps until the coordinator stops.
pub(crate) async fn keep_sweeping(handle: Handle, lease: Duration) {
    let mut pause = tokio::time::interval((lease / SWEEPS_PER_LEASE).min(LONGEST_PAUSE));
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        match sweep_one(&handle).await {
            Err(Refusal::Stopping) => return,
            Err(error) => tracing::warn!(%error, "the fleet could not be looked at; tried again later"),
            Ok(_) => {}
        }
    }
}

/// Looks once for uploads that broke off and that nobody has gone on with for long; returns how many were removed.
pub(crate) async fn tidy_one(store: &Arc<ContentStore>) -> std::io::Result<usize> {
    let store = Arc::clone(store);
    tokio::task::spawn_blocking(move || store.tidy()).await.map_err(std::io::Error::other)?
}

/// Tidies the stores up until the coordinator stops.
pub(crate) async fn keep_tidying(stores: [Arc<ContentStore>; 2], every: Duration) {
    let mut pause = tokio::time::interval(every);
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        for store in &stores {
            match tidy_one(store).await {
                Err(error) => tracing::warn!(%error, "what broke off long ago stays; tried again later"),
                Ok(removed) if removed > 0 => tracing::info!(removed, "uploads that broke off long ago are gone"),
                Ok(_) => {}
            }
        }
    }
}
