//! A mirror of contents: it takes the load off the coordinator, and whatever becomes of it costs no run.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::{
    mirror::Mirror,
    v1::{Checkpoint, CheckpointSaved, attempt_event::Event},
};

use crate::{
    Test,
    coordinator::{Coordinator, artifact},
    steps::{extraction, step},
    worker::{Daemon, Fixture},
};

pub(crate) const TESTS: &[Test] = &[
    ("the_second_worker_gets_nothing_from_the_coordinator", the_second_worker_gets_nothing_from_the_coordinator),
    ("what_workers_make_for_others_is_in_the_mirror", what_workers_make_for_others_is_in_the_mirror),
    ("what_the_mirror_has_damaged_is_not_used_and_is_mended", what_the_mirror_has_damaged_is_not_used_and_is_mended),
    ("a_mirror_that_is_not_there_costs_no_run", a_mirror_that_is_not_there_costs_no_run),
    ("a_mirror_that_says_nothing_is_left_alone", a_mirror_that_says_nothing_is_left_alone),
];

/// Content of 8,500 bytes: nine chunks.
fn content(of: char) -> Vec<u8> {
    of.to_string().repeat(8_500).into_bytes()
}

/// Gives an attempt features of this content, which the coordinator has.
fn assign(coordinator: &Coordinator, step_id: i64, content: &[u8]) {
    let named = artifact("features.safetensors", content);
    coordinator.state().blobs.insert(named.hash.clone(), content.to_vec());
    let spec = step("features", step_id.cast_unsigned());
    coordinator.assign_with(step_id, 1, &spec, |assignment| assignment.features = vec![named]);
}

fn reads(coordinator: &Coordinator, step_id: i64, content: &[u8]) {
    let last_word = coordinator.last_word(step_id, 1);
    assert!(matches!(last_word, Event::Succeeded(_)), "{last_word:?}");
    let wanted = format!("{:?}", [("features.safetensors", content)]);
    let log = coordinator.state().log(step_id, 1);
    // A line of the log is shorter than the content.
    assert!(log.iter().any(|line| line.len() > 4_000 && wanted.starts_with(line.trim_end_matches(" …"))), "{log:?}");
}

fn folder(fixture: &Fixture) -> PathBuf {
    fixture.folder.path().join("mirror")
}

/// What the mirror has of that content.
fn mirrored(fixture: &Fixture, hash: &str) -> Option<Vec<u8>> {
    fs::read(folder(fixture).join(&hash[..2]).join(hash)).ok()
}

fn is_mirrored(fixture: &Fixture, content: &[u8]) {
    let hash = ContentHash::of(content).to_string();
    let is_there = || mirrored(fixture, &hash).is_some_and(|found| found == content);
    fixture.coordinator.wait("object in the mirror", |_| is_there().then_some(()));
}

/// A daemon with a folder of its own and a mirror.
fn daemon_with(fixture: &Fixture, name: &str, mirror: Mirror) -> Daemon {
    let folder = fixture.folder.path().join(name);
    fixture.daemon(|config| {
        config.blobs = folder.join("blobs");
        config.folder = folder;
        config.mirror = Some(mirror);
        config.send_checkpoints = Duration::from_millis(300);
    })
}

/// The same, with the mirror in the folder.
fn daemon(fixture: &Fixture, name: &str) -> Daemon {
    let url = format!("file://{}", folder(fixture).display());
    daemon_with(fixture, name, Mirror::open_with(&url, []).unwrap())
}

fn with_mirror() -> Fixture {
    let fixture = Fixture::new();
    fs::create_dir(folder(&fixture)).unwrap();
    fixture
}

fn the_second_worker_gets_nothing_from_the_coordinator() {
    let fixture = with_mirror();
    let coordinator = &fixture.coordinator;
    let first = daemon(&fixture, "first");
    assign(coordinator, 1, &content('a'));
    let file = artifact("set/a.npy", b"images");
    let other = artifact("set/b.npy", b"texts");
    for (named, content) in [(&file, &b"images"[..]), (&other, b"texts")] {
        coordinator.state().blobs.insert(named.hash.clone(), content.to_vec());
    }
    let files = vec![file, other];
    coordinator.assign_with(2, 1, &step("data", 2), |assignment| assignment.data_files.clone_from(&files));
    for step_id in [1, 2] {
        assert!(matches!(coordinator.last_word(step_id, 1), Event::Succeeded(_)));
    }
    for content in [&content('a')[..], b"images", b"texts"] {
        is_mirrored(&fixture, content);
    }
    fixture.end(first).unwrap();
    assert_eq!(coordinator.state().gets.len(), 3);

    let second = daemon(&fixture, "second");
    assign(coordinator, 3, &content('a'));
    reads(coordinator, 3, &content('a'));
    coordinator.assign_with(4, 1, &step("data", 4), |assignment| assignment.data_files = files);
    assert!(matches!(coordinator.last_word(4, 1), Event::Succeeded(_)));
    assert_eq!(coordinator.state().gets.len(), 3, "all of it came from the mirror");
    // What the mirror lacks, the coordinator has.
    assign(coordinator, 5, &content('b'));
    reads(coordinator, 5, &content('b'));
    assert_eq!(coordinator.state().gets.len(), 4);
    fixture.end(second).unwrap();
}

fn what_workers_make_for_others_is_in_the_mirror() {
    let fixture = with_mirror();
    let coordinator = &fixture.coordinator;
    let first = daemon(&fixture, "first");
    coordinator.assign(1, 1, &step("toy", 10));
    let Event::Succeeded(model) = coordinator.last_word(1, 1) else { panic!("a model") };
    coordinator.assign(2, 1, &extraction());
    let Event::Succeeded(features) = coordinator.last_word(2, 1) else { panic!("features") };
    let features = coordinator.state().blobs[&features.artifacts[0].hash].clone();
    is_mirrored(&fixture, &features);
    assert_eq!(mirrored(&fixture, &model.artifacts[0].hash), None, "nobody fetches a model");

    coordinator.assign(3, 1, &step("toy", 2_500));
    let saved = coordinator.wait("a checkpoint", |state| {
        state.events(3, 1).find_map(|event| match event {
            Event::CheckpointSaved(saved) if !saved.hash.is_empty() => Some(saved.clone()),
            _ => None,
        })
    });
    let checkpoint = coordinator.state().blobs[&saved.hash].clone();
    is_mirrored(&fixture, &checkpoint);
    first.task.abort();
    let second = daemon(&fixture, "second");
    let CheckpointSaved { iteration, bytes, hash, kind } = saved;
    let told = Checkpoint { hash, bytes, iteration, kind, made_by: "first".to_owned(), attempt: 1 };
    coordinator.assign_with(3, 2, &step("toy", 2_500), |assignment| assignment.checkpoint = Some(told));
    let from = coordinator.wait("start", |state| {
        state.events(3, 2).find_map(|event| if let Event::Started(it) = event { Some(it.from_iteration) } else { None })
    });
    assert_eq!((from, coordinator.state().gets.len()), (iteration, 0));
    fixture.end(second).unwrap();
}

fn what_the_mirror_has_damaged_is_not_used_and_is_mended() {
    let fixture = with_mirror();
    let coordinator = &fixture.coordinator;
    let daemon = daemon(&fixture, "first");
    let [flipped, short] = ['a', 'b'].map(content);
    for (content, damaged) in [(&flipped, [&b"x"[..], &flipped[1..]].concat()), (&short, short[..5_000].to_vec())] {
        let hash = ContentHash::of(content).to_string();
        fs::create_dir_all(folder(&fixture).join(&hash[..2])).unwrap();
        fs::write(folder(&fixture).join(&hash[..2]).join(hash), damaged).unwrap();
    }
    for (step_id, content) in [(1, &flipped), (2, &short)] {
        assign(coordinator, step_id, content);
        reads(coordinator, step_id, content);
        is_mirrored(&fixture, content);
    }
    assert_eq!(coordinator.state().gets.len(), 2);
    assert_eq!(coordinator.state().offsets, [0, 0], "nothing of the damaged is gone on with");
    fixture.end(daemon).unwrap();
}

fn a_mirror_that_is_not_there_costs_no_run() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let daemon = daemon(&fixture, "first");
    assign(coordinator, 1, &content('a'));
    reads(coordinator, 1, &content('a'));
    assert!(!folder(&fixture).exists(), "a folder that is not mounted is not made");
    fixture.end(daemon).unwrap();
}

fn a_mirror_that_says_nothing_is_left_alone() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    thread::spawn(move || {
        let silent: Vec<_> = listener
            .incoming()
            .inspect(|_| counted.store(counted.load(Ordering::SeqCst) + 1, Ordering::SeqCst))
            .collect();
        drop(silent);
    });
    let variables = [("AWS_ENDPOINT", endpoint.as_str()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let variables = variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mirror = Mirror::open_with("s3://contents", variables).unwrap();
    let daemon = daemon_with(&fixture, "first", mirror.answering_within(Duration::from_millis(300)));
    let contents: Vec<_> = ('a'..='j').map(content).collect();
    for (step_id, content) in (1..).zip(&contents) {
        assign(coordinator, step_id, content);
        reads(coordinator, step_id, content);
    }
    let calls = calls.load(Ordering::SeqCst);
    assert!((1..contents.len()).contains(&calls), "it was asked {calls} times for {} contents", contents.len());
    fixture.end(daemon).unwrap();
}
