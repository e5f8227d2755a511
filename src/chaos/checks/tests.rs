//! Each check passes on records that are in order and fails on each way in which they are not.

use std::{path::PathBuf, time::Duration};

use super::*;
use crate::chaos::evidence::{Acknowledged, Submission};

fn attempt(number: u32, worker: &str, outcome: &str, (assigned_at_ms, ended_at_ms): (i64, i64)) -> Attempt {
    Attempt { number, worker: worker.to_owned(), outcome: outcome.to_owned(), assigned_at_ms, ended_at_ms }
}

/// An extraction, a run that was lost once, a run beside it, and one that was cancelled.
fn in_order() -> Evidence {
    let step = |id, state: &str, attempts: Vec<Attempt>| Step {
        id,
        is_run: id > 1,
        state: state.to_owned(),
        failure: String::new(),
        attempt: attempts.last().map_or(0, |attempt| attempt.number),
        has_scores: id > 1 && state == "succeeded",
        attempts,
    };
    let lines = || vec!["one,0.5".to_owned(), "two,0.25".to_owned(), "three,0.125".to_owned()];
    Evidence {
        rest: Duration::from_secs(7),
        acknowledged: vec![Acknowledged { id: 1, runs: 3 }],
        submissions: vec![Submission {
            id: 1,
            name: "small".to_owned(),
            runs: 3,
            scored: 2,
            scores: lines()[..2].to_vec(),
        }],
        steps: vec![
            step(1, "succeeded", vec![attempt(1, "a", "succeeded", (0, 10))]),
            step(2, "succeeded", vec![attempt(1, "a", "lost", (10, 20)), attempt(2, "b", "succeeded", (20, 30))]),
            step(3, "succeeded", vec![attempt(1, "a", "succeeded", (10, 25))]),
            step(4, "cancelled", vec![attempt(1, "a", "cancelled", (20, 40))]),
        ],
        cores: [("a".to_owned(), 2), ("b".to_owned(), 2)].into(),
        undisturbed: [("small".to_owned(), lines())].into(),
        ..Evidence::default()
    }
}

/// Checks that fail, each with what it found.
fn failing(change: impl FnOnce(&mut Evidence)) -> Vec<(usize, Vec<String>)> {
    let mut evidence = in_order();
    change(&mut evidence);
    let failed = verdicts(&evidence).into_iter().enumerate().filter(|(_, verdict)| !verdict.passed);
    failed.map(|(index, verdict)| (index, verdict.found)).collect()
}

/// The one check that fails, by its place on the sheet, and the one thing it found.
fn the_failing(change: impl FnOnce(&mut Evidence)) -> (usize, String) {
    let mut failed = failing(change);
    assert_eq!(failed.len(), 1, "{failed:?}");
    let (index, found) = failed.remove(0);
    assert_eq!(found.len(), 1, "{found:?}");
    (index, found.concat())
}

#[test]
fn records_in_order_pass_and_say_what_was_looked_at() {
    let verdicts = verdicts(&in_order());
    assert!(verdicts.iter().all(|verdict| verdict.passed), "{verdicts:?}");
    let found: Vec<_> = verdicts.into_iter().flat_map(|verdict| verdict.found).collect();
    assert_eq!(found[0], "3 succeeded, 1 cancelled; at rest 7 s after the last fault");
    assert_eq!(found[2], "4 steps in 5 attempts");
    assert_eq!(found[3], "1 cancelled, 1 lost, 3 succeeded");
    assert_eq!(found[4], "2 workers, 2 cores given out at most on one");
}

#[test]
fn what_does_not_rest_is_named() {
    let told = the_failing(|it| {
        (it.steps[3].state, it.steps[3].failure) = ("failed".to_owned(), "data: no features".to_owned());
    });
    assert_eq!(told, (0, "step 4 is failed data: no features".to_owned()));
    assert_eq!(the_failing(|it| it.steps[3].state = "queued".to_owned()), (0, "step 4 is queued".to_owned()));
    assert_eq!(the_failing(|it| it.restless.push("two wait".to_owned())), (0, "two wait".to_owned()));
    let nothing = failing(|it| *it = Evidence::default());
    assert_eq!(nothing, [(0, vec!["no step has succeeded: nothing was tried".to_owned()])]);
}

#[test]
fn a_submission_that_is_lost_short_or_there_twice_is_named() {
    let lost = the_failing(|it| it.acknowledged.push(Acknowledged { id: 2, runs: 3 }));
    assert_eq!(lost, (1, "submission 2 is there 0 times".to_owned()));
    assert_eq!(the_failing(|it| it.acknowledged[0].runs = 4), (1, "submission 1 has 3 runs, not 4".to_owned()));
    let twice = the_failing(|it| {
        let again = Submission { id: 9, ..it.submissions[0].clone() };
        it.submissions.push(again);
    });
    assert_eq!(twice, (1, "submission 9 does not answer exactly one request".to_owned()));
    let same = failing(|it| it.acknowledged.extend(it.acknowledged.clone()));
    assert_eq!(same, [(1, vec!["submission 1 does not answer exactly one request".to_owned()])]);
}

#[test]
fn two_accepted_scores_are_named() {
    let two = the_failing(|it| it.steps[1].attempts[0].outcome = "succeeded".to_owned());
    assert_eq!(two, (2, "step 2 is succeeded by attempts [1, 2], not [2]".to_owned()));
    let other = the_failing(|it| it.steps[1].attempt = 1);
    assert_eq!(other, (2, "step 2 is succeeded by attempts [2], not [1]".to_owned()));
    let cancelled = the_failing(|it| it.steps[3].attempts[0].outcome = "succeeded".to_owned());
    assert_eq!(cancelled, (2, "step 4 is cancelled by attempts [1], not []".to_owned()));
    assert_eq!(
        the_failing(|it| it.steps[2].has_scores = false),
        (2, "step 3 is succeeded and lacks scores".to_owned())
    );
    assert_eq!(the_failing(|it| it.steps[3].has_scores = true), (2, "step 4 is cancelled and has scores".to_owned()));
}

#[test]
fn an_attempt_that_has_not_ended_is_named() {
    let expected = (3, "attempt 1 of step 4 on a has not".to_owned());
    assert_eq!(the_failing(|it| it.steps[3].attempts[0].outcome.clear()), expected);
    assert_eq!(the_failing(|it| it.steps[3].attempts[0].ended_at_ms = 0), expected);
}

#[test]
fn over_commitment_is_named() {
    let third = the_failing(|it| it.steps[3].attempts[0].assigned_at_ms = 19);
    assert_eq!(third, (4, "worker a of 2 cores had 3 given out at 19 ms".to_owned()));
    let beside_the_extraction = the_failing(|it| it.steps[2].attempts[0].assigned_at_ms = 9);
    assert_eq!(beside_the_extraction, (4, "worker a of 2 cores had 3 given out at 9 ms".to_owned()));
    assert_eq!(the_failing(|it| it.crowded.push("a had 3".to_owned())), (4, "a had 3".to_owned()));
    let stranger = the_failing(|it| it.steps[1].attempts[0].worker = "c".to_owned());
    assert_eq!(stranger, (4, "there is no worker c".to_owned()));
}

#[test]
fn scores_that_differ_or_are_missing_are_named() {
    let other = the_failing(|it| it.submissions[0].scores[1] = "two,0.2500000001".to_owned());
    assert_eq!(other, (5, "submission 1: two,0.2500000001 is not what an undisturbed run gives".to_owned()));
    let missing = the_failing(|it| drop(it.submissions[0].scores.pop()));
    assert_eq!(missing, (5, "submission 1: 1 scores of 2 runs".to_owned()));
    let foreign = the_failing(|it| it.submissions[0].name = "foreign".to_owned());
    assert_eq!(foreign, (5, "submission 1 is none of ours: foreign".to_owned()));
}

#[test]
fn damage_misbehaviour_and_leftovers_are_named() {
    let told = |text: &str| text.to_owned();
    assert_eq!(the_failing(|it| it.damage.push(told("page 3"))), (6, told("page 3")));
    assert_eq!(the_failing(|it| it.misbehaved.push(told("a ended"))), (7, told("a ended")));
    assert_eq!(the_failing(|it| it.orphans.extend([17])), (8, told("process 17 of an attempt outlived its daemon")));
    let file = the_failing(|it| it.unfinished.push(PathBuf::from("x.partial")));
    assert_eq!(file, (8, told("x.partial was never finished")));
}
