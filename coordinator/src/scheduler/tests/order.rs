//! The order in which steps are given out.

use experiment_spec::{
    ids::{AttemptNumber, LeaseToken, StepId, SubmissionId, WorkerId},
    run::Resources,
};
use proptest::prelude::*;

use super::model::{cpu_worker, cpus};
use crate::scheduler::{
    place::{Free, place},
    queue::{Ask, Standing},
    reactor::{self, Arrived, Poll},
    state::{Phase, Scheduler, Step},
};

/// A run that one submission asks for.
fn run(id: i64, submission: i64, round: u32) -> Step {
    Step {
        id: StepId(id),
        asks: vec![Ask { submission: SubmissionId(submission), round, position: u32::try_from(id).unwrap() }],
        priority: None,
        paused: false,
        expected_ms: None,
        // Made long ago, so that the run waits for nothing.
        needs: Some(StepId(0)),
        resources: cpus(1),
        attempt: AttemptNumber(0),
        lease: LeaseToken::default(),
        retries_left: 0,
        shuns: None,
        since_ms: 0,
        phase: Phase::Waiting,
    }
}

fn scheduler(steps: impl IntoIterator<Item = Step>) -> Scheduler {
    let mut scheduler = Scheduler::default();
    reactor::on_queued(&mut scheduler, steps.into_iter().collect());
    scheduler.check();
    scheduler
}

fn order(scheduler: &Scheduler) -> Vec<i64> {
    scheduler.ready().map(|step| step.id.0).collect()
}

fn stand(scheduler: &mut Scheduler, submission: i64, standing: Standing) {
    scheduler.set_standing(SubmissionId(submission), standing);
    scheduler.check();
}

#[test]
fn every_cell_gets_its_first_seed_before_any_gets_its_second() {
    let scheduler = scheduler([run(1, 1, 1), run(2, 1, 0), run(3, 2, 0), run(4, 2, 1), run(5, 1, 0)]);
    assert_eq!(order(&scheduler), [2, 3, 5, 4, 1]);
}

#[test]
fn a_higher_priority_goes_before_every_seed_of_a_lower_one() {
    let mut scheduler = scheduler([run(1, 1, 0), run(2, 2, 0), run(3, 2, 7), run(4, 1, 0)]);
    stand(&mut scheduler, 2, Standing { priority: 1, ..Standing::default() });
    assert_eq!(order(&scheduler), [2, 3, 1, 4]);
    scheduler.update(StepId(4), |step| step.priority = Some(2));
    assert_eq!(order(&scheduler), [4, 2, 3, 1]);
    stand(&mut scheduler, 2, Standing { priority: -1, ..Standing::default() });
    assert_eq!(order(&scheduler), [4, 1, 2, 3]);
}

#[test]
fn extractions_go_first_then_what_nobody_knows_then_what_takes_longest() {
    let known = |id, expected_ms| Step { expected_ms: Some(expected_ms), ..run(id, 1, 0) };
    let extraction = Step { needs: None, expected_ms: Some(1), ..run(5, 1, 0) };
    let scheduler = scheduler([known(1, 10), known(2, 30), run(3, 1, 0), known(4, 20), extraction, known(6, 30)]);
    assert_eq!(order(&scheduler), [5, 3, 2, 6, 4, 1]);
}

#[test]
fn the_submission_with_the_fewest_cores_at_work_goes_first() {
    let steps = (1..=6).map(|id| run(id, 1, 0)).chain((7..=9).map(|id| run(id, 2, 0)));
    let wide = Step { resources: cpus(3), ..run(10, 3, 0) };
    let mut scheduler = scheduler(steps.chain([wide]));
    let arrived = |name: &str, cpus| Arrived { name: name.to_owned(), capacity: cpu_worker(cpus), drained: false };
    let give = |scheduler: &mut Scheduler, worker, cpus| -> Vec<i64> {
        let (id, held, mut effects) = (WorkerId(worker), [].into(), Vec::new());
        reactor::on_worker_registered(scheduler, id, arrived("w", cpus), &held, 0, &mut effects);
        let free = Free::all_of(&cpu_worker(cpus));
        reactor::on_worker_polled(scheduler, id, &Poll { free, ..Poll::default() }, 0, &mut effects);
        scheduler.check();
        effects.iter().filter_map(crate::scheduler::effects::Effect::assigned).map(|(key, _)| key.step.0).collect()
    };
    // In turns; the one that takes three cores at once then waits until the others have as many.
    assert_eq!(give(&mut scheduler, 1, 7), [1, 7, 10, 2, 8]);
    // What is at work counts, not what was given out in the same answer alone.
    assert_eq!(give(&mut scheduler, 2, 3), [3, 9, 4]);
}

#[test]
fn what_is_paused_is_not_given_out() {
    let mut shared = run(2, 1, 0);
    shared.asks.push(Ask { submission: SubmissionId(2), round: 3, position: 0 });
    let mut scheduler = scheduler([run(1, 1, 0), shared, run(3, 2, 0)]);
    let paused = Standing { paused: true, ..Standing::default() };
    stand(&mut scheduler, 1, paused);
    assert_eq!(order(&scheduler), [3, 2], "another submission asks for it too, but later");
    stand(&mut scheduler, 2, paused);
    assert_eq!(order(&scheduler), [0_i64; 0]);
    stand(&mut scheduler, 1, Standing { priority: 4, ..Standing::default() });
    scheduler.update(StepId(1), |step| step.paused = true);
    assert_eq!(order(&scheduler), [2]);
    stand(&mut scheduler, 1, Standing { cancelled: true, ..Standing::default() });
    assert_eq!(order(&scheduler), [0_i64; 0], "only a submission that is paused still asks for it");
    stand(&mut scheduler, 2, Standing { cancelled: true, ..Standing::default() });
    assert_eq!(order(&scheduler), [2, 3], "nobody asks any more: a user has queued them by themselves");
}

#[test]
fn it_is_said_why_something_is_paused() {
    let mut shared = run(1, 1, 0);
    shared.asks.push(Ask { submission: SubmissionId(2), round: 0, position: 0 });
    let forgotten = Step { asks: Vec::new(), ..run(2, 1, 0) };
    let mut scheduler = scheduler([shared, forgotten]);
    for submission in [1, 2] {
        stand(&mut scheduler, submission, Standing { paused: true, ..Standing::default() });
    }
    let why = |scheduler: &Scheduler, id| crate::scheduler::why::why(scheduler, StepId(id), &[].into(), 0);
    assert_eq!(why(&scheduler, 1), ["it is paused with submission 1 and 2; `orchestrator resume 1`"]);
    assert_eq!(why(&scheduler, 2), ["it is asked for by no submission"]);
    scheduler.update(StepId(1), |step| step.paused = true);
    assert_eq!(why(&scheduler, 1), ["it is paused; `orchestrator resume --run 1`"]);
}

#[test]
fn a_submission_that_comes_later_may_raise_what_it_shares() {
    let mut scheduler = scheduler([run(1, 1, 0), run(2, 1, 5)]);
    stand(&mut scheduler, 2, Standing { priority: 9, ..Standing::default() });
    let ask = Ask { submission: SubmissionId(2), round: 0, position: 0 };
    reactor::on_asked(&mut scheduler, &[(StepId(2), ask), (StepId(7), ask)]);
    reactor::on_asked(&mut scheduler, &[(StepId(2), Ask { round: 1, ..ask })]);
    scheduler.check();
    assert_eq!(order(&scheduler), [2, 1]);
    assert_eq!(scheduler.step(StepId(2)).unwrap().asks.len(), 2);
}

#[test]
fn a_large_step_is_not_overtaken_on_a_worker_that_could_hold_it() {
    let wide = Step { resources: Resources { cpus: 4, ..Resources::default() }, ..run(1, 1, 0) };
    let mut scheduler = scheduler([wide, run(2, 1, 1)]);
    let arrived = Arrived { name: "w".to_owned(), capacity: cpu_worker(4), drained: false };
    reactor::on_worker_registered(&mut scheduler, WorkerId(1), arrived, &[].into(), 0, &mut Vec::new());
    assert_eq!(place(&scheduler, WorkerId(1), &Free { cpus: 3, gpus: Vec::new() }, 0), []);
}

#[test]
fn a_worker_without_room_is_given_nothing_and_says_why() {
    let mut scheduler = scheduler([run(1, 1, 0)]);
    let (id, capacity) = (WorkerId(1), cpu_worker(2));
    let arrived = Arrived { name: "w".to_owned(), capacity: capacity.clone(), drained: false };
    reactor::on_worker_registered(&mut scheduler, id, arrived, &[].into(), 0, &mut Vec::new());
    let poll = |scheduler: &mut Scheduler, halted: Option<&str>| {
        let (free, halted) = (Free::all_of(&capacity), halted.map(str::to_owned));
        let mut effects = Vec::new();
        reactor::on_worker_polled(scheduler, id, &Poll { free, halted, ..Poll::default() }, 0, &mut effects);
        effects.len()
    };
    assert_eq!(poll(&mut scheduler, Some("its disk is full")), 0);
    let why = crate::scheduler::why::why(&scheduler, StepId(1), &[].into(), 0);
    assert_eq!(why[1..], ["it cannot go to worker w now: its disk is full"]);
    assert_eq!(poll(&mut scheduler, None), 1);
}

#[test]
fn what_a_worker_can_never_hold_hides_nothing_behind_it() {
    let for_gpus = Resources { device: experiment_spec::run::Device::Cuda, ..cpus(1) };
    let in_front = (1..=3_000).map(|id| Step { resources: for_gpus.clone(), ..run(id, 1, 0) });
    let mut scheduler = scheduler(in_front.chain([run(5_000, 1, 1)]));
    let arrived = Arrived { name: "w".to_owned(), capacity: cpu_worker(2), drained: false };
    reactor::on_worker_registered(&mut scheduler, WorkerId(1), arrived, &[].into(), 0, &mut Vec::new());
    let placed = place(&scheduler, WorkerId(1), &Free::all_of(&cpu_worker(2)), 0);
    assert_eq!(placed.into_iter().map(|(step, _)| step).collect::<Vec<_>>(), [StepId(5_000)]);
}

proptest! {
    /// `check` builds the queue anew and compares; here many changes come one after the other.
    #[test]
    fn the_queue_is_the_same_however_it_came_about(
        changes in prop::collection::vec((1_i64..8, 1_i64..4, -1_i32..2, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let mut scheduler = scheduler((1..8).map(|id| run(id, 1 + id % 3, u32::try_from(id % 2).unwrap())));
        for (id, submission, priority, paused, cancelled) in changes {
            let ask = Ask { submission: SubmissionId(submission), round: 0, position: 0 };
            reactor::on_asked(&mut scheduler, &[(StepId(id), ask)]);
            stand(&mut scheduler, submission, Standing { priority, paused, cancelled });
            scheduler.update(StepId(id), |step| (step.paused, step.priority) = (cancelled, paused.then_some(priority)));
            scheduler.check();
        }
    }
}
