//! `logs`: what a run's attempts wrote, and what they write.

use orchestrator_proto::v1;

use crate::{
    cli::Global,
    client::{Need, Session},
    exit::Outcome,
    output,
};

/// Prints the log lines of a run; with `follow` until it has ended.
pub(super) async fn logs(global: &Global, run: i64, follow: bool) -> Outcome {
    let mut session = Session::connect(global, if follow { Need::Live } else { Need::Records }).await?;
    let outcome = print(global, &mut session, run, follow).await;
    session.close().await;
    outcome
}

async fn print(global: &Global, session: &mut Session, run: i64, follow: bool) -> Outcome {
    let mut stream = session.client.logs(v1::LogsRequest { id: run, follow, after: 0 }).await?.into_inner();
    while let Some(line) = stream.message().await? {
        if global.json {
            output::json(&line)?;
        } else {
            output::lines([format!("{} {}| {}", output::time(line.at_ms), line.attempt, line.text)])?;
        }
    }
    Ok(())
}
