//! `status`: submissions and the fleet at a glance.

use orchestrator_proto::v1;

use crate::{
    cli::Global,
    client::{Need, Session},
    exit::{Failure, Outcome},
    output,
};

/// Shows submissions (one, or all) and the workers.
pub(super) async fn status(global: &Global, submission: Option<String>) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let named = submission.clone().unwrap_or_default();
    let submissions = session.client.list_submissions(v1::ListSubmissionsRequest { name_or_id: named, limit: 0 }).await;
    let workers = session.client.list_workers(v1::ListWorkersRequest {}).await;
    session.close().await;
    let submissions = submissions?.into_inner().submissions;
    let v1::ListWorkersResponse { workers, halted } = workers?.into_inner();
    if let Some(named) = submission
        && submissions.is_empty()
    {
        return Err(Failure::request(format!("there is no submission `{named}`; `orchestrator status` lists them")));
    }
    if global.json {
        return output::json(&serde_json::json!({ "submissions": submissions, "workers": workers, "halted": halted }));
    }
    let rows = submissions.iter().map(|s| {
        let all = s.queued + s.assigned + s.running + s.succeeded + s.failed + s.cancelled;
        vec![
            s.id.to_string(),
            s.name.clone(),
            output::time(s.created_at_ms),
            format!("{}/{all}", s.succeeded),
            (s.assigned + s.running).to_string(),
            (s.queued).to_string(),
            s.failed.to_string(),
            s.cancelled.to_string(),
            s.priority.to_string(),
            if s.paused {
                "paused".to_owned()
            } else if s.seconds_left_known && s.succeeded + s.failed + s.cancelled < all {
                output::span(s.seconds_left)
            } else {
                String::new()
            },
        ]
    });
    output::table(
        &[
            "submission",
            "name",
            "created",
            "scored",
            "running",
            "queued",
            "failed",
            "cancelled",
            "priority",
            "time left",
        ],
        rows.collect(),
    )?;
    output::lines([String::new()])?;
    if !halted.is_empty() {
        output::lines([format!("nothing is given out: {}", output::printable(&halted))])?;
    }
    super::workers::table(&workers)
}
