//! `thin`: fewer points of the curves of runs that have ended.

use orchestrator_proto::v1::{ThinMetricsRequest, ThinMetricsResponse};
use serde_json::json;

use crate::{
    cli::{Global, ThinArgs},
    client::{Need, Session},
    exit::Outcome,
    output,
};

/// Thins the curves of a submission, or of these runs, some at a time.
pub(super) async fn thin(global: &Global, args: ThinArgs) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let ThinArgs { selection, points, dry_run } = args;
    let mut request = ThinMetricsRequest {
        submission: selection.submission.unwrap_or_default(),
        steps: selection.runs,
        points,
        dry_run,
        after: 0,
    };
    let mut all = ThinMetricsResponse::default();
    let done = loop {
        match session.client.thin_metrics(request.clone()).await.map(tonic::Response::into_inner) {
            Ok(some) => {
                all.steps += some.steps;
                all.points_before += some.points_before;
                all.points_after += some.points_after;
                request.after = some.next;
                if some.next == 0 {
                    break Ok(());
                }
            }
            Err(status) => break Err(status),
        }
    };
    session.close().await;
    done?;
    let ThinMetricsResponse { steps, points_before, points_after, .. } = all;
    if global.json {
        return output::json(&json!({
            "steps": steps, "points_before": points_before, "points_after": points_after, "dry_run": dry_run,
        }));
    }
    let verb = if dry_run { "would keep" } else { "keep" };
    output::lines([format!("{steps} runs and extractions with more {verb} {points_after} of {points_before} points")])
}
