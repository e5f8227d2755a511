//! `cancel` and `retry`: steering what is queued, running or failed.

use orchestrator_proto::v1;

use crate::{
    cli::{Global, RetryArgs, Selection},
    client::{Need, Session},
    exit::Outcome,
    output,
};

/// Takes back a submission or single runs.
pub(super) async fn cancel(global: &Global, selection: Selection) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let request = v1::CancelRequest { submission: selection.submission.unwrap_or_default(), steps: selection.runs };
    let answer = session.client.cancel(request).await.map(tonic::Response::into_inner);
    session.close().await;
    let answer = answer?;
    if global.json {
        output::json(&answer)
    } else {
        output::lines([format!("{} cancelled", count(answer.cancelled, "step"))])
    }
}

/// Queues failed runs again.
pub(super) async fn retry(global: &Global, args: RetryArgs) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let request = v1::RetryRequest {
        submission: args.selection.submission.unwrap_or_default(),
        steps: args.selection.runs,
        failure_kind: args.kind.unwrap_or_default(),
        cancelled_too: false,
    };
    let answer = session.client.retry(request).await.map(tonic::Response::into_inner);
    session.close().await;
    let answer = answer?;
    if global.json {
        output::json(&answer)
    } else {
        output::lines([format!("{} queued again", count(answer.queued, "step"))])
    }
}

fn count(n: u32, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
