//! Data sets on a worker: its own, and those of the coordinator.

use std::fs;

use orchestrator_proto::v1::attempt_event::Event;

use crate::{
    Test,
    coordinator::{Coordinator, artifact},
    steps::step,
    worker::Fixture,
};

pub(crate) const TESTS: &[Test] = &[
    ("a_bare_worker_gets_the_data_set", a_bare_worker_gets_the_data_set),
    ("a_worker_reads_its_own_data_set_if_it_is_the_same", a_worker_reads_its_own_data_set_if_it_is_the_same),
    ("names_that_lead_elsewhere_are_refused", names_that_lead_elsewhere_are_refused),
];

const FILES: [(&str, &str); 2] = [("set/a.npy", "images"), ("set/b.npy", "texts")];

fn assign(coordinator: &Coordinator, step_id: i64) {
    let files = FILES.map(|(name, content)| {
        let named = artifact(name, content.as_bytes());
        coordinator.state().blobs.insert(named.hash.clone(), content.into());
        named
    });
    let spec = step("data", step_id.cast_unsigned());
    coordinator.assign_with(step_id, 1, &spec, |assignment| assignment.data_files = files.to_vec());
}

/// The attempt has found this, in so many folders.
fn found(coordinator: &Coordinator, step_id: i64, folders: usize) {
    let last_word = coordinator.last_word(step_id, 1);
    assert!(matches!(last_word, Event::Succeeded(_)), "{last_word:?}");
    let wanted = format!("{:?}", FILES.map(|(_, content)| (folders, content)));
    assert_eq!(coordinator.state().log(step_id, 1), [wanted]);
}

fn a_bare_worker_gets_the_data_set() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    assign(coordinator, 1);
    found(coordinator, 1, 1);
    assign(coordinator, 2);
    found(coordinator, 2, 1);
    assert_eq!(coordinator.state().gets.len(), 2, "once for both");
    fixture.end(daemon).unwrap();
}

fn a_worker_reads_its_own_data_set_if_it_is_the_same() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let own = fixture.folder.path().join("own");
    fs::create_dir_all(own.join("set")).unwrap();
    for (name, content) in FILES {
        fs::write(own.join(name), content).unwrap();
    }
    let daemon = fixture.daemon(|config| config.data_folders = vec![own.clone()]);
    assign(coordinator, 1);
    found(coordinator, 1, 1);
    assert_eq!(coordinator.state().gets, [""; 0]);
    // As long, and not the same: the one file is fetched, the other one is its own.
    fs::write(own.join("set/b.npy"), "TEXTS").unwrap();
    assign(coordinator, 2);
    found(coordinator, 2, 2);
    assert_eq!(coordinator.state().gets, [artifact("", b"texts").hash]);
    fixture.end(daemon).unwrap();
}

fn names_that_lead_elsewhere_are_refused() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    for (step_id, name) in (1..).zip(["../../worker-id/x", "/etc/passwd", "set", "set/a/b"]) {
        let file = artifact(name, b"content");
        coordinator.assign_with(step_id, 1, &step("data", 1), |assignment| assignment.data_files = vec![file]);
        let Event::Failed(failed) = coordinator.last_word(step_id, 1) else { panic!("{name}") };
        assert_eq!(failed.failure_kind, "user-error");
        assert!(failed.message.contains(&format!("`{name}` is no name of a file in a folder")), "{}", failed.message);
    }
    assert_eq!(coordinator.state().gets, [""; 0]);
    fixture.end(daemon).unwrap();
}
