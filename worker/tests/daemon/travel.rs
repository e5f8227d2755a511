//! Checkpoints that go from one worker to another.

use std::{fs, path::PathBuf, time::Duration};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::v1::{Checkpoint, CheckpointSaved, Gpu, Started, attempt_event::Event};

use crate::{
    Test,
    coordinator::{Coordinator, State},
    leases::{LEASE_MS, given_back},
    steps::{state_after, step},
    worker::{Daemon, Fixture, ends_within},
};

pub(crate) const TESTS: &[Test] = &[
    (
        "another_worker_goes_on_from_what_was_sent_while_training",
        another_worker_goes_on_from_what_was_sent_while_training,
    ),
    ("what_is_given_back_is_sent_before_it_is_reported", what_is_given_back_is_sent_before_it_is_reported),
    ("the_last_checkpoint_waits_for_the_coordinator", the_last_checkpoint_waits_for_the_coordinator),
    ("a_checkpoint_that_cannot_be_had_costs_no_run", a_checkpoint_that_cannot_be_had_costs_no_run),
    ("nothing_is_fetched_that_is_of_no_use", nothing_is_fetched_that_is_of_no_use),
    ("a_checkpoint_that_does_not_get_through_stops_nothing", a_checkpoint_that_does_not_get_through_stops_nothing),
];

/// Iterations of an attempt that is not to end by itself.
const LONG: u64 = 1_000_000;

/// Checkpoints of an attempt that the coordinator has the content of.
fn sent(state: &State, attempt: u32) -> Vec<CheckpointSaved> {
    let saved = |event: &Event| match event {
        Event::CheckpointSaved(saved) if !saved.hash.is_empty() => Some(saved.clone()),
        _ => None,
    };
    state.events(1, attempt).filter_map(saved).collect()
}

fn told(saved: CheckpointSaved) -> Checkpoint {
    let CheckpointSaved { iteration, bytes, hash, kind } = saved;
    Checkpoint { hash, bytes, iteration, kind, made_by: "first".to_owned(), attempt: 1 }
}

fn start(coordinator: &Coordinator, attempt: u32) -> Started {
    coordinator.wait("start", |state| {
        state.events(1, attempt).find_map(|event| if let Event::Started(s) = event { Some(s.clone()) } else { None })
    })
}

fn succeeds(coordinator: &Coordinator, attempt: u32, iterations: u64) {
    let Event::Succeeded(succeeded) = coordinator.last_word(1, attempt) else { panic!("a result") };
    assert_eq!(succeeded.scores_json.parse::<f64>().unwrap().to_bits(), state_after(iterations).to_bits());
}

/// A daemon with a folder of its own, that sends checkpoints so often.
fn daemon(fixture: &Fixture, name: &str, every: Duration) -> Daemon {
    let folder = folder(fixture, name);
    fixture.daemon(|config| {
        config.blobs = folder.join("blobs");
        config.folder = folder;
        config.send_checkpoints = every;
    })
}

fn folder(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.folder.path().join(name)
}

/// The checkpoint that a worker of that name is left with after some iterations of 1,000.
fn left_by(fixture: &Fixture, name: &str) -> CheckpointSaved {
    let coordinator = &fixture.coordinator;
    let first = daemon(fixture, name, Duration::ZERO);
    coordinator.assign(1, 1, &step("toy", 1_000));
    coordinator.wait("points", |state| (state.points(1).len() > 100).then_some(()));
    fixture.end(first).unwrap();
    coordinator.wait("checkpoint", |state| sent(state, 1).pop())
}

fn another_worker_goes_on_from_what_was_sent_while_training() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let first = daemon(&fixture, "first", Duration::from_millis(300));
    coordinator.assign(1, 1, &step("toy", 2_500));
    let saved = coordinator.wait("two checkpoints", |state| sent(state, 1).get(1).cloned());
    let state = coordinator.state();
    let before = sent(&state, 1).remove(0);
    assert!(saved.iteration > before.iteration && saved.iteration.is_multiple_of(20), "{before:?} {saved:?}");
    assert_eq!(saved.bytes, state.blobs[&saved.hash].len() as u64);
    assert!(state.points(1).len() as u64 >= saved.iteration, "its points came before it");
    drop(state);
    let process = coordinator.process_of(1, 1);
    first.task.abort();
    ends_within(process, Duration::from_secs(3));

    let second = daemon(&fixture, "second", Duration::ZERO);
    coordinator.assign_with(1, 2, &step("toy", 2_500), |assignment| assignment.checkpoint = Some(told(saved.clone())));
    let started = start(coordinator, 2);
    assert_eq!((started.from_iteration, started.of_attempt), (saved.iteration, 1));
    succeeds(coordinator, 2, 2_500);
    assert_eq!(coordinator.state().gets, [saved.hash]);
    fixture.end(second).unwrap();
}

fn what_is_given_back_is_sent_before_it_is_reported() {
    let fixture = Fixture::new();
    let saved = left_by(&fixture, "first");
    let state = fixture.coordinator.state();
    assert_eq!(sent(&state, 1).len(), 1, "with an interval of zero nothing is sent before");
    let events: Vec<_> = state.events(1, 1).collect();
    let [.., Event::CheckpointSaved(last), Event::Released(released)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((last, last.iteration), (&saved, released.iteration));
    assert_eq!(ContentHash::of(&state.blobs[&saved.hash]).to_string(), saved.hash);
}

fn the_last_checkpoint_waits_for_the_coordinator() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    coordinator.state().lease_ms = LEASE_MS;
    let first = daemon(&fixture, "first", Duration::ZERO);
    coordinator.assign(1, 1, &step("toy", LONG));
    let process = coordinator.process_of(1, 1);
    coordinator.wait("points", |state| (state.points(1).len() > 25).then_some(()));
    coordinator.state().silent = true;
    coordinator.state().blobs_away = true;
    ends_within(process, Duration::from_millis(LEASE_MS.into()) + Duration::from_secs(1));
    coordinator.state().silent = false;
    let polls = coordinator.state().polls;
    coordinator.wait("polls", |state| (state.polls > polls + 5).then_some(()));
    let state = coordinator.state();
    assert_eq!(state.last_poll.held, [crate::coordinator::held(1, 1)], "it keeps its lease until it has told");
    assert!(!state.events(1, 1).any(crate::coordinator::is_last));
    drop(state);
    coordinator.state().blobs_away = false;
    let iteration = given_back(&coordinator.last_word(1, 1));
    assert_eq!(sent(&coordinator.state(), 1).pop().unwrap().iteration, iteration);
    fixture.end(first).unwrap();
}

fn a_checkpoint_that_cannot_be_had_costs_no_run() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let spec = step("toy", 1_000);
    let saved = left_by(&fixture, "first");
    let content = coordinator.state().blobs.remove(&saved.hash).unwrap();
    let second = daemon(&fixture, "second", Duration::ZERO);
    coordinator.assign_with(1, 2, &spec, |assignment| assignment.checkpoint = Some(told(saved.clone())));
    assert_eq!(start(coordinator, 2).from_iteration, 0);
    fixture.end(second).unwrap();
    let own = coordinator.wait("its own", |state| sent(state, 2).pop());
    assert!(own.iteration > 0, "nobody has the one that is said to be there: its own is sent");
    let second = daemon(&fixture, "second", Duration::ZERO);
    coordinator.assign_with(1, 5, &spec, |assignment| assignment.checkpoint = None);
    succeeds(coordinator, 5, 1_000);
    let iteration = saved.iteration;
    let line = format!("the checkpoint of iteration {iteration} by worker first cannot be had");
    coordinator.wait("log", |state| state.log(1, 2).iter().any(|it| it.starts_with(&line)).then_some(()));

    // A byte changes on the way, every time: what comes is never used.
    let mut flipped = content;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    coordinator.state().blobs.insert(saved.hash.clone(), flipped);
    coordinator.assign_with(1, 3, &spec, |assignment| assignment.checkpoint = Some(told(saved.clone())));
    assert_eq!(start(coordinator, 3).from_iteration, 0);
    coordinator.wait("log", |state| state.log(1, 3).iter().any(|it| it.starts_with(&line)).then_some(()));
    succeeds(coordinator, 3, 1_000);
    fixture.end(second).unwrap();

    // Content that is what it should be, and is no checkpoint.
    let third = daemon(&fixture, "third", Duration::ZERO);
    let nonsense = b"no checkpoint at all".to_vec();
    let named =
        Checkpoint { hash: ContentHash::of(&nonsense).to_string(), bytes: nonsense.len() as u64, ..told(saved) };
    coordinator.state().blobs.insert(named.hash.clone(), nonsense);
    coordinator.assign_with(1, 4, &spec, |assignment| assignment.checkpoint = Some(named));
    assert_eq!(start(coordinator, 4).from_iteration, 0);
    coordinator.wait("log", |state| {
        state.log(1, 4).iter().any(|it| it.starts_with("the checkpoint by worker first cannot be used")).then_some(())
    });
    succeeds(coordinator, 4, 1_000);
    fixture.end(third).unwrap();
}

fn nothing_is_fetched_that_is_of_no_use() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let spec = step("toy", 1_000);
    let saved = left_by(&fixture, "first");
    let attempts = [("first", saved.kind.clone(), saved.iteration), ("second", "cuda/Other/0.1.0".to_owned(), 0)];
    for (attempt, (name, kind, from_iteration)) in (2..).zip(attempts) {
        let worker = daemon(&fixture, name, Duration::ZERO);
        let checkpoint = Checkpoint { kind, ..told(saved.clone()) };
        coordinator.assign_with(1, attempt, &spec, |assignment| assignment.checkpoint = Some(checkpoint));
        let started = start(coordinator, attempt);
        assert_eq!((started.from_iteration, started.of_attempt), (from_iteration, 0), "{name}");
        succeeds(coordinator, attempt, 1_000);
        fixture.end(worker).unwrap();
        assert_eq!(coordinator.state().gets, [""; 0], "{name}");
        assert_eq!(fs::read_dir(folder(&fixture, name).join("steps")).unwrap().count(), 0);
    }
    // What is computed on, the attempt itself settles: this could have turned out to be of use.
    let third = folder(&fixture, "third");
    let worker = fixture.daemon(|config| {
        config.blobs = third.join("blobs");
        config.folder = third;
        config.gpus = vec![Gpu { index: 3, model: "Test".to_owned(), memory_bytes: 1 }];
    });
    coordinator.assign_with(1, 4, &spec, |assignment| {
        (assignment.gpu_index, assignment.gpu_share) = (3, 1.0);
        assignment.checkpoint = Some(told(saved.clone()));
    });
    let started = start(coordinator, 4);
    assert_eq!((started.from_iteration, started.of_attempt), (0, 0));
    assert_ne!(started.kind, saved.kind);
    succeeds(coordinator, 4, 1_000);
    assert_eq!(coordinator.state().gets, [saved.hash]);
    fixture.end(worker).unwrap();
}

fn a_checkpoint_that_does_not_get_through_stops_nothing() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    coordinator.state().lease_ms = LEASE_MS;
    coordinator.state().stalls_checkpoints = true;
    let first = daemon(&fixture, "first", Duration::from_millis(100));
    coordinator.assign(1, 1, &step("toy", 5_000));
    coordinator.wait("a checkpoint on its way", |state| (state.stalled > 0).then_some(()));
    let seen = coordinator.state().points(1).len();
    coordinator.wait("points", |state| (state.points(1).len() > seen + 1_000).then_some(()));
    succeeds(coordinator, 1, 5_000);
    let state = coordinator.state();
    assert_eq!((state.stalled, sent(&state, 1).len()), (1, 0), "one at a time, and none came");
    drop(state);
    fixture.end(first).unwrap();
}
