//! `why`: why a run is still waiting, or what became of each of its attempts.

use orchestrator_proto::v1::{self, Attempt, HistoryLine, ShowStepResponse, StepSummary};
use serde::Serialize;

use crate::{
    cli::Global,
    client::{Need, Session},
    exit::Outcome,
    output,
};

/// The story of one run or extraction.
#[derive(Debug, Serialize)]
struct Story<'a> {
    id: i64,
    kind: &'a str,
    label: &'a str,
    data_set: &'a str,
    seed: u64,
    state: &'a str,
    /// Where it stands and why, in sentences.
    standing: Vec<String>,
    /// What belongs to none of its attempts: it was queued, or somebody reported of an attempt that never was.
    apart: Vec<&'a HistoryLine>,
    attempts: Vec<Chapter<'a>>,
}

/// What became of one attempt.
#[derive(Debug, Serialize)]
struct Chapter<'a> {
    number: u32,
    worker: &'a str,
    outcome: &'a str,
    verdict: &'static str,
    history: Vec<&'a HistoryLine>,
}

/// Tells the story of one run or extraction.
pub(super) async fn why(global: &Global, id: i64) -> Outcome {
    let mut session = Session::connect(global, Need::Records).await?;
    let answer = session.client.show_step(v1::ShowStepRequest { id }).await.map(tonic::Response::into_inner);
    session.close().await;
    let answer = answer?;
    let step = answer.step.clone().unwrap_or_default();
    let story = story(&step, &answer);
    if global.json { output::json(&story) } else { output::lines(lines(&story)) }
}

fn story<'a>(step: &'a StepSummary, answer: &'a ShowStepResponse) -> Story<'a> {
    let of = |number: u32| answer.history.iter().filter(|line| line.attempt == number).collect();
    let known = |number: u32| answer.attempts.iter().any(|attempt| attempt.number == number);
    let chapter = |attempt: &'a Attempt| Chapter {
        number: attempt.number,
        worker: &attempt.worker,
        outcome: if attempt.outcome.is_empty() { "at work" } else { &attempt.outcome },
        verdict: verdict(&attempt.outcome),
        history: of(attempt.number),
    };
    let standing = match step.state.as_str() {
        "succeeded" => vec![format!("it has succeeded: what attempt {} reported counts", step.attempt)],
        "failed" => vec![format!("it has failed for good ({}): {}", step.failure_kind, step.failure)],
        "cancelled" => vec!["it was taken back by a user".to_owned()],
        _ => answer.standing.clone(),
    };
    Story {
        id: step.id,
        kind: &step.kind,
        label: &step.label,
        data_set: &step.data_set,
        seed: step.seed,
        state: &step.state,
        standing,
        apart: answer.history.iter().filter(|line| !known(line.attempt)).collect(),
        attempts: answer.attempts.iter().map(chapter).collect(),
    }
}

/// Whether what such an attempt reports counts, and why.
fn verdict(outcome: &str) -> &'static str {
    match outcome {
        "" => "the one that counts now",
        "succeeded" => "its result counts",
        "failed" => "it ended without a result",
        "lost" => "its lease ran out, nothing being heard of its worker: what it reports later does not count",
        "cancelled" => "a user took the run back: what it reports later does not count",
        "given-back" => "its worker no longer had it: what it reports later does not count",
        _ => "",
    }
}

fn lines(story: &Story<'_>) -> Vec<String> {
    let Story { id, kind, label, data_set, seed, state, standing, apart, attempts } = story;
    let mut lines = vec![format!("{kind} {id} ({label} on {data_set}, seed {seed}): {state}")];
    lines.extend(standing.iter().map(|told| format!("  {told}")));
    let told = |line: &&HistoryLine| format!("  {} {}", output::time(line.at_ms), line.sentence);
    lines.extend(apart.iter().map(told));
    for Chapter { number, worker, outcome, verdict, history } in attempts {
        lines.push(format!("attempt {number} on worker {worker}: {outcome}; {verdict}"));
        lines.extend(history.iter().map(told));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_has_its_verdict_and_its_own_lines() {
        let line = |attempt, sentence: &str| HistoryLine { at_ms: 0, attempt, sentence: sentence.to_owned() };
        let attempt = |number, outcome: &str| Attempt {
            number,
            worker: format!("node-{number}"),
            outcome: outcome.to_owned(),
            ..Attempt::default()
        };
        let step = StepSummary {
            id: 12,
            kind: "run".to_owned(),
            label: "CCA".to_owned(),
            data_set: "emoji".to_owned(),
            seed: 3,
            state: "running".to_owned(),
            attempt: 2,
            ..StepSummary::default()
        };
        let answer = ShowStepResponse {
            attempts: vec![attempt(1, "lost"), attempt(2, "")],
            history: vec![
                line(0, "queued"),
                line(1, "assigned"),
                line(2, "assigned again"),
                line(1, "set aside"),
                line(9, "strange"),
            ],
            standing: vec!["it runs on worker node-2 as attempt 2".to_owned()],
            ..ShowStepResponse::default()
        };
        let told = lines(&story(&step, &answer)).join("\n");
        let expected = "run 12 (CCA on emoji, seed 3): running
  it runs on worker node-2 as attempt 2
  TIME queued
  TIME strange
attempt 1 on worker node-1: lost; its lease ran out, nothing being heard of its worker: what it reports later does not count
  TIME assigned
  TIME set aside
attempt 2 on worker node-2: at work; the one that counts now
  TIME assigned again";
        assert_eq!(told, expected.replace("TIME", &output::time(0)));

        let done = |state: &str| StepSummary {
            state: state.to_owned(),
            failure_kind: "nan".to_owned(),
            failure: "a loss".to_owned(),
            ..step.clone()
        };
        let standing = |state| story(&done(state), &answer).standing.concat();
        assert_eq!(standing("succeeded"), "it has succeeded: what attempt 2 reported counts");
        assert_eq!(standing("failed"), "it has failed for good (nan): a loss");
        assert_eq!(standing("cancelled"), "it was taken back by a user");
    }
}
