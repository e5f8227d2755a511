//! Attempts that fail: again, not again, elsewhere; and workers on which too much fails.

use experiment_spec::run::{Device, FailureKind, Resources};

use super::model::{World, cpu_worker, cpus, failed, key};
use crate::scheduler::{effects::Effect, reactor::Reported, state::Capacity};

const MINUTE_MS: i64 = 60_000;

/// Workers 1 to `workers` with a cpu each, and this many single steps that ask for one.
fn fleet(workers: i64, steps: usize) -> World {
    let mut world = World::new(5);
    for _ in 0..steps {
        world.submit(0, &cpus(1));
    }
    for worker in 1..=workers {
        world.register(worker, cpu_worker(1), &[]);
    }
    world
}

/// Worker 1 takes the next step and fails in this way after this time; whether that put it aside.
fn fails_after(world: &mut World, kind: FailureKind, ms: i64) -> bool {
    let [key] = world.given(1, &[])[..] else { panic!("worker 1 is given a step") };
    world.now_ms += ms;
    let effects = world.report(1, key, failed(kind)).1;
    effects.iter().any(|effect| matches!(effect, Effect::PutAside { .. }))
}

#[test]
fn what_failed_on_one_worker_goes_to_another_that_could_hold_it() {
    for (kind, elsewhere) in
        [(FailureKind::Killed, true), (FailureKind::OutOfMemory, true), (FailureKind::CudaOom, false)]
    {
        let mut world = fleet(2, 1);
        assert!(!fails_after(&mut world, kind, 0));
        world.now_ms += MINUTE_MS;
        assert_eq!(world.given(1, &[]).is_empty(), elsewhere, "{}", kind.name());
        if elsewhere {
            assert_eq!(world.given(2, &[]), [key(1, 2)]);
        }
    }
}

#[test]
fn it_stays_where_nobody_else_could_hold_it() {
    let mut world = World::new(5);
    world.submit(0, &Resources { device: Device::Cuda, ..cpus(1) });
    world.register(1, Capacity { cpus: 1, gpus: vec![0], ..Capacity::default() }, &[]);
    world.register(2, cpu_worker(1), &[]);
    fails_after(&mut world, FailureKind::Killed, 0);
    world.now_ms += MINUTE_MS;
    assert_eq!(world.given(1, &[]), [key(1, 2)], "worker 2 has no GPU");

    let mut world = fleet(2, 1);
    fails_after(&mut world, FailureKind::Killed, 0);
    world.now_ms += MINUTE_MS;
    assert_eq!(world.given(1, &[]), []);
    world.lose(2);
    assert_eq!(world.given(1, &[]), [key(1, 2)], "worker 2 is gone");
}

#[test]
fn a_worker_on_which_three_steps_fail_quickly_is_put_aside_and_tried_again_later() {
    let mut world = fleet(2, 4);
    assert!(!fails_after(&mut world, FailureKind::Killed, 10));
    assert!(!fails_after(&mut world, FailureKind::CudaOom, 10));
    assert!(fails_after(&mut world, FailureKind::Killed, 10));
    let aside = world.scheduler.workers.values().next().unwrap().aside.clone().unwrap();
    assert_eq!(aside.0, world.now_ms + 5 * MINUTE_MS);
    let expected =
        "3 steps failed on it within a minute each, none succeeded between; the last one: killed: it was killed";
    assert_eq!(aside.1, expected);
    assert_eq!(world.given(1, &[]), []);
    assert_eq!(world.given(2, &[]), [key(4, 1)], "the others go on");
    world.now_ms += 5 * MINUTE_MS - 1;
    assert_eq!(world.given(1, &[]), []);
    world.now_ms += 1;
    // Steps 1 and 3 wait for worker 2, which could hold them.
    assert_eq!(world.given(1, &[]), [key(2, 2)]);
}

#[test]
fn only_quick_failures_of_different_steps_that_another_worker_may_not_have_count() {
    // One slow, one of the step's own making, two of the same step.
    let mut world = fleet(2, 4);
    assert!(!fails_after(&mut world, FailureKind::Killed, MINUTE_MS));
    assert!(!fails_after(&mut world, FailureKind::Nan, 0));
    assert!(!fails_after(&mut world, FailureKind::CudaOom, 0));
    world.now_ms += MINUTE_MS;
    assert!(!fails_after(&mut world, FailureKind::CudaOom, 0), "step 3 again");
    assert!(!fails_after(&mut world, FailureKind::Killed, 0), "step 4 is the second");

    let mut world = fleet(2, 4);
    assert!(!fails_after(&mut world, FailureKind::Killed, 0));
    assert!(!fails_after(&mut world, FailureKind::Killed, 0));
    let given = world.given(1, &[]);
    world.report(1, given[0], Reported::Succeeded);
    assert!(!fails_after(&mut world, FailureKind::Killed, 0), "one succeeded between");

    let mut world = fleet(1, 3);
    assert!(!(0..3).any(|_| fails_after(&mut world, FailureKind::Killed, 0)), "nobody else would be left");
}

#[test]
fn a_worker_that_registers_again_is_tried_at_once() {
    let mut world = fleet(2, 4);
    assert!((0..3).any(|_| fails_after(&mut world, FailureKind::Killed, 0)));
    assert_eq!(world.given(1, &[]), []);
    world.register(1, cpu_worker(1), &[]);
    assert_eq!(world.given(1, &[]), [key(4, 1)]);
}

#[test]
fn a_clock_that_is_set_back_makes_no_pause_longer() {
    let hour_ms = 60 * MINUTE_MS;
    let mut world = fleet(2, 3);
    world.now_ms = hour_ms;
    assert!((0..3).any(|_| fails_after(&mut world, FailureKind::CudaOom, 0)));
    assert_eq!((world.given(1, &[]), world.given(2, &[])), (vec![], vec![]), "all pause, and worker 1 is put aside");
    world.now_ms = 0;
    assert_eq!((world.given(1, &[]), world.given(2, &[])), (vec![key(1, 2)], vec![key(2, 2)]));
}

#[test]
fn a_drained_worker_gets_nothing_new_until_that_is_undone() {
    let mut world = fleet(2, 3);
    assert_eq!(world.given(1, &[]), [key(1, 1)]);
    world.report(1, key(1, 1), Reported::Started);
    world.drain(1, true);
    let (answer, effects) = world.poll(1, &[key(1, 1)]);
    assert_eq!((answer.stop.len(), effects.len()), (0, 0), "what it has goes on");
    world.report(1, key(1, 1), failed(FailureKind::Killed));
    assert_eq!(world.given(1, &[]), []);
    world.lose(1);
    world.register(1, cpu_worker(1), &[]);
    assert_eq!(world.given(1, &[]), [], "nor after it has come again");
    world.drain(1, false);
    assert_eq!(world.given(1, &[]), [key(2, 1)]);
    // A worker that is drained is nobody to wait for.
    world.drain(2, true);
    world.report(1, key(2, 1), failed(FailureKind::Killed));
    world.now_ms += MINUTE_MS;
    assert_eq!(world.given(1, &[]), [key(1, 2)]);
}

#[test]
fn undoing_a_drain_takes_a_worker_back_that_was_put_aside() {
    let mut world = fleet(2, 4);
    assert!((0..3).any(|_| fails_after(&mut world, FailureKind::Killed, 0)));
    world.drain(1, false);
    assert_eq!(world.given(1, &[]), [key(4, 1)]);
}
