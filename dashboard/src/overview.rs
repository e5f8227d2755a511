//! What one look at the coordinator found.

use orchestrator_proto::v1::{StepSummary, SubmissionSummary, WorkerSummary};

use crate::filling::Filled;

/// One look: everything that the page shows.
#[derive(Debug)]
pub(crate) struct Overview {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Newest first.
    pub(crate) submissions: Vec<SubmissionSummary>,
    /// The submission that was asked for, or the newest; none when there is none at all.
    pub(crate) shown: Option<Shown>,
    pub(crate) workers: Vec<WorkerSummary>,
    /// Why nothing is given out; empty while runs are.
    pub(crate) halted: String,
}

/// One submission from near.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) summary: SubmissionSummary,
    /// Steps at work first, then the others in the order of the plan.
    pub(crate) steps: Vec<StepSummary>,
    /// Runs that are not among the steps, for there are too many.
    pub(crate) left_out: usize,
    /// Its tables as far as they are filled, or why they cannot be shown.
    pub(crate) tables: Filled,
}

/// Runs of a submission, by what became of them.
pub(crate) fn runs(summary: &SubmissionSummary) -> u64 {
    let states =
        [summary.queued, summary.assigned, summary.running, summary.succeeded, summary.failed, summary.cancelled];
    states.into_iter().map(u64::from).sum()
}

/// Runs that have ended, with or without a score.
pub(crate) fn ended(summary: &SubmissionSummary) -> u64 {
    [summary.succeeded, summary.failed, summary.cancelled].into_iter().map(u64::from).sum()
}
