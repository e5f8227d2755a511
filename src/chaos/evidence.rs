//! What is found when everything has come to rest: plain values, read through the same API that anyone can use.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use experiment_spec::table;
use orchestrator_proto::{records, v1};

use super::users::Users;
use crate::{
    client::Client,
    exit::{Failure, Outcome},
};

/// A submission that a user was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) id: i64,
    pub(super) runs: usize,
}

/// A submission as it stands in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Submission {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) runs: usize,
    /// Its runs that have succeeded.
    pub(super) scored: usize,
    /// `scores.csv` without its header.
    pub(super) scores: Vec<String>,
}

/// One attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) worker: String,
    /// Empty while it is at work.
    pub(super) outcome: String,
    pub(super) assigned_at_ms: i64,
    pub(super) ended_at_ms: i64,
}

/// One run or extraction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) id: i64,
    pub(super) is_run: bool,
    pub(super) state: String,
    pub(super) failure: String,
    /// The attempt that counts, or counted last.
    pub(super) attempt: u32,
    pub(super) has_scores: bool,
    pub(super) attempts: Vec<Attempt>,
}

/// Everything that the checks look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// What did not come to rest, and why.
    pub(super) restless: Vec<String>,
    pub(super) rest: Duration,
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) submissions: Vec<Submission>,
    pub(super) steps: Vec<Step>,
    /// Cores of each worker.
    pub(super) cores: BTreeMap<String, u32>,
    /// Workers that were seen with more attempts' processes than cores.
    pub(super) crowded: Vec<String>,
    /// Lines of the undisturbed `scores.csv` by submission.
    pub(super) undisturbed: BTreeMap<String, Vec<String>>,
    /// What is wrong with the database, and contents that are missing.
    pub(super) damage: Vec<String>,
    /// Daemons that ended by themselves or not as they should, or that panicked.
    pub(super) misbehaved: Vec<String>,
    /// Processes of attempts that outlived their daemon, or are left.
    pub(super) orphans: BTreeSet<i32>,
    /// Files that were begun and never finished.
    pub(super) unfinished: Vec<PathBuf>,
}

impl Evidence {
    /// Reads what the coordinator knows.
    pub(super) async fn read(&mut self, users: &mut Users) -> Outcome {
        self.acknowledged.clone_from(&users.acknowledged);
        let gone = || Failure::Unreachable("the coordinator no longer answers, though no fault is left".to_owned());
        let workers = users.workers().await.ok_or_else(gone)?;
        self.cores = workers.into_iter().map(|worker| (worker.name, worker.cpus)).collect();
        for submission in users.submissions().await.ok_or_else(gone)? {
            self.submissions.push(read_submission(&mut users.client, submission.id).await?);
        }
        for step in users.steps().await.ok_or_else(gone)? {
            let shown = users.client.show_step(v1::ShowStepRequest { id: step.id }).await?.into_inner();
            self.steps.push(read_step(step, shown));
        }
        Ok(())
    }
}

/// A submission with its scores.
pub(super) async fn read_submission(client: &mut Client, id: i64) -> Outcome<Submission> {
    let answer = records::fetch(client, &id.to_string()).await?;
    let records = records::records(&answer)
        .map_err(|error| Failure::request(format!("the records of submission {id} cannot be read: {error}")))?;
    Ok(Submission {
        id,
        name: answer.name,
        runs: records.len(),
        scored: answer.records.iter().filter(|record| record.state == "succeeded").count(),
        scores: table::scores_csv(&records).lines().skip(1).map(str::to_owned).collect(),
    })
}

fn read_step(step: v1::StepSummary, shown: v1::ShowStepResponse) -> Step {
    let attempt = |it: v1::Attempt| Attempt {
        number: it.number,
        worker: it.worker,
        outcome: it.outcome,
        assigned_at_ms: it.assigned_at_ms,
        ended_at_ms: it.ended_at_ms,
    };
    let failure =
        if step.failure.is_empty() { String::new() } else { format!("{}: {}", step.failure_kind, step.failure) };
    Step {
        id: step.id,
        is_run: step.kind == "run",
        state: step.state,
        failure,
        attempt: step.attempt,
        has_scores: !shown.scores_json.is_empty(),
        attempts: shown.attempts.into_iter().map(attempt).collect(),
    }
}
