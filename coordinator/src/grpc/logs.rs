//! The one stream for users: log lines, followed until their step has ended.

use std::time::Duration;

use experiment_spec::{ids::StepId, run::State};
use orchestrator_proto::{link::Cut, v1};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    encode,
    streams::{Messages, Outlet, outlet},
};
use crate::{
    coordinator::Shared,
    service::refusal::Refusal,
    store::{listing, logs},
};

/// Lines on their way to one client.
const LINES_AHEAD: usize = 256;
/// How long a follower waits without any write before it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Pause between two looks, however much is written: a follower sees ten pages a second at most.
const BREATH: Duration = Duration::from_millis(100);

/// Sends lines after a position until there are no more, or with `follow` until the step has ended.
pub(crate) fn stream(
    shared: Shared,
    request: v1::LogsRequest,
    cut: Option<Cut>,
    permit: OwnedSemaphorePermit,
) -> Messages<v1::LogLine> {
    let (outlet, lines) = outlet(LINES_AHEAD, shared.config.stall, cut, permit);
    tokio::spawn(async move {
        if let Err(refusal) = send(shared, request, &outlet).await {
            // The client may be gone; then nobody needs the reason.
            outlet.pass(Err(refusal.into())).await;
        }
    });
    lines
}

async fn send(mut shared: Shared, request: v1::LogsRequest, outlet: &Outlet<v1::LogLine>) -> Result<(), Refusal> {
    let id = StepId(request.id);
    let mut after = request.after;
    loop {
        shared.written.mark_unchanged();
        // Read before the lines: what is written before the end is then not missed.
        let state = listing::state(&shared.readers, id).await?.ok_or_else(|| Refusal::no_step(id.0))?;
        let ended = State::from_name(&state).is_some_and(State::is_final);
        let lines = logs::page(&shared.readers, id, after).await?;
        let is_last = lines.is_empty();
        for line in lines {
            after = line.position.cast_unsigned();
            if !outlet.pass(Ok(encode::log(line))).await {
                return Ok(());
            }
        }
        if !is_last {
            continue;
        }
        if ended || !request.follow {
            return Ok(());
        }
        tokio::select! {
            changed = shared.written.changed() => if changed.is_err() { return Err(Refusal::Stopping) },
            () = outlet.closed() => return Ok(()),
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        tokio::time::sleep(BREATH).await;
    }
}
