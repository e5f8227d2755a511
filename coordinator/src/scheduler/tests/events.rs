//! One event after the other, worked by hand.

use experiment_spec::run::{FailureKind, State};

use super::model::{World, cpu_worker, cpus, failed, key, step};
use crate::scheduler::{
    effects::{Because, Effect},
    reactor::{Poll, Reported},
    setbacks::MAX_ATTEMPTS,
};

/// One extraction (1) and two runs (2, 3), and worker 1 with two cpus that has the extraction.
fn extracting() -> World {
    let mut world = World::new(1);
    world.submit(2, &cpus(1));
    world.register(1, cpu_worker(2), &[]);
    assert_eq!(world.given(1, &[]), [key(1, 1)], "runs wait for their features");
    world
}

/// The same with both runs at work.
fn running() -> World {
    let mut world = extracting();
    world.report(1, key(1, 1), Reported::Succeeded);
    assert_eq!(world.given(1, &[]), [key(2, 1), key(3, 1)]);
    world.report(1, key(2, 1), Reported::Started);
    world.report(1, key(3, 1), Reported::Started);
    world
}

#[test]
fn a_start_is_recorded_once() {
    let mut world = extracting();
    let (counts, effects) = world.report(1, key(1, 1), Reported::Started);
    assert!(counts && matches!(effects[..], [Effect::Start { .. }]));
    let (counts, effects) = world.report(1, key(1, 1), Reported::Started);
    assert!(counts && effects.is_empty());
}

#[test]
fn an_assignment_that_was_lost_on_the_way_is_given_again() {
    let mut world = extracting();
    let (answer, effects) = world.poll(1, &[]);
    assert_eq!(answer.again.iter().map(|again| again.0).collect::<Vec<_>>(), [key(1, 1)]);
    assert_eq!(effects, [], "it is the same attempt");
    let (answer, _) = world.poll(1, &[key(1, 1)]);
    assert_eq!(answer.again, []);
}

#[test]
fn a_running_attempt_that_its_worker_does_not_have_is_queued_again() {
    let mut world = running();
    let (_, effects) = world.poll(1, &[key(3, 1)]);
    assert!(
        matches!(
            &effects[..],
            [Effect::Requeue { because: Because::WorkerWithoutIt, retries_left: 1, .. }, Effect::Assign { .. }]
        ),
        "{effects:?}"
    );
    assert_eq!(world.stored[&step(2)].attempt.0, 2);
}

#[test]
fn a_lost_worker_gives_back_what_it_had_and_its_late_reports_do_not_count() {
    let mut world = running();
    let effects = world.lose(1);
    assert_eq!(effects.len(), 2);
    assert!(effects.iter().all(|e| matches!(e, Effect::Requeue { because: Because::WorkerLost, retries_left: 1, .. })));
    world.register(2, cpu_worker(1), &[]);
    assert_eq!(world.given(2, &[]), [key(2, 2)]);

    let (counts, effects) = world.report(1, key(2, 1), Reported::Succeeded);
    assert!(!counts);
    assert!(matches!(effects[..], [Effect::SetAside { what: "result", .. }]), "{effects:?}");
    assert!(!world.report(1, key(2, 1), Reported::Detail).0);
    assert_eq!(world.state(2), State::Assigned);
    // Nor does the right attempt from the wrong worker.
    assert!(!world.report(1, key(2, 2), Reported::Succeeded).0);
}

#[test]
fn a_worker_that_comes_again_keeps_what_it_holds_and_drops_the_rest() {
    let mut world = running();
    let drop = world.register(1, cpu_worker(2), &[key(2, 1), key(9, 4), key(3, 7)]);
    assert_eq!(drop, [key(3, 7), key(9, 4)]);
    assert_eq!((world.state(2), world.state(3)), (State::Running, State::Queued));
}

#[test]
fn only_what_may_end_differently_is_tried_again_and_only_so_often() {
    let mut world = running();
    let (_, effects) = world.report(1, key(2, 1), failed(FailureKind::Nan));
    assert!(matches!(&effects[..], [Effect::Fail { kind: FailureKind::Nan, .. }]));

    let (_, effects) = world.report(1, key(3, 1), failed(FailureKind::OutOfMemory));
    let [Effect::Requeue { retries_left: 0, not_before_ms, .. }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(not_before_ms, 2_000);
    assert_eq!(world.given(1, &[]), [], "not before its pause is over");
    world.now_ms = not_before_ms;
    assert_eq!(world.given(1, &[]), [key(3, 2)]);
    world.report(1, key(3, 2), failed(FailureKind::OutOfMemory));
    assert_eq!(world.state(3), State::Failed);
}

#[test]
fn losses_cost_no_retries_but_are_not_endless() {
    let mut world = World::new(0);
    world.submit(0, &cpus(1));
    for attempt in 1..=MAX_ATTEMPTS {
        world.register(1, cpu_worker(1), &[]);
        assert_eq!(world.given(1, &[]), [key(1, attempt)]);
        world.lose(1);
    }
    let (kind, message) = world.stored[&step(1)].failure.clone().unwrap();
    assert_eq!(kind, FailureKind::Lost);
    assert!(message.contains("1000 attempts"), "{message}");
}

#[test]
fn a_worker_may_give_a_step_back() {
    let mut world = running();
    let reason = "no room".to_owned();
    let (_, effects) = world.report(1, key(2, 1), Reported::Released { reason });
    assert!(matches!(effects[..], [Effect::Requeue { retries_left: 1, not_before_ms: 2_000, .. }]), "{effects:?}");
    assert_eq!(world.given(1, &[key(3, 1)]), [], "not at once to the same worker");
}

#[test]
fn an_extraction_that_fails_fails_what_waits_for_it_and_says_why() {
    let mut world = extracting();
    world.report(1, key(1, 1), failed(FailureKind::Data));
    for id in [2, 3] {
        let (kind, message) = world.stored[&step(id)].failure.clone().unwrap();
        assert_eq!(kind, FailureKind::Data);
        assert_eq!(message, "its features could not be made: extraction 1 failed: it was data");
    }
    world.retry(step(2));
    assert_eq!((world.state(1), world.state(2), world.state(3)), (State::Queued, State::Queued, State::Failed));
    assert_eq!(world.given(1, &[]), [key(1, 2)], "the extraction first");
}

#[test]
fn what_is_cancelled_occupies_its_worker_until_it_is_gone() {
    let mut world = running();
    assert_eq!(world.cancel(&[step(2), step(2)]).len(), 1);
    world.submit(0, &cpus(1));
    let held = [key(2, 1), key(3, 1)];
    let (answer, effects) = world.poll(1, &held);
    assert_eq!((answer.stop, effects), (vec![key(2, 1)], vec![]), "both cpus are still taken");
    assert_eq!(world.given(1, &[key(3, 1)]), [key(4, 1)]);
    let (counts, _) = world.report(1, key(2, 1), Reported::Succeeded);
    assert!(!counts, "what was cancelled does not succeed");
}

#[test]
fn cancelling_an_extraction_cancels_what_waits_for_it() {
    let mut world = extracting();
    assert_eq!(world.cancel(&[step(1)]).len(), 3);
    assert_eq!(
        (world.state(1), world.state(2), world.state(3)),
        (State::Cancelled, State::Cancelled, State::Cancelled)
    );
}

#[test]
fn a_draining_worker_gets_nothing_and_keeps_what_it_has() {
    let mut world = running();
    world.submit(0, &cpus(1));
    world.report(1, key(2, 1), Reported::Succeeded);
    let held = [key(3, 1)].into();
    let (answer, effects) = world.poll_with(
        1,
        &Poll { draining: true, held, free: crate::scheduler::place::Free { cpus: 2, gpus: vec![] }, halted: None },
    );
    assert_eq!((answer.stop.len(), effects.len()), (0, 0));
    assert_eq!(world.given(1, &[key(3, 1)]), [key(4, 1)]);
}
