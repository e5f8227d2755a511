//! What a worker does with its attempts while the coordinator does not answer.

use std::{
    thread,
    time::{Duration, Instant},
};

use orchestrator_proto::v1::{Released, attempt_event::Event};

use crate::{
    Test,
    coordinator::{PATIENCE, State},
    steps::{state_after, step},
    worker::{Fixture, ends_within, is_alive},
};

pub(crate) const TESTS: &[Test] = &[
    ("an_attempt_ends_with_its_lease_and_leaves_a_checkpoint", an_attempt_ends_with_its_lease_and_leaves_a_checkpoint),
    ("an_answer_renews_the_lease", an_answer_renews_the_lease),
    ("reports_that_take_long_to_write_do_not_cost_the_lease", reports_that_take_long_to_write_do_not_cost_the_lease),
    ("a_disk_that_does_not_answer_does_not_cost_the_lease", a_disk_that_does_not_answer_does_not_cost_the_lease),
    ("where_no_coordinator_is_running_work_goes_on", where_no_coordinator_is_running_work_goes_on),
    ("a_worker_that_stood_still_gives_back_what_it_had", a_worker_that_stood_still_gives_back_what_it_had),
];

/// Long enough for a busy machine to poll in, in milliseconds.
pub(crate) const LEASE_MS: u32 = 3_000;
/// Iterations of an attempt that outlasts any lease here.
const LONG: u64 = 1_000_000;

fn from_iteration(state: &State, attempt: u32) -> Option<u64> {
    state.events(1, attempt).find_map(|event| match event {
        Event::Started(started) => Some(started.from_iteration),
        _ => None,
    })
}

pub(crate) fn given_back(word: &Event) -> u64 {
    let Event::Released(Released { iteration, reason }) = word else { panic!("{word:?}") };
    assert_eq!(reason, "its lease ran out: the coordinator did not answer");
    *iteration
}

fn an_attempt_ends_with_its_lease_and_leaves_a_checkpoint() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    coordinator.state().lease_ms = LEASE_MS;
    let daemon = fixture.daemon(|_| {});
    coordinator.assign(1, 1, &step("toy", 6_000));
    let process = coordinator.process_of(1, 1);
    coordinator.wait("points", |state| (state.points(1).len() > 25).then_some(()));
    coordinator.state().silent = true;
    ends_within(process, Duration::from_millis(LEASE_MS.into()) + Duration::from_secs(1));
    coordinator.state().silent = false;
    let iteration = given_back(&coordinator.last_word(1, 1));
    assert!(iteration > 20, "it kept a checkpoint of its own when it was told, at {iteration}");

    coordinator.assign(1, 2, &step("toy", 6_000));
    let Event::Succeeded(succeeded) = coordinator.last_word(1, 2) else { panic!("it goes on") };
    assert_eq!(succeeded.scores_json.parse::<f64>().unwrap().to_bits(), state_after(6_000).to_bits());
    assert_eq!(from_iteration(&coordinator.state(), 2), Some(iteration));
    fixture.end(daemon).unwrap();
}

fn an_answer_renews_the_lease() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    coordinator.state().lease_ms = LEASE_MS;
    let daemon = fixture.daemon(|_| {});
    coordinator.assign(1, 1, &step("toy", LONG));
    coordinator.process_of(1, 1);
    thread::sleep(Duration::from_millis(2 * u64::from(LEASE_MS)));
    let state = coordinator.state();
    assert!(!state.events(1, 1).any(crate::coordinator::is_last));
    assert_eq!(state.last_poll.held, [crate::coordinator::held(1, 1)]);
    drop(state);
    fixture.end(daemon).unwrap();
}

fn reports_that_take_long_to_write_do_not_cost_the_lease() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    coordinator.state().lease_ms = LEASE_MS;
    let daemon = fixture.daemon(|_| {});
    coordinator.assign(1, 1, &step("toy", LONG));
    let process = coordinator.process_of(1, 1);
    coordinator.state().silent_to_reports = true;
    thread::sleep(Duration::from_millis(3 * u64::from(LEASE_MS)));
    coordinator.state().silent_to_reports = false;
    let seen = coordinator.state().points(1).len();
    coordinator.wait("points", |state| (state.points(1).len() > seen + 100).then_some(()));
    assert!(!coordinator.state().events(1, 1).any(crate::coordinator::is_last));
    assert_eq!(coordinator.process_of(1, 1), process);
    fixture.end(daemon).unwrap();
}

fn a_disk_that_does_not_answer_does_not_cost_the_lease() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    coordinator.state().lease_ms = LEASE_MS;
    // The wait for the disk takes a minute from the twentieth time on.
    let daemon = fixture.daemon_process("outbox-sync:20:pause");
    coordinator.assign(1, 1, &step("toy", LONG));
    let process = coordinator.process_of(1, 1);
    let (mut seen, mut quiet_since) = (0, Instant::now());
    while quiet_since.elapsed() < Duration::from_millis(2 * u64::from(LEASE_MS)) {
        let now = coordinator.state().points(1).len();
        if std::mem::replace(&mut seen, now) != now {
            quiet_since = Instant::now();
        }
        thread::sleep(PATIENCE / 300);
    }
    assert!(is_alive(process), "the attempt goes on");
    let state = coordinator.state();
    assert!(!state.events(1, 1).any(crate::coordinator::is_last));
    assert_eq!(state.last_poll.held, [crate::coordinator::held(1, 1)]);
    drop(state);
    daemon.kill();
}

fn where_no_coordinator_is_running_work_goes_on() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    coordinator.state().lease_ms = LEASE_MS;
    let daemon = fixture.daemon_process("");
    coordinator.assign(1, 1, &step("toy", LONG));
    let process = coordinator.process_of(1, 1);
    coordinator.stop();
    thread::sleep(Duration::from_millis(2 * u64::from(LEASE_MS)));
    coordinator.serve_again();
    let seen = coordinator.state().points(1).len();
    coordinator.wait("points", |state| (state.points(1).len() > seen + 100).then_some(()));
    assert_eq!(coordinator.process_of(1, 1), process, "the same process all the time");
    assert!(!coordinator.state().events(1, 1).any(crate::coordinator::is_last));
    daemon.kill();
}

fn a_worker_that_stood_still_gives_back_what_it_had() {
    use rustix::process::{Pid, Signal, kill_process};
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    coordinator.state().lease_ms = LEASE_MS;
    let daemon = fixture.daemon_process("");
    coordinator.assign(1, 1, &step("toy", LONG));
    coordinator.process_of(1, 1);
    let process = Pid::from_raw(daemon.0.id().cast_signed()).unwrap();
    // Whatever it asked before it stood still is answered when it has gone on for a while.
    kill_process(process, Signal::STOP).unwrap();
    coordinator.state().silent = true;
    thread::sleep(Duration::from_millis(2 * u64::from(LEASE_MS)));
    kill_process(process, Signal::CONT).unwrap();
    thread::sleep(PATIENCE / 20);
    coordinator.state().silent = false;
    given_back(&coordinator.last_word(1, 1));
    daemon.kill();
}
