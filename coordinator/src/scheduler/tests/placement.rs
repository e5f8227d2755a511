//! Who is given what: order, sizes, devices.

use experiment_spec::{
    ids::WorkerId,
    run::{Device, Resources},
};

use super::model::{World, assignments, cpu_worker, cpus, key};
use crate::scheduler::{
    effects::Effect,
    place::{Free, MAX_ASSIGNMENTS, Room, room},
    reactor::Poll,
    state::{Capacity, Grant},
};

fn grants(effects: &[Effect]) -> Vec<Grant> {
    let grant = |effect: &Effect| match effect {
        Effect::Assign { grant, .. } => Some(*grant),
        _ => None,
    };
    effects.iter().filter_map(grant).collect()
}

fn gpu_worker(gpus: u32) -> Capacity {
    Capacity { cpus: 8, gpus: (0..gpus).collect(), memory_bytes: 1 << 30, ..Capacity::default() }
}

/// Submits this many single steps that ask for these resources.
fn submit(world: &mut World, steps: usize, resources: &Resources) {
    for _ in 0..steps {
        world.submit(0, resources);
    }
}

#[test]
fn more_cpus_than_a_worker_has_are_all_it_has_once_it_is_empty() {
    let mut world = World::new(0);
    submit(&mut world, 1, &cpus(1));
    submit(&mut world, 1, &cpus(16));
    submit(&mut world, 1, &cpus(1));
    world.register(1, cpu_worker(4), &[]);
    let (_, effects) = world.poll(1, &[]);
    assert_eq!(assignments(&effects), [key(1, 1)], "the large step is not overtaken by the small one behind it");
    world.report(1, key(1, 1), crate::scheduler::reactor::Reported::Succeeded);
    let (_, effects) = world.poll(1, &[]);
    assert_eq!(assignments(&effects), [key(2, 1)]);
    assert_eq!(grants(&effects)[0].cpus, 4);
}

#[test]
fn what_a_worker_could_never_hold_blocks_nobody() {
    let mut world = World::new(0);
    submit(&mut world, 1, &Resources { memory_bytes: 2 << 30, ..cpus(1) });
    submit(&mut world, 1, &Resources { device: Device::Cuda, ..cpus(1) });
    submit(&mut world, 1, &cpus(1));
    world.register(1, cpu_worker(4), &[]);
    assert_eq!(world.given(1, &[]), [key(3, 1)]);
}

#[test]
fn only_a_worker_with_all_the_labels_asked_for_is_given_a_step() {
    let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
    let mut world = World::new(0);
    submit(&mut world, 1, &Resources { labels: labels(&["a100", "rack-2"]), ..cpus(1) });
    submit(&mut world, 1, &cpus(1));
    world.register(1, Capacity { labels: labels(&["a100"]), ..cpu_worker(4) }, &[]);
    assert_eq!(world.given(1, &[]), [key(2, 1)], "what it could never hold blocks nothing behind it");
    let asked = Resources { labels: labels(&["a100", "rack-2"]), ..cpus(1) };
    let first = room(&asked, &world.scheduler.workers[&WorkerId(1)]);
    assert_eq!(first, Room::Never("it is not labelled rack-2".to_owned()));
    world.register(2, Capacity { labels: labels(&["rack-2", "a100", "ssd"]), ..cpu_worker(4) }, &[]);
    assert_eq!(world.given(2, &[]), [key(1, 1)]);
}

#[test]
fn memory_is_counted() {
    let mut world = World::new(0);
    submit(&mut world, 3, &Resources { memory_bytes: 512 << 20, ..cpus(1) });
    world.register(1, cpu_worker(4), &[]);
    assert_eq!(world.given(1, &[]).len(), 2);
}

#[test]
fn shares_of_gpus_fill_one_gpu_before_the_next() {
    let mut world = World::new(0);
    submit(&mut world, 3, &Resources { gpus: 0.4, ..cpus(1) });
    submit(&mut world, 1, &Resources { gpus: 0.0, device: Device::Cuda, ..cpus(1) });
    world.register(1, gpu_worker(3), &[]);
    let (_, effects) = world.poll(1, &[]);
    let gpus: Vec<_> = grants(&effects).into_iter().map(|grant| grant.gpu).collect();
    assert_eq!(gpus, [Some((0, 400)), Some((0, 400)), Some((1, 400)), Some((2, 1000))]);
}

#[test]
fn without_gpus_auto_takes_cpus_and_cpu_never_takes_a_gpu() {
    let mut world = World::new(0);
    submit(&mut world, 1, &Resources { gpus: 0.5, ..cpus(1) });
    submit(&mut world, 1, &Resources { gpus: 0.5, device: Device::Cpu, ..cpus(1) });
    world.register(1, cpu_worker(1), &[]);
    world.register(2, gpu_worker(1), &[]);
    let (_, first) = world.poll(1, &[]);
    let (_, second) = world.poll(2, &[]);
    assert_eq!(grants(&first)[0].gpu, None);
    assert_eq!((assignments(&second), grants(&second)[0].gpu), (vec![key(2, 1)], None));
}

#[test]
fn a_worker_may_say_that_less_is_free() {
    let mut world = World::new(0);
    submit(&mut world, 3, &cpus(1));
    world.register(1, cpu_worker(3), &[]);
    let poll = |cpus| Poll { free: Free { cpus, gpus: vec![] }, ..Poll::default() };
    assert_eq!(assignments(&world.poll_with(1, &poll(0)).1), []);
    assert_eq!(assignments(&world.poll_with(1, &poll(1)).1), [key(1, 1)]);
    let held = Poll { held: [key(1, 1)].into(), ..poll(99) };
    assert_eq!(assignments(&world.poll_with(1, &held).1).len(), 2, "more than there is does not help");
}

#[test]
fn an_answer_has_a_limit() {
    let mut world = World::new(0);
    submit(&mut world, MAX_ASSIGNMENTS + 1, &cpus(1));
    world.register(1, cpu_worker(1_000), &[]);
    assert_eq!(world.given(1, &[]).len(), MAX_ASSIGNMENTS);
}
