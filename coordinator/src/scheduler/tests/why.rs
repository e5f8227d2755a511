//! Why a step stands where it stands.

use std::collections::BTreeSet;

use experiment_spec::{
    ids::{StepId, WorkerId},
    run::{Device, FailureKind, Resources},
};

use super::model::{World, cpu_worker, cpus, failed, key, step};
use crate::scheduler::{reactor::Reported, state::Capacity, why::why};

fn told(world: &World, id: i64) -> Vec<String> {
    why(&world.scheduler, StepId(id), &BTreeSet::new(), world.now_ms)
}

#[test]
fn a_run_tells_of_its_extraction_then_of_itself() {
    let mut world = World::new(1);
    world.submit(2, &cpus(2));
    let nobody = "no worker to go to: none is online; start one with `orchestrator worker`";
    assert_eq!(
        told(&world, 3),
        [
            "it waits for its features, which extraction 1 makes".to_owned(),
            "extraction 1 stands first in the queue".to_owned(),
            format!("extraction 1 has {nobody}"),
        ]
    );
    world.register(1, cpu_worker(2), &[]);
    assert_eq!(told(&world, 1)[1..], ["it goes to worker w1 when it asks for work next"]);
    world.poll(1, &[]);
    assert_eq!(told(&world, 1), ["it was given to worker w1 as attempt 1, which has yet to start"]);
    world.report(1, key(1, 1), Reported::Started);
    assert_eq!(told(&world, 2)[1..], ["extraction 1 runs on worker w1 as attempt 1"]);
    world.report(1, key(1, 1), Reported::Succeeded);
    assert!(told(&world, 1).is_empty(), "what is final stands nowhere");
    world.poll(1, &[]);
    let expected = ["it stands first in the queue", "it cannot go to worker w1 now: 0 of its 2 cpus are free"];
    assert_eq!(told(&world, 3), expected);
    let draining = why(&world.scheduler, step(3), &BTreeSet::from([WorkerId(1)]), world.now_ms);
    assert_eq!(draining[1], "it cannot go to worker w1 now: it is being shut down");
}

#[test]
fn what_nobody_can_hold_says_so_and_names_what_each_lacks() {
    let mut world = World::new(0);
    world.submit(0, &Resources { device: Device::Cuda, ..cpus(1) });
    world.submit(0, &Resources { memory_bytes: 3 << 30, ..cpus(4) });
    world.register(1, cpu_worker(2), &[]);
    let expected = [
        "it stands first in the queue",
        "it fits on no worker that is online; it asks for 1 cpus, a CUDA GPU (`device: cuda`)",
        "it can never go to worker w1: it has no GPU",
    ];
    assert_eq!(told(&world, 1), expected);
    let expected = [
        "it stands behind 1 step in the queue",
        "it fits on no worker that is online; it asks for 4 cpus, 3.0 GiB of memory",
        "it can never go to worker w1: it has 1.0 GiB of memory",
    ];
    assert_eq!(told(&world, 2), expected);
    world.register(2, Capacity { cpus: 8, gpus: vec![0], memory_bytes: 4 << 30, ..Capacity::default() }, &[]);
    assert_eq!(told(&world, 2)[2], "it could go to worker w2, once those before it are given out");
    world.poll(2, &[]);
    world.submit(0, &Resources { memory_bytes: 2 << 30, ..cpus(1) });
    world.submit(0, &Resources { device: Device::Cuda, ..cpus(1) });
    assert_eq!(told(&world, 3)[2], "it cannot go to worker w2 now: 1.0 GiB of its 4.0 GiB of memory are free");
    assert_eq!(told(&world, 4)[2], "it cannot go to worker w2 now: no such share of one of its GPUs is free");
}

#[test]
fn a_step_that_waits_for_another_worker_says_so_and_so_does_a_worker_put_aside() {
    let mut world = World::new(2);
    for _ in 0..3 {
        world.submit(0, &cpus(1));
    }
    world.register(1, cpu_worker(1), &[]);
    world.register(2, cpu_worker(1), &[]);
    world.poll(1, &[]);
    world.report(1, key(1, 1), failed(FailureKind::Killed));
    world.now_ms += 3_000;
    assert_eq!(told(&world, 1)[1], "it waits for a worker other than w1, on which attempt 1 failed");
    assert_eq!(told(&world, 1)[2], "it goes to worker w2 when it asks for work next");
    for id in [2, 3] {
        world.poll(1, &[]);
        world.report(1, key(id, 1), failed(FailureKind::Killed));
    }
    let aside = "it cannot go to worker w1 now: it is put aside for another 5 min: 3 steps failed on it";
    let line = told(&world, 3).into_iter().find(|line| line.contains("worker w1")).unwrap();
    assert!(line.starts_with(aside), "{line}");
}

#[test]
fn a_pause_is_told_with_its_length_and_a_crowd_is_counted() {
    let mut world = World::new(2);
    world.submit(0, &cpus(1));
    for id in 1..=12 {
        world.register(id, cpu_worker(1), &[]);
    }
    world.poll(3, &[]);
    world.report(3, key(1, 1), failed(FailureKind::Killed));
    let lines = told(&world, 1);
    assert!(
        lines[0].starts_with("it is not given out for another ")
            && lines[0].ends_with("attempt 1 ended without a result")
    );
    assert_eq!((lines.len(), lines.last().unwrap().as_str()), (13, "it has 2 more workers to choose from"));
    world.now_ms += 60_000;
    assert_eq!(told(&world, 1)[0], "it stands first in the queue");
}
