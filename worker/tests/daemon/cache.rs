//! Contents on a worker: transfers that break off, and a cache that is too small.

use std::path::Path;

use experiment_spec::ids::ContentHash;
use orchestrator_proto::{CHUNK_BYTES, content::ContentStore, v1::attempt_event::Event};

use crate::{
    Test,
    coordinator::{Coordinator, State, artifact, held},
    steps::step,
    worker::{Daemon, Fixture},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_fetch_that_broke_off_goes_on_where_it_was", a_fetch_that_broke_off_goes_on_where_it_was),
    ("what_broke_off_and_is_damaged_is_fetched_anew", what_broke_off_and_is_damaged_is_fetched_anew),
    ("an_upload_that_broke_off_goes_on_where_it_was", an_upload_that_broke_off_goes_on_where_it_was),
    ("an_upload_onto_something_else_begins_again", an_upload_onto_something_else_begins_again),
    ("a_full_cache_keeps_what_is_used_and_what_came_last", a_full_cache_keeps_what_is_used_and_what_came_last),
    ("what_was_used_again_outlives_what_came_after_it", what_was_used_again_outlives_what_came_after_it),
    ("what_the_coordinator_does_not_have_stays", what_the_coordinator_does_not_have_stays),
];

/// Content of 8,500 bytes: nine chunks.
fn content(of: char) -> Vec<u8> {
    of.to_string().repeat(8_500).into_bytes()
}

/// Gives an attempt features of this content, which the coordinator has.
fn assign(coordinator: &Coordinator, step_id: i64, method: &str, content: &[u8]) {
    let named = artifact("features.safetensors", content);
    coordinator.state().blobs.insert(named.hash.clone(), content.to_vec());
    coordinator.assign_with(step_id, 1, &step(method, step_id.cast_unsigned()), |it| it.features = vec![named]);
}

fn reads(coordinator: &Coordinator, step_id: i64, content: &[u8]) {
    assert!(matches!(coordinator.last_word(step_id, 1), Event::Succeeded(_)));
    let wanted = format!("{:?}", [("features.safetensors", content)]);
    let log = coordinator.state().log(step_id, 1);
    // A line of the log is shorter than the content.
    assert!(log.iter().any(|line| line.len() > 4_000 && wanted.starts_with(line.trim_end_matches(" …"))), "{log:?}");
}

fn small(fixture: &Fixture, cache_bytes: u64) -> Daemon {
    fixture.daemon(|config| config.cache_bytes = cache_bytes)
}

fn has(fixture: &Fixture, content: &[u8]) -> bool {
    store(fixture.folder.path()).has(&ContentHash::of(content))
}

fn store(folder: &Path) -> ContentStore {
    ContentStore::open(folder.join("worker/blobs")).unwrap()
}

fn a_fetch_that_broke_off_goes_on_where_it_was() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    coordinator.state().gets_break_after = vec![0, 2, 3];
    assign(coordinator, 1, "features", &content('a'));
    reads(coordinator, 1, &content('a'));
    assert_eq!(coordinator.state().offsets, [0, 3_000, 5_000, 5_000]);
    fixture.end(daemon).unwrap();
}

fn what_broke_off_and_is_damaged_is_fetched_anew() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    coordinator.state().gets_break_after = vec![3];
    coordinator.state().flips_a_byte = true;
    assign(coordinator, 1, "features", &content('a'));
    reads(coordinator, 1, &content('a'));
    assert_eq!(coordinator.state().offsets, [0, 3_000, 0], "thrown away once, when all of it was there");
    fixture.end(daemon).unwrap();
}

fn an_upload_that_broke_off_goes_on_where_it_was() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    coordinator.state().puts_break_after = vec![0, 1, 3];
    coordinator.assign(1, 1, &step("large", 1));
    let Event::Succeeded(succeeded) = coordinator.last_word(1, 1) else { panic!("a result") };
    let chunk = CHUNK_BYTES as u64;
    let state = coordinator.state();
    assert_eq!(state.puts_from, [0, 3 * chunk, 4 * chunk, 4 * chunk]);
    assert_eq!(state.blobs[&succeeded.artifacts[0].hash].len() as u64, succeeded.artifacts[0].bytes);
    drop(state);
    fixture.end(daemon).unwrap();
}

fn an_upload_onto_something_else_begins_again() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    // What it leaves is the same every time, so that it can be said before what the coordinator has of it.
    let first = fixture.daemon(|_| {});
    coordinator.assign(1, 1, &step("large", 1));
    let Event::Succeeded(succeeded) = coordinator.last_word(1, 1) else { panic!("a result") };
    let hash = &succeeded.artifacts[0].hash;
    let content = coordinator.state().blobs.remove(hash).unwrap();
    coordinator.state().partial.insert(hash.clone(), vec![0; 70_000]);
    coordinator.assign(2, 1, &step("large", 2));
    assert!(matches!(coordinator.last_word(2, 1), Event::Succeeded(_)));
    assert_eq!(coordinator.state().puts_from, [0, 70_000, 0]);
    assert_eq!(coordinator.state().asked, 2, "once for each of both: it is one try");
    assert!(coordinator.state().blobs[hash] == content);
    fixture.end(first).unwrap();
}

fn a_full_cache_keeps_what_is_used_and_what_came_last() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let daemon = small(&fixture, 10_000);
    let [used, first, second, huge] = ['a', 'b', 'c', 'd'].map(content);
    let huge = huge.repeat(2);
    assign(coordinator, 1, "hang", &used);
    coordinator.process_of(1, 1);
    let gone = |content: &[u8]| coordinator.wait("room", |_| (!has(&fixture, content)).then_some(()));
    for (step_id, content) in [(2, &first), (3, &huge)] {
        assign(coordinator, step_id, "features", content);
        reads(coordinator, step_id, content);
        gone(content);
        assert!(has(&fixture, &used), "an attempt works with it");
    }
    coordinator.state().stop.push(held(1, 1));
    coordinator.wait("an end", |state| state.last_poll.held.is_empty().then_some(()));
    assert!(has(&fixture, &used), "there is room for it");
    assign(coordinator, 4, "features", &second);
    reads(coordinator, 4, &second);
    gone(&used);
    assert!(has(&fixture, &second), "it came last");
    // It is used again without being fetched, and what came in between has made room for it.
    let gets = coordinator.state().gets.len();
    assign(coordinator, 5, "features", &second);
    reads(coordinator, 5, &second);
    assert_eq!(coordinator.state().gets.len(), gets);
    fixture.end(daemon).unwrap();
}

fn what_was_used_again_outlives_what_came_after_it() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let daemon = small(&fixture, 20_000);
    let [first, second, third] = ['a', 'b', 'c'].map(content);
    for (step_id, content) in [(1, &first), (2, &second), (3, &first), (4, &third)] {
        assign(coordinator, step_id, "features", content);
        reads(coordinator, step_id, content);
    }
    coordinator.wait("room", |_| (!has(&fixture, &second)).then_some(()));
    assert!(has(&fixture, &first) && has(&fixture, &third));
    assert_eq!(coordinator.state().gets.len(), 3);
    fixture.end(daemon).unwrap();
}

fn what_the_coordinator_does_not_have_stays() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    coordinator.state().blobs_away = true;
    let daemon = small(&fixture, 1);
    // Their last words wait behind the artifact; what they do to the cache when they end does not.
    let ended = |attempts: usize| {
        let all = |state: &State| state.last_poll.held.len() == attempts && state.last_poll.cpus_free == 2;
        coordinator.wait("an end", |state| all(state).then_some(()));
    };
    coordinator.assign(1, 1, &step("toy", 10));
    ended(1);
    coordinator.assign(2, 1, &step("nan", 10));
    ended(2);
    assert_eq!(store(fixture.folder.path()).list().unwrap().len(), 1);
    // Also after a restart, for which it is a file among others.
    fixture.end(daemon).unwrap();
    let daemon = small(&fixture, 1);
    coordinator.assign(3, 1, &step("nan", 11));
    ended(3);
    coordinator.state().blobs_away = false;
    let Event::Succeeded(succeeded) = coordinator.last_word(1, 1) else { panic!("its artifact was there") };
    assert!(coordinator.state().blobs.contains_key(&succeeded.artifacts[0].hash));
    coordinator.wait("room", |_| store(fixture.folder.path()).list().unwrap().is_empty().then_some(()));
    fixture.end(daemon).unwrap();
}
