//! What users do to the fleet meanwhile: they submit, and steer what they submitted. Like a careful client they repeat a
//! submission under the same request until it is acknowledged.

use std::{future::Future, time::Duration};

use orchestrator_proto::v1::{self, steer_request::Change};
use tonic::{Response, Status};

use super::{evidence::Acknowledged, random::Draws};
use crate::{
    catalog,
    client::{self, Client},
    exit::Outcome,
    link,
};

/// How many submissions there are of each kind, with seeds of their own.
const SEED_PAIRS: u64 = 2;
/// One submission in so many does not ask for a computation of its own: it shares what is there or at work.
const SHARES: usize = 5;
/// How long an answer is waited for; a coordinator that stands still gives none.
const PATIENCE: Duration = Duration::from_secs(2);

/// Submissions that are computed again and again, in this order: some with a solution in closed form, whose runs end quickly,
/// and some that are trained for a few seconds, with checkpoints.
pub(super) fn specs() -> Vec<String> {
    let common = "datasets: [emoji]\nencoder-epochs: 1\nresources: { cpus: 1 }\n";
    let of_pair = |pair: u64| {
        let seeds = format!("seeds: [{}, {}]\n", 2 * pair + 1, 2 * pair + 2);
        let closed = "methods:\n  - { method: cfa, label: CFA of 5, dims: 5 }\n  - { method: cfa, label: CFA of 10, dims: 10 }\n";
        let trained = "methods: [cm-gans]\n\
                       defaults: { hidden: 16, inter-hidden: 8, iterations: 1500, batch-size: 16 }\n";
        [("closed", closed), ("trained", trained)]
            .map(|(kind, methods)| format!("name: {kind}-{pair}\n{common}{seeds}{methods}"))
    };
    (0..SEED_PAIRS).flat_map(of_pair).collect()
}

/// The users and what they know.
#[derive(Debug)]
pub(super) struct Users {
    pub(super) client: Client,
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Sent, not acknowledged yet.
    pending: Option<v1::SubmitRequest>,
    specs: std::iter::Cycle<std::vec::IntoIter<String>>,
    sent: usize,
}

/// An answer, if it comes in time and is none of the coordinator's troubles.
pub(super) async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, call).await.ok()?.ok().map(Response::into_inner)
}

impl Users {
    pub(super) fn new(url: &str) -> Outcome<Self> {
        let client = client::client(link::lazy(url, None)?);
        Ok(Self { client, acknowledged: Vec::new(), pending: None, specs: specs().into_iter().cycle(), sent: 0 })
    }

    /// Submits something when fewer than `enough` steps are left to do.
    pub(super) async fn keep_busy(&mut self, enough: u32) {
        if self.pending.is_none() {
            let Some(submissions) = self.submissions().await else { return };
            if submissions.iter().map(live).sum::<u32>() >= enough {
                return;
            }
            let Some(yaml) = self.specs.next() else { return };
            self.sent += 1;
            self.pending = Some(v1::SubmitRequest {
                yaml,
                file_name: "chaos.yaml".to_owned(),
                force: !self.sent.is_multiple_of(SHARES),
                request_id: uuid::Uuid::new_v4().to_string(),
                client_version: catalog::program_version(),
                ..Default::default()
            });
        }
        self.submit_pending().await;
    }

    /// Sends what was not acknowledged once more; whether nothing is left.
    pub(super) async fn submit_pending(&mut self) -> bool {
        let Some(request) = self.pending.clone() else { return true };
        let Some(submitted) = answer(self.client.submit(request)).await else { return false };
        self.pending = None;
        self.acknowledged.push(Acknowledged { id: submitted.submission_id, runs: submitted.runs as usize });
        true
    }

    /// Everything that was submitted, newest first.
    pub(super) async fn submissions(&mut self) -> Option<Vec<v1::SubmissionSummary>> {
        let request = v1::ListSubmissionsRequest { limit: 1_000, ..Default::default() };
        answer(self.client.list_submissions(request)).await.map(|answer| answer.submissions)
    }

    /// One of the submissions of which this holds.
    async fn one(&mut self, draws: &mut Draws, which: impl Fn(&v1::SubmissionSummary) -> bool) -> Option<i64> {
        let mut fitting: Vec<_> = self.submissions().await?.iter().filter(|it| which(it)).map(|it| it.id).collect();
        fitting.sort_unstable();
        draws.one_of(&fitting).copied()
    }

    /// Takes a submission back that is not done; which.
    pub(super) async fn cancel(&mut self, draws: &mut Draws) -> Option<i64> {
        let id = self.one(draws, |it| live(it) > 0).await?;
        let request = v1::CancelRequest { submission: id.to_string(), steps: Vec::new() };
        answer(self.client.cancel(request)).await.map(|_| id)
    }

    /// Has one tried again that was cancelled or failed in part; which.
    pub(super) async fn try_again(&mut self, draws: &mut Draws) -> Option<i64> {
        let id = self.one(draws, |it| it.failed + it.cancelled > 0).await?;
        self.retry(id, true).await.then_some(id)
    }

    /// Queues what failed of a submission again, and what was cancelled if asked for; whether that was acknowledged.
    pub(super) async fn retry(&mut self, submission: i64, cancelled_too: bool) -> bool {
        let request = v1::RetryRequest { submission: submission.to_string(), cancelled_too, ..Default::default() };
        answer(self.client.retry(request)).await.is_some()
    }

    /// Pauses one that is not done; which.
    pub(super) async fn pause(&mut self, draws: &mut Draws) -> Option<i64> {
        let id = self.one(draws, |it| live(it) > 0 && !it.paused).await?;
        self.steer(id, true).await.then_some(id)
    }

    /// Pauses or resumes a submission; whether that was acknowledged.
    pub(super) async fn steer(&mut self, submission: i64, paused: bool) -> bool {
        let change = Some(Change::Paused(paused));
        let request = v1::SteerRequest { submission: submission.to_string(), steps: Vec::new(), change };
        answer(self.client.steer(request)).await.is_some()
    }

    /// Drains a worker or takes it back; whether that was acknowledged.
    pub(super) async fn drain(&mut self, worker: &str, undo: bool) -> bool {
        let request = v1::DrainWorkerRequest { worker: worker.to_owned(), undo };
        answer(self.client.drain_worker(request)).await.is_some()
    }

    /// The workers, if the coordinator answers.
    pub(super) async fn workers(&mut self) -> Option<Vec<v1::WorkerSummary>> {
        answer(self.client.list_workers(v1::ListWorkersRequest {})).await.map(|answer| answer.workers)
    }

    /// All steps, if the coordinator answers.
    pub(super) async fn steps(&mut self) -> Option<Vec<v1::StepSummary>> {
        answer(self.client.list_steps(v1::ListStepsRequest::default())).await.map(|answer| answer.steps)
    }
}

/// Runs of a submission that have not ended, and extractions.
fn live(submission: &v1::SubmissionSummary) -> u32 {
    submission.queued + submission.assigned + submission.running + submission.extractions_pending
}
