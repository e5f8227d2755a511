//! Coordinators that are away, daemons that are killed, disks that hold damage.

use std::{fs, thread, time::Duration};

use orchestrator_proto::v1::attempt_event::Event;

use crate::{
    Test,
    coordinator::{State, held, is_last},
    steps::{state_after, step},
    worker::{Fixture, ends_within},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_coordinator_that_is_away_delays_and_loses_nothing", a_coordinator_that_is_away_delays_and_loses_nothing),
    (
        "what_is_not_acknowledged_is_sent_again_with_its_numbers",
        what_is_not_acknowledged_is_sent_again_with_its_numbers,
    ),
    ("a_score_in_the_outbox_is_never_computed_again", a_score_in_the_outbox_is_never_computed_again),
    ("a_kill_before_the_outbox_costs_no_bits", a_kill_before_the_outbox_costs_no_bits),
    ("attempts_end_with_their_daemon", attempts_end_with_their_daemon),
    ("a_damaged_checkpoint_is_set_aside", a_damaged_checkpoint_is_set_aside),
    ("a_kill_around_a_checkpoint_costs_no_bits_and_no_points", a_kill_around_a_checkpoint_costs_no_bits_and_no_points),
];

fn starts(state: &State, step_id: i64) -> usize {
    let events = (1..10).flat_map(|attempt| state.events(step_id, attempt));
    events.filter(|event| matches!(event, Event::Started(_))).count()
}

fn a_coordinator_that_is_away_delays_and_loses_nothing() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    coordinator.assign(1, 1, &step("toy", 300));
    coordinator.process_of(1, 1);
    coordinator.state().away = true;
    let steps = fixture.folder.path().join("worker/steps").join(step("toy", 300).fingerprint().to_string());
    while !steps.join("model.safetensors").exists() {
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(300));
    assert!(!coordinator.state().reports.iter().any(|r| is_last(r.event.as_ref().unwrap().event.as_ref().unwrap())));
    coordinator.state().away = false;
    assert!(matches!(coordinator.last_word(1, 1), Event::Succeeded(_)));
    assert_eq!(coordinator.state().points(1).len(), 300);
    fixture.end(daemon).unwrap();
}

fn what_is_not_acknowledged_is_sent_again_with_its_numbers() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    coordinator.state().deaf = true;
    let daemon = fixture.daemon_process("");
    coordinator.assign(1, 1, &step("toy", 30));
    coordinator.last_word(1, 1);
    daemon.kill();
    let before: Vec<_> = {
        let mut state = coordinator.state();
        state.deaf = false;
        state.sequences.clear();
        let kept = |report: &&orchestrator_proto::v1::Report| {
            !matches!(report.event.as_ref().and_then(|e| e.event.as_ref()), Some(Event::Progress(_)))
        };
        let reports = std::mem::take(&mut state.reports);
        reports.iter().filter(kept).cloned().collect()
    };
    let daemon = fixture.daemon_process("");
    assert!(matches!(coordinator.last_word(1, 1), Event::Succeeded(_)));
    let state = coordinator.state();
    assert_eq!(state.reports, before);
    assert_eq!(state.registrations.len(), 2);
    assert_eq!(state.registrations[1].held, [held(1, 1)]);
    assert_eq!(state.registrations[0].name, state.registrations[1].name);
    drop(state);
    daemon.kill();
}

fn a_score_in_the_outbox_is_never_computed_again() {
    for place in ["outbox-before-send", "outbox-before-ack"] {
        let fixture = Fixture::new();
        let coordinator = &fixture.coordinator;
        coordinator.assign(1, 1, &step("toy", 30));
        fixture.daemon_process(place).ends();
        let told = coordinator.state().events(1, 1).any(is_last);
        assert_eq!(told, place == "outbox-before-ack");
        let daemon = fixture.daemon_process("");
        let registered = coordinator.wait("registration", |state| state.registrations.get(1).cloned());
        assert_eq!(registered.held, [held(1, 1)], "{place}");
        let Event::Succeeded(succeeded) = coordinator.last_word(1, 1) else { panic!("the score that was kept") };
        assert_eq!(succeeded.scores_json.parse::<f64>().unwrap().to_bits(), state_after(30).to_bits());
        coordinator.wait("acknowledgement", |state| (state.polls > 0 && state.last_poll.held.is_empty()).then_some(()));
        assert_eq!(starts(&coordinator.state(), 1), 1);
        assert_eq!(fixture.step_folders().len(), 0);
        daemon.kill();
    }
}

fn a_kill_before_the_outbox_costs_no_bits() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let spec = step("toy", 130);
    for (attempt, place) in [(1, "score-before-outbox"), (2, "score-before-report"), (3, "")] {
        coordinator.assign(1, attempt, &spec);
        let daemon = fixture.daemon_process(place);
        if place == "score-before-outbox" {
            daemon.ends();
            continue;
        }
        let last_word = coordinator.last_word(1, attempt);
        daemon.kill();
        match (place, last_word) {
            ("", Event::Succeeded(succeeded)) => {
                assert_eq!(succeeded.scores_json.parse::<f64>().unwrap().to_bits(), state_after(130).to_bits());
            }
            ("score-before-report", Event::Failed(failed)) => assert_eq!(failed.failure_kind, "killed"),
            (place, other) => panic!("{place}: {other:?}"),
        }
    }
    assert_eq!(coordinator.state().points(1).len(), 130);
}

fn attempts_end_with_their_daemon() {
    let fixture = Fixture::new();
    let daemon = fixture.daemon_process("");
    fixture.coordinator.assign(1, 1, &step("hang", 1));
    let process = fixture.coordinator.process_of(1, 1);
    let group = |process: u32| rustix::process::getpgid(rustix::process::Pid::from_raw(process.cast_signed())).unwrap();
    assert_ne!(group(process), group(daemon.0.id()), "the attempt sits in a process group of its own");
    daemon.kill();
    ends_within(process, Duration::from_secs(2));
}

fn a_damaged_checkpoint_is_set_aside() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let spec = step("toy", 60);
    let folder = fixture.folder.path().join("worker/steps").join(spec.fingerprint().to_string());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("attempt"), "1.1\n").unwrap();
    fs::write(folder.join("checkpoint.safetensors"), [7; 5000]).unwrap();
    coordinator.state().away = false;
    let daemon = fixture.daemon(|_| {});
    coordinator.assign(1, 2, &spec);
    assert!(matches!(coordinator.last_word(1, 2), Event::Succeeded(_)));
    let state = coordinator.state();
    assert!(state.log(1, 2).iter().any(|line| line.contains("damaged") && line.contains("beginning again")));
    let from =
        state.events(1, 2).find_map(|event| if let Event::Started(s) = event { Some(s.from_iteration) } else { None });
    assert_eq!(from, Some(0));
    drop(state);
    fixture.end(daemon).unwrap();
}

fn a_kill_around_a_checkpoint_costs_no_bits_and_no_points() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let spec = step("toy", 150);
    let folder = fixture.folder.path().join("worker/steps").join(spec.fingerprint().to_string());
    let partial = folder.join("checkpoint.safetensors.partial");
    let places = [
        ("attempt-started", 0),
        ("checkpoint-before-write:2", 0),
        ("checkpoint-before-rename:3", 20),
        ("attempt-started", 60),
        ("checkpoint-written:2", 60),
        ("", 100),
    ];
    for (attempt, (place, _)) in (1..).zip(places) {
        coordinator.assign(1, attempt, &spec);
        let daemon = fixture.daemon_process(place);
        let last_word = coordinator.last_word(1, attempt);
        daemon.kill();
        match last_word {
            Event::Failed(failed) if !place.is_empty() => {
                assert!(failed.message.contains(place.split(':').next().unwrap()));
            }
            Event::Succeeded(succeeded) if place.is_empty() => {
                assert_eq!(succeeded.scores_json.parse::<f64>().unwrap().to_bits(), state_after(150).to_bits());
            }
            other => panic!("{place}: {other:?}"),
        }
        assert_eq!(partial.exists(), place.starts_with("checkpoint-before-rename"), "after {place}");
    }
    let state = coordinator.state();
    for (attempt, (place, from)) in (1..).zip(places) {
        let started = state.events(1, attempt).find_map(|event| match event {
            Event::Started(started) => Some(started.from_iteration),
            _ => None,
        });
        assert_eq!(started, Some(from), "attempt {attempt}, {place}");
    }
    let points = state.points(1);
    assert_eq!(points.len(), 150);
    assert!(points.iter().all(|(iteration, value)| value.to_bits() == state_after(*iteration).to_bits()));
}
