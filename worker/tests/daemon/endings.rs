//! How attempts end, from the assignment to the acknowledged last word.

use std::{fs, time::Duration};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::v1::attempt_event::Event;
use retrieval::datasets::synthetic::Synthetic;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Test,
    coordinator::{Coordinator, artifact, held},
    steps::{MODEL, cae, state_after, step},
    worker::{Fixture, ends_within, is_alive},
};

pub(crate) const TESTS: &[Test] = &[
    ("an_assignment_is_computed_and_reported", an_assignment_is_computed_and_reported),
    ("failures_are_named", failures_are_named),
    ("training_that_overflows_says_where", training_that_overflows_says_where),
    ("a_killed_attempt_is_named_and_the_next_goes_on", a_killed_attempt_is_named_and_the_next_goes_on),
    ("a_time_limit_ends_an_attempt", a_time_limit_ends_an_attempt),
    ("a_stop_ends_the_process_and_frees_the_slot", a_stop_ends_the_process_and_frees_the_slot),
    ("a_shutdown_keeps_a_checkpoint_and_releases", a_shutdown_keeps_a_checkpoint_and_releases),
    ("a_flood_of_lines_is_bounded", a_flood_of_lines_is_bounded),
    ("nothing_is_left_of_an_attempt", nothing_is_left_of_an_attempt),
    ("what_does_not_fit_is_given_back", what_does_not_fit_is_given_back),
    ("features_are_fetched_verified_and_mended", features_are_fetched_verified_and_mended),
    ("a_refusal_ends_the_daemon", a_refusal_ends_the_daemon),
];

fn failure(coordinator: &Coordinator, step_id: i64) -> (String, String) {
    match coordinator.last_word(step_id, 1) {
        Event::Failed(failed) => (failed.failure_kind, failed.message),
        other => panic!("a failure expected, not {other:?}"),
    }
}

fn scores(coordinator: &Coordinator, step_id: i64, attempt: u32) -> f64 {
    match coordinator.last_word(step_id, attempt) {
        Event::Succeeded(succeeded) => succeeded.scores_json.parse().unwrap(),
        other => panic!("a success expected, not {other:?}"),
    }
}

fn an_assignment_is_computed_and_reported() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    coordinator.assign(1, 1, &step("chatter", 50));
    coordinator.assign(2, 1, &step("toy", 90));
    assert_eq!(scores(coordinator, 1, 1).to_bits(), state_after(50).to_bits());
    assert_eq!(scores(coordinator, 2, 1).to_bits(), state_after(90).to_bits());
    coordinator
        .wait("free slots", |state| (state.last_poll.cpus_free == 2 && state.last_poll.held.is_empty()).then_some(()));
    let state = coordinator.state();
    let events: Vec<&Event> = state.events(2, 1).collect();
    assert!(
        matches!(events[0], Event::Started(started) if started.from_iteration == 0 && started.kind.starts_with("cpu/"))
    );
    assert!(matches!(events.last().unwrap(), Event::Succeeded(_)), "nothing comes after the last word");
    let saved: Vec<u64> = events
        .iter()
        .filter_map(|event| if let Event::CheckpointSaved(saved) = event { Some(saved.iteration) } else { None })
        .collect();
    assert_eq!(saved, [20, 40, 60, 80]);
    assert!(events.iter().any(|event| matches!(event, Event::Progress(p) if p.iterations == 90 && p.stage == "train")));
    let points = state.points(2);
    assert_eq!(points.keys().copied().collect::<Vec<_>>(), (1..=90).collect::<Vec<_>>());
    assert!(points.iter().all(|(iteration, value)| value.to_bits() == state_after(*iteration).to_bits()));
    assert!(state.sequences.is_sorted_by(|a, b| a < b), "every report came once, in order: {:?}", state.sequences);

    let Event::Succeeded(succeeded) = events.last().unwrap() else { unreachable!() };
    assert_eq!(succeeded.artifacts.len(), 1);
    assert_eq!(succeeded.artifacts[0].name, MODEL);
    assert_eq!(succeeded.artifacts[0].bytes, state.blobs[&succeeded.artifacts[0].hash].len() as u64);
    assert!(state.puts[0] == 0, "the content is there before the first report of it");
    drop(state);
    fixture.end(daemon).unwrap();
    assert_eq!(
        fixture.step_folders(),
        Vec::<std::path::PathBuf>::new(),
        "the folder goes when the score is acknowledged"
    );
}

/// No parameter within its range was found to make a loss overflow, so the features do: they are finite, the square
/// of their reconstruction error is not.
fn training_that_overflows_says_where() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    let path = fixture.folder.path().join("features.safetensors");
    let features = |noise: f64| {
        let set =
            Synthetic { classes: 2, dims: (6, 4), noise: (noise, noise), pairs: [40, 10, 10], patches: 0, seed: 1 };
        set.write(&path).unwrap();
        let content = fs::read(&path).unwrap();
        let named = artifact("features.safetensors", &content);
        coordinator.state().blobs.insert(named.hash.clone(), content);
        named
    };
    for (id, noise) in [(1, 1.0), (2, 1e30)] {
        let named = features(noise);
        coordinator.assign_with(id, 1, &cae(), |assignment| {
            assignment.features = vec![named];
            // Runs of one specification share a folder; those of other features have another one.
            assignment.fingerprint = ContentHash::of(&noise.to_le_bytes()).to_string();
        });
    }
    assert!(matches!(coordinator.last_word(1, 1), Event::Succeeded(_)), "the same training on usual features");
    let (kind, message) = failure(coordinator, 2);
    assert_eq!(kind, "nan");
    assert_eq!(message, "the loss of g_i (term reconstruction) is not a number at iteration 1");
    assert!(coordinator.state().blobs.len() > 2, "the first leaves its model");
    fixture.end(daemon).unwrap();
}

fn failures_are_named() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    for (id, method) in [(1, "nan"), (2, "panic")] {
        coordinator.assign(id, 1, &step(method, 1));
    }
    let nan = ("nan".to_owned(), "loss of the discriminator is not a number at iteration 7".to_owned());
    assert_eq!(failure(coordinator, 1), nan);
    let (kind, message) = failure(coordinator, 2);
    assert!(kind == "killed" && message.contains("panicked: a broken invariant"), "{kind}: {message}");
    coordinator.wait("free slots", |state| (state.last_poll.cpus_free == 2).then_some(()));
    coordinator.assign(3, 1, &step("exit", 1));
    coordinator.assign(4, 1, &step("escape", 1));
    let (kind, message) = failure(coordinator, 3);
    assert!(kind == "killed" && message.contains("code 3"), "{kind}: {message}");
    let (kind, message) = failure(coordinator, 4);
    assert!(kind == "user-error" && message.contains("../attempt"), "{kind}: {message}");
    coordinator.wait("free slots", |state| (state.last_poll.cpus_free == 2).then_some(()));
    coordinator.assign_with(5, 1, &step("toy", 1), |assignment| assignment.spec_json.truncate(20));
    coordinator.assign_with(6, 1, &step("toy", 1), |assignment| assignment.fingerprint = "../../etc".into());
    for id in [5, 6] {
        let (kind, message) = failure(coordinator, id);
        assert!(kind == "user-error" && message.contains("cannot be read"), "{kind}: {message}");
    }
    fixture.end(daemon).unwrap();
}

fn a_killed_attempt_is_named_and_the_next_goes_on() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    let spec = step("toy", 400);
    coordinator.assign(1, 1, &spec);
    let process = coordinator.process_of(1, 1);
    coordinator.wait("a checkpoint", |state| {
        state.events(1, 1).any(|event| matches!(event, Event::CheckpointSaved(s) if s.iteration >= 60)).then_some(())
    });
    kill_process(Pid::from_raw(process.cast_signed()).unwrap(), Signal::KILL).unwrap();
    let (kind, message) = failure(coordinator, 1);
    assert!(kind == "killed" && message.contains("signal 9"), "{kind}: {message}");
    coordinator.assign(1, 2, &spec);
    assert_eq!(scores(coordinator, 1, 2).to_bits(), state_after(400).to_bits());
    let state = coordinator.state();
    let from =
        state.events(1, 2).find_map(|event| if let Event::Started(s) = event { Some(s.from_iteration) } else { None });
    assert!(from.is_some_and(|from| from >= 60 && from % 20 == 0), "{from:?}");
    let points = state.points(1);
    assert_eq!(points.len(), 400, "no point is missing, whichever attempt made it");
    assert!(points.iter().all(|(iteration, value)| value.to_bits() == state_after(*iteration).to_bits()));
    drop(state);
    fixture.end(daemon).unwrap();
}

fn a_time_limit_ends_an_attempt() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    coordinator.assign_with(1, 1, &step("hang", 1), |assignment| assignment.time_limit_s = 1);
    let process = coordinator.process_of(1, 1);
    let (kind, message) = failure(coordinator, 1);
    assert!(kind == "timeout" && message.contains("1 s"), "{kind}: {message}");
    assert!(!is_alive(process));
    fixture.end(daemon).unwrap();
}

fn a_stop_ends_the_process_and_frees_the_slot() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    coordinator.assign_with(1, 1, &step("hang", 1), |assignment| assignment.cpus = 2);
    let process = coordinator.process_of(1, 1);
    coordinator.wait("the slot taken", |state| (state.last_poll.cpus_free == 0).then_some(()));
    coordinator.state().stop.push(held(1, 1));
    coordinator.wait("the slot free", |state| {
        (state.last_poll.cpus_free == 2 && state.last_poll.held.is_empty()).then_some(())
    });
    assert!(!is_alive(process));
    assert!(!coordinator.state().events(1, 1).any(crate::coordinator::is_last), "a stopped attempt has no last word");
    fixture.end(daemon).unwrap();
}

fn a_shutdown_keeps_a_checkpoint_and_releases() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    let spec = step("toy", 3000);
    coordinator.assign(1, 1, &spec);
    coordinator.assign(2, 1, &step("hang", 1));
    let hanging = coordinator.process_of(2, 1);
    coordinator.wait("progress", |state| state.events(1, 1).any(|e| matches!(e, Event::Metrics(_))).then_some(()));
    fixture.end(daemon).unwrap();
    assert!(!is_alive(hanging));
    let Event::Released(released) = coordinator.last_word(1, 1) else { panic!("the step is released") };
    assert!(released.iteration > 0 && released.reason.contains("shut down"), "{released:?}");
    assert!(matches!(coordinator.last_word(2, 1), Event::Released(released) if released.iteration == 0));
    assert!(coordinator.state().last_poll.draining);

    let again = fixture.daemon(|_| {});
    coordinator.assign(1, 2, &spec);
    let from = coordinator.wait("start", |state| {
        state.events(1, 2).find_map(|event| if let Event::Started(s) = event { Some(s.from_iteration) } else { None })
    });
    assert_eq!(from, released.iteration, "it goes on from the checkpoint of the shutdown");
    fixture.end(again).unwrap();
}

fn a_flood_of_lines_is_bounded() {
    let (fixture, daemon) = Fixture::at_work();
    fixture.coordinator.assign(1, 1, &step("flood", 10));
    assert_eq!(scores(&fixture.coordinator, 1, 1).to_bits(), state_after(10).to_bits());
    let log = fixture.coordinator.state().log(1, 1);
    assert!((400..2000).contains(&log.len()), "{} lines", log.len());
    assert!(log.iter().any(|line| line.ends_with("lines left out)")));
    fixture.end(daemon).unwrap();
}

fn nothing_is_left_of_an_attempt() {
    let (fixture, daemon) = Fixture::at_work();
    fixture.coordinator.assign(1, 1, &step("offspring", 10));
    assert_eq!(scores(&fixture.coordinator, 1, 1).to_bits(), state_after(10).to_bits());
    let offspring = fixture.coordinator.state().log(1, 1)[0].parse().unwrap();
    assert!(!is_alive(offspring), "what an attempt has started ends with it");
    fixture.end(daemon).unwrap();
}

fn what_does_not_fit_is_given_back() {
    let (fixture, daemon) = Fixture::at_work();
    fixture.coordinator.assign_with(1, 1, &step("toy", 1), |assignment| assignment.cpus = 3);
    fixture.coordinator.assign_with(2, 1, &step("toy", 1), |assignment| assignment.gpu_index = 0);
    let Event::Released(released) = fixture.coordinator.last_word(1, 1) else { panic!("given back") };
    assert_eq!(released.reason, "3 cores asked for, 2 of 2 are free");
    assert!(matches!(fixture.coordinator.last_word(2, 1), Event::Released(_)));
    fixture.end(daemon).unwrap();
}

fn features_are_fetched_verified_and_mended() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    let content = "rows and columns ".repeat(500).into_bytes();
    let hash = ContentHash::of(&content);
    coordinator.state().blobs.insert(hash.to_string(), content.clone());
    let named = artifact("features.safetensors", &content);
    let wanted = format!("{:?}", [("features.safetensors", &content)]);
    for id in 1..=3 {
        coordinator.assign_with(id, 1, &step("features", id.cast_unsigned()), |a| a.features = vec![named.clone()]);
        scores(coordinator, id, 1);
        let log = coordinator.state().log(id, 1);
        assert!(wanted.starts_with(log[0].trim_end_matches(" …")), "step {id} read something else");
        if id == 2 {
            assert_eq!(coordinator.state().gets.len(), 1, "the second step finds them in the cache");
            let cached = fixture.folder.path().join("worker/blobs").join(&named.hash[..2]).join(&named.hash);
            let mut damaged = content.clone();
            damaged[100] ^= 1;
            std::thread::sleep(Duration::from_millis(20));
            fs::write(cached, damaged).unwrap();
        }
    }
    assert_eq!(coordinator.state().gets.len(), 2, "damage is found and fetched again");
    let absent = artifact("features.safetensors", b"never made");
    coordinator.assign_with(9, 1, &step("features", 9), |assignment| assignment.features = vec![absent]);
    let (kind, message) = failure(coordinator, 9);
    assert!(kind == "data" && message.contains("features.safetensors"), "{kind}: {message}");
    fixture.end(daemon).unwrap();
}

fn a_refusal_ends_the_daemon() {
    let fixture = Fixture::new();
    fixture.coordinator.state().refuse = "worker 0.1.0, coordinator 0.2.0".into();
    let refused = fixture.ended(fixture.daemon(|_| {})).unwrap_err().to_string();
    assert!(refused.ends_with("worker 0.1.0, coordinator 0.2.0"), "{refused}");
    fixture.coordinator.state().refuse.clear();
    let daemon = fixture.daemon(|_| {});
    fixture.coordinator.wait("a poll", |state| (state.polls > 0).then_some(()));
    let held = fixture.ended(fixture.daemon(|_| {})).unwrap_err().to_string();
    assert!(held.contains("held by another worker"), "{held}");
    fixture.coordinator.state().register_again = true;
    fixture.coordinator.wait("another registration", |state| (state.registrations.len() == 3).then_some(()));
    let names: Vec<String> = fixture.coordinator.state().registrations.iter().map(|r| r.name.clone()).collect();
    assert_eq!(names[0], names[2], "a worker keeps its name");
    fixture.coordinator.assign(1, 1, &step("hang", 1));
    let process = fixture.coordinator.process_of(1, 1);
    daemon.task.abort();
    ends_within(process, Duration::from_secs(2));
}
