//! What must hold when everything has come to rest. Each check is a function of the evidence that names what is wrong.

use std::collections::BTreeMap;

use super::evidence::{Attempt, Evidence, Step};

/// Most cores that an extraction is given (`coordinator/src/service/planning.rs`); a run of these submissions gets one.
const EXTRACTION_CPUS: u32 = 8;

/// One line of the sheet.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Verdict {
    pub(super) check: &'static str,
    pub(super) passed: bool,
    /// What was looked at, or everything that is wrong.
    pub(super) found: Vec<String>,
}

type Check = (&'static str, fn(&Evidence) -> Result<String, Vec<String>>);

/// All checks, in the order of the sheet.
const CHECKS: [Check; 9] = [
    ("everything came to rest, every step has succeeded or was cancelled", at_rest),
    ("every acknowledged submission is there, once and whole", nothing_lost),
    ("no run has two accepted scores", accepted_once),
    ("every attempt has ended", attempts_ended),
    ("no worker had more at work than it has cores", not_over_committed),
    ("scores are byte for byte those of an undisturbed run", same_scores),
    ("the database and every content it names are whole", store_whole),
    ("no daemon panicked, ended by itself or could not end", daemons_behaved),
    ("no attempt outlives its daemon, no unfinished file is left", nothing_left),
];

/// What becomes of each check.
pub(super) fn verdicts(evidence: &Evidence) -> Vec<Verdict> {
    let verdict = |(check, look): Check| match look(evidence) {
        Ok(found) => Verdict { check, passed: true, found: vec![found] },
        Err(found) => Verdict { check, passed: false, found },
    };
    CHECKS.into_iter().map(verdict).collect()
}

/// Fine when nothing is wrong.
fn unless(wrong: Vec<String>, fine: String) -> Result<String, Vec<String>> {
    if wrong.is_empty() { Ok(fine) } else { Err(wrong) }
}

fn at_rest(evidence: &Evidence) -> Result<String, Vec<String>> {
    let in_state = |state: &str| evidence.steps.iter().filter(|step| step.state == state).count();
    let mut wrong = evidence.restless.clone();
    for step in evidence.steps.iter().filter(|step| !["succeeded", "cancelled"].contains(&step.state.as_str())) {
        wrong.push(format!("step {} is {} {}", step.id, step.state, step.failure).trim_end().to_owned());
    }
    if in_state("succeeded") == 0 {
        wrong.push("no step has succeeded: nothing was tried".to_owned());
    }
    let (succeeded, cancelled, seconds) = (in_state("succeeded"), in_state("cancelled"), evidence.rest.as_secs());
    unless(wrong, format!("{succeeded} succeeded, {cancelled} cancelled; at rest {seconds} s after the last fault"))
}

fn nothing_lost(evidence: &Evidence) -> Result<String, Vec<String>> {
    let mut wrong = Vec::new();
    for told in &evidence.acknowledged {
        match evidence.submissions.iter().filter(|it| it.id == told.id).collect::<Vec<_>>()[..] {
            [found] if found.runs == told.runs => {}
            [found] => wrong.push(format!("submission {} has {} runs, not {}", told.id, found.runs, told.runs)),
            ref found => wrong.push(format!("submission {} is there {} times", told.id, found.len())),
        }
    }
    for found in &evidence.submissions {
        if evidence.acknowledged.iter().filter(|told| told.id == found.id).count() != 1 {
            wrong.push(format!("submission {} does not answer exactly one request", found.id));
        }
    }
    unless(wrong, format!("{} submissions", evidence.acknowledged.len()))
}

fn accepted_once(evidence: &Evidence) -> Result<String, Vec<String>> {
    let mut wrong = Vec::new();
    for step in &evidence.steps {
        let accepted: Vec<u32> =
            step.attempts.iter().filter(|it| it.outcome == "succeeded").map(|it| it.number).collect();
        let expected: &[u32] = if step.state == "succeeded" { &[step.attempt] } else { &[] };
        if accepted != expected {
            wrong.push(format!("step {} is {} by attempts {accepted:?}, not {expected:?}", step.id, step.state));
        }
        // What an extraction has are facts about it.
        let may_have = step.state == "succeeded";
        if step.has_scores != may_have && (step.is_run || step.has_scores) {
            let has = if step.has_scores { "has" } else { "lacks" };
            wrong.push(format!("step {} is {} and {has} scores", step.id, step.state));
        }
    }
    let attempts: usize = evidence.steps.iter().map(|step| step.attempts.len()).sum();
    unless(wrong, format!("{} steps in {attempts} attempts", evidence.steps.len()))
}

fn attempts_ended(evidence: &Evidence) -> Result<String, Vec<String>> {
    let attempts = || evidence.steps.iter().flat_map(|step| step.attempts.iter().map(move |it| (step.id, it)));
    let open = attempts().filter(|(_, it)| it.outcome.is_empty() || it.ended_at_ms == 0);
    let wrong =
        open.map(|(step, it)| format!("attempt {} of step {step} on {} has not", it.number, it.worker)).collect();
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, attempt) in attempts() {
        *outcomes.entry(&attempt.outcome).or_default() += 1;
    }
    let told: Vec<_> = outcomes.into_iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    unless(wrong, told.join(", "))
}

fn not_over_committed(evidence: &Evidence) -> Result<String, Vec<String>> {
    let mut wrong = evidence.crowded.clone();
    let mut fullest = 0;
    for (worker, cores) in &evidence.cores {
        let granted = |step: &Step| if step.is_run { 1 } else { (*cores).min(EXTRACTION_CPUS) };
        let on_it = |it: &&Attempt| it.worker == *worker && it.ended_at_ms > it.assigned_at_ms;
        // What ends and what begins in the same millisecond did so in this order.
        let mut changes: Vec<(i64, i64)> = Vec::new();
        for step in &evidence.steps {
            for attempt in step.attempts.iter().filter(on_it) {
                let cpus = i64::from(granted(step));
                changes.extend([(attempt.assigned_at_ms, cpus), (attempt.ended_at_ms, -cpus)]);
            }
        }
        changes.sort_unstable();
        let mut used = 0;
        let most = changes.iter().fold((0, 0), |most, (at_ms, change)| {
            used += change;
            most.max((used, *at_ms))
        });
        fullest = fullest.max(most.0);
        if most.0 > i64::from(*cores) {
            wrong.push(format!("worker {worker} of {cores} cores had {} given out at {} ms", most.0, most.1));
        }
    }
    let known = |name: &String| evidence.cores.contains_key(name);
    let attempts = evidence.steps.iter().flat_map(|step| &step.attempts);
    wrong.extend(attempts.filter(|it| !known(&it.worker)).map(|it| format!("there is no worker {}", it.worker)));
    unless(wrong, format!("{} workers, {fullest} cores given out at most on one", evidence.cores.len()))
}

fn same_scores(evidence: &Evidence) -> Result<String, Vec<String>> {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for submission in &evidence.submissions {
        let Some(expected) = evidence.undisturbed.get(&submission.name) else {
            wrong.push(format!("submission {} is none of ours: {}", submission.id, submission.name));
            continue;
        };
        for line in submission.scores.iter().filter(|line| !expected.contains(line)) {
            wrong.push(format!("submission {}: {line} is not what an undisturbed run gives", submission.id));
        }
        // Every run has as many lines as every other one.
        if submission.scores.len() * submission.runs != expected.len() * submission.scored {
            let (lines, scored) = (submission.scores.len(), submission.scored);
            wrong.push(format!("submission {}: {lines} scores of {scored} runs", submission.id));
        }
        compared += submission.scores.len();
    }
    unless(wrong, format!("{compared} scores compared"))
}

fn store_whole(evidence: &Evidence) -> Result<String, Vec<String>> {
    unless(evidence.damage.clone(), "integrity, references and hashes".to_owned())
}

fn daemons_behaved(evidence: &Evidence) -> Result<String, Vec<String>> {
    unless(evidence.misbehaved.clone(), format!("{} workers and the coordinator", evidence.cores.len()))
}

fn nothing_left(evidence: &Evidence) -> Result<String, Vec<String>> {
    let orphans = evidence.orphans.iter().map(|process| format!("process {process} of an attempt outlived its daemon"));
    let files = evidence.unfinished.iter().map(|path| format!("{} was never finished", path.display()));
    unless(orphans.chain(files).collect(), "none".to_owned())
}

#[cfg(test)]
mod tests;
