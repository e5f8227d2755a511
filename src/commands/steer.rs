//! `pause`, `resume` and `priority`: when queued steps are given out.

use orchestrator_proto::v1::{self, steer_request::Change};

use crate::{
    cli::{Global, Selection},
    client::{Need, Session},
    exit::Outcome,
    output,
};

/// Gives out no further steps of a submission, or none of these runs.
pub(super) async fn pause(global: &Global, selection: Selection) -> Outcome {
    steer(global, selection, Change::Paused(true)).await
}

/// Gives them out again.
pub(super) async fn resume(global: &Global, selection: Selection) -> Outcome {
    steer(global, selection, Change::Paused(false)).await
}

/// Gives them out before, or after, those of other priorities.
pub(super) async fn priority(global: &Global, level: i32, selection: Selection) -> Outcome {
    steer(global, selection, Change::Priority(level)).await
}

async fn steer(global: &Global, selection: Selection, change: Change) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let Selection { submission, runs } = selection;
    let request = v1::SteerRequest { submission: submission.unwrap_or_default(), steps: runs, change: Some(change) };
    let answer = session.client.steer(request).await.map(tonic::Response::into_inner);
    session.close().await;
    let answer = answer?;
    if global.json {
        return output::json(&answer);
    }
    output::lines([sentence(answer.steps, change)])
}

fn sentence(steps: u32, change: Change) -> String {
    let steps = if steps == 1 { "1 step that has".to_owned() } else { format!("{steps} steps that have") };
    match change {
        Change::Paused(true) => {
            format!("paused, with {steps} not ended; what is at work goes on to its end")
        }
        Change::Paused(false) => format!("goes on, with {steps} not ended"),
        Change::Priority(level) => format!("priority {level}, for {steps} not ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_what_was_changed_and_for_how_much() {
        let told =
            [Change::Paused(true), Change::Paused(false), Change::Priority(-2)].map(|change| sentence(1, change));
        assert_eq!(
            told,
            [
                "paused, with 1 step that has not ended; what is at work goes on to its end",
                "goes on, with 1 step that has not ended",
                "priority -2, for 1 step that has not ended",
            ]
        );
        assert_eq!(sentence(3, Change::Paused(false)), "goes on, with 3 steps that have not ended");
    }
}
