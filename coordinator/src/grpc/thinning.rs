//! Thinning of metrics: step by step, so that heartbeats are answered between two, and a second's worth a call.

use std::time::{Duration, Instant};

use experiment_spec::ids::{StepId, SubmissionId};
use orchestrator_proto::v1;

use crate::{
    coordinator::Shared,
    service::{
        handle::{Answer, Command},
        refusal::Refusal,
    },
    store::thinning::{self, MIN_POINTS, Thinned},
};

/// A call goes on with further steps for so long.
const LONGEST: Duration = Duration::from_secs(1);
/// Steps that are looked up at a time.
const STEPS: u32 = 500;

/// Thins curves of steps after `request.after`; the answer says where to go on.
pub(super) async fn thin(
    shared: &Shared,
    submission: Option<SubmissionId>,
    request: &v1::ThinMetricsRequest,
) -> Answer<v1::ThinMetricsResponse> {
    if request.points < MIN_POINTS {
        return Err(Refusal::Invalid(format!("points: {}, at least {MIN_POINTS} stay", request.points)));
    }
    let named: Vec<StepId> = request.steps.iter().copied().map(StepId).collect();
    let (began, after) = (Instant::now(), StepId(request.after));
    let steps = thinning::candidates(&shared.readers, submission, &named, after, STEPS).await?;
    let is_last_page = steps.len() < STEPS as usize;
    let mut answer = v1::ThinMetricsResponse::default();
    let mut steps = steps.into_iter().peekable();
    while let Some(step) = steps.next() {
        let points = request.points;
        let Thinned { before, after } = if request.dry_run {
            thinning::preview(&shared.readers, step, points).await?
        } else {
            match shared.handle.ask(|reply| Command::Thin { step, points, reply }).await {
                // Somebody had it tried again meanwhile.
                Err(Refusal::Invalid(_)) => Thinned::default(),
                thinned => thinned?,
            }
        };
        if after < before {
            answer.steps += 1;
            answer.points_before += u64::from(before);
            answer.points_after += u64::from(after);
        }
        let is_done = steps.peek().is_none() && is_last_page;
        answer.next = if is_done { 0 } else { step.0 };
        if began.elapsed() > LONGEST {
            break;
        }
    }
    Ok(answer)
}
