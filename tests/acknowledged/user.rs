//! Users: they submit, cancel single runs, and look at what became of it.

use std::{future::Future, sync::Arc, time::Duration};

use orchestrator_proto::{
    MAX_MESSAGE_BYTES,
    v1::{self, submissions_client::SubmissionsClient},
};
use tonic::{Response, Status, transport::Channel};

use crate::ledger::Ledger;

/// Runs of one submission.
const RUNS: u64 = 8;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// For everything to be done once nothing is killed any more.
const REST: Duration = Duration::from_mins(3);

pub(crate) struct User {
    pub(crate) client: SubmissionsClient<Channel>,
    ledger: Arc<Ledger>,
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Option<T> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Some(answer.into_inner()),
        Ok(Err(status)) => {
            let is_gone = ["unreachable", "gone"].iter().any(|word| status.message().contains(word));
            let away = [tonic::Code::Unavailable, tonic::Code::Unknown, tonic::Code::Cancelled, tonic::Code::Internal];
            assert!(is_gone || away.contains(&status.code()), "{status:?}");
            None
        }
        Err(_) => None,
    }
}

impl User {
    pub(crate) fn new(channel: Channel, ledger: Arc<Ledger>) -> Self {
        Self { client: SubmissionsClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES), ledger }
    }

    /// Keeps so many steps to be done; each submission is sent until it is acknowledged, under one request.
    pub(crate) async fn keep_busy(mut self, enough: u32) {
        let mut number = 0;
        while self.ledger.wants_more() {
            tokio::time::sleep(PAUSE).await;
            if self.live().await.is_none_or(|live| live >= enough) {
                continue;
            }
            number += 1;
            let first = number * RUNS;
            let seeds: Vec<_> = (first..first + RUNS).map(|seed| seed.to_string()).collect();
            let seeds = seeds.join(", ");
            let yaml = format!("name: many\ndatasets: [emoji]\nencoder-epochs: 1\nmethods: [cca]\nseeds: [{seeds}]\n");
            let request_id = format!("request {number}");
            let request = v1::SubmitRequest { yaml, request_id, ..Default::default() };
            let id = loop {
                if let Some(submitted) = answer(self.client.submit(request.clone())).await {
                    assert_eq!(submitted.problems, []);
                    break submitted.submission_id;
                }
                tokio::time::sleep(PAUSE).await;
            };
            self.ledger.submitted(id);
            if number % 3 == 0 {
                self.cancel_one_of(id).await;
            }
        }
    }

    /// Cancels the last run of a submission; once, whether or not that is acknowledged.
    async fn cancel_one_of(&mut self, submission: i64) {
        let Some(last) = self.steps(submission).await.and_then(|steps| steps.last().map(|step| step.id)) else {
            return;
        };
        let request = v1::CancelRequest { steps: vec![last], ..Default::default() };
        if answer(self.client.cancel(request)).await.is_some_and(|answer| answer.cancelled == 1) {
            self.ledger.cancelled(last);
        }
    }

    /// Runs of a submission in the order of their numbers.
    pub(crate) async fn steps(&mut self, submission: i64) -> Option<Vec<v1::StepSummary>> {
        let submission = submission.to_string();
        let request = v1::ListStepsRequest { submission, kind: "run".to_owned(), ..Default::default() };
        let mut steps = answer(self.client.list_steps(request)).await?.steps;
        steps.sort_by_key(|step| step.id);
        Some(steps)
    }

    async fn live(&mut self) -> Option<u32> {
        let submissions = self.submissions().await?;
        Some(submissions.iter().map(|it| it.queued + it.assigned + it.running + it.extractions_pending).sum())
    }

    pub(crate) async fn submissions(&mut self) -> Option<Vec<v1::SubmissionSummary>> {
        let request = v1::ListSubmissionsRequest { limit: 1_000, ..Default::default() };
        answer(self.client.list_submissions(request)).await.map(|answer| answer.submissions)
    }

    /// Until nothing is left to do.
    pub(crate) async fn wait_for_rest(&mut self) {
        let end = tokio::time::Instant::now() + REST;
        let mut live = None;
        while live != Some(0) {
            assert!(tokio::time::Instant::now() < end, "after {REST:?} there is still {live:?} to do");
            tokio::time::sleep(PAUSE).await;
            live = self.live().await;
        }
    }

    /// All log lines of a step.
    pub(crate) async fn log(&mut self, id: i64) -> Vec<String> {
        let request = v1::LogsRequest { id, ..Default::default() };
        let mut stream = self.client.logs(request).await.unwrap().into_inner();
        let mut lines = Vec::new();
        while let Some(line) = stream.message().await.unwrap() {
            lines.push(line.text);
        }
        lines
    }
}
