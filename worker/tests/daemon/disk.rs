//! Real file systems that are full, one part of the worker's folder at a time. They are mounted for the test,
//! which needs the right to.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use experiment_spec::ids::ContentHash;
use orchestrator_proto::v1::{Artifact, Failed, attempt_event::Event};
use retrieval::checkpoint::Checkpoint;

use crate::{
    Test,
    coordinator::{Coordinator, is_last},
    steps::{MODEL, state_after, step},
    worker::Fixture,
};

pub(crate) const TESTS: &[Test] = &[
    ("a_worker_takes_nothing_on_a_disk_that_is_nearly_full", a_worker_takes_nothing_on_a_disk_that_is_nearly_full),
    ("a_checkpoint_without_room_fails_its_attempt_alone", a_checkpoint_without_room_fails_its_attempt_alone),
    ("an_outbox_without_room_holds_everything_back", an_outbox_without_room_holds_everything_back),
    ("content_without_room_fails_its_attempt_alone", content_without_room_fails_its_attempt_alone),
];

/// What the operating system says.
const FULL: &str = "No space left on device";

/// A file system of 2 MiB, gone with the value.
struct Disk(PathBuf);

impl Disk {
    /// Mounts it there; `None`, and a line that says so, where mounting is not allowed.
    fn mount(test: &str, folder: PathBuf) -> Option<Self> {
        fs::create_dir_all(&folder).unwrap();
        if run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&folder)) {
            return Some(Self(folder));
        }
        println!("skipped: {test}: no right to mount a file system here");
        None
    }

    fn resize(&self, size: &str) {
        assert!(run(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0)));
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        let mut size = 64 << 10;
        while size > 0 {
            while file.write_all(&vec![1; size]).is_ok() {}
            size /= 2;
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn refused(coordinator: &Coordinator, step_id: i64, attempt: u32, path: &Path) {
    let Event::Failed(Failed { failure_kind, message }) = coordinator.last_word(step_id, attempt) else {
        panic!("step {step_id} has no room")
    };
    assert_eq!(failure_kind, "killed", "another worker may have room: {message}");
    assert!(message.contains(path.to_str().unwrap()) && message.contains(FULL), "{message}");
}

fn succeeds(coordinator: &Coordinator, step_id: i64, attempt: u32, iterations: u64) {
    let Event::Succeeded(succeeded) = coordinator.last_word(step_id, attempt) else { panic!("there is room again") };
    assert_eq!(succeeded.scores_json.parse::<f64>().unwrap().to_bits(), state_after(iterations).to_bits());
}

fn a_checkpoint_without_room_fails_its_attempt_alone() {
    let fixture = Fixture::new();
    let steps = fixture.folder.path().join("worker/steps");
    let Some(disk) = Disk::mount("a_checkpoint_without_room_fails_its_attempt_alone", steps.clone()) else { return };
    let (coordinator, daemon) = (&fixture.coordinator, fixture.daemon(|_| {}));
    let spec = step("toy", 1000);
    let checkpoint = steps.join(spec.fingerprint().to_string()).join("checkpoint.safetensors");
    coordinator.assign(1, 1, &spec);
    let saved = |event: &Event| matches!(event, Event::CheckpointSaved(_));
    coordinator.wait("checkpoint", |state| state.events(1, 1).any(saved).then_some(()));
    // A checkpoint that was being written gives back the room of the one before.
    while !coordinator.state().events(1, 1).any(is_last) {
        disk.fill();
        thread::sleep(Duration::from_millis(5));
    }
    refused(coordinator, 1, 1, &checkpoint);
    let before = Checkpoint::load(&checkpoint).unwrap().expect("the one before");
    assert!(!checkpoint.with_extension("safetensors.partial").exists(), "its room is given back");

    disk.fill();
    let other = step("toy", 10);
    coordinator.assign(2, 1, &other);
    refused(coordinator, 2, 1, &steps.join(other.fingerprint().to_string()));
    coordinator.assign(1, 2, &spec);
    refused(coordinator, 1, 2, checkpoint.parent().unwrap());
    assert_eq!(fs::read_to_string(checkpoint.with_file_name("attempt")).unwrap(), "1.1\n", "still whole");

    disk.make_room();
    coordinator.assign(1, 3, &spec);
    succeeds(coordinator, 1, 3, 1000);
    let went_on = |event: &Event| matches!(event, Event::Started(start) if start.from_iteration == before.iteration);
    assert!(coordinator.state().events(1, 3).any(went_on), "from iteration {}", before.iteration);
    fixture.end(daemon).unwrap();
}

fn an_outbox_without_room_holds_everything_back() {
    let fixture = Fixture::new();
    let outbox = fixture.folder.path().join("worker/outbox");
    let Some(disk) = Disk::mount("an_outbox_without_room_holds_everything_back", outbox.clone()) else { return };
    let (coordinator, daemon) = (&fixture.coordinator, fixture.daemon(|_| {}));
    // What was kept before the disk was full must be read back after.
    coordinator.state().deaf = true;
    let spec = step("toy", 1000);
    coordinator.assign(1, 1, &spec);
    coordinator.process_of(1, 1);
    disk.fill();
    let model = fixture.folder.path().join("worker/steps").join(spec.fingerprint().to_string()).join(MODEL);
    while !model.exists() {
        thread::sleep(Duration::from_millis(10));
    }
    // No step of a hundred cores fits: each is given back, until not even that can be kept.
    for unfit in 100..160 {
        coordinator.assign_with(unfit, 1, &step("toy", 1), |assignment| assignment.cpus = 100);
    }
    let polls = coordinator.state().polls;
    coordinator.wait("heartbeat", |state| (state.polls > polls + 20).then_some(()));
    assert!(!coordinator.state().events(1, 1).any(is_last), "its last word is not safe");
    let given_back = (100..160).filter(|unfit| coordinator.state().events(*unfit, 1).any(is_last)).count();
    assert!(given_back < 60, "the disk was not full");

    disk.make_room();
    succeeds(coordinator, 1, 1, 1000);
    let told = |line: &String| line.contains(outbox.to_str().unwrap()) && line.contains(FULL);
    assert!(coordinator.state().log(1, 1).iter().any(told), "{:?}", coordinator.state().log(1, 1));
    fixture.end(daemon).unwrap();
    {
        let mut state = coordinator.state();
        state.deaf = false;
        state.reports.clear();
    }
    let daemon = fixture.daemon(|_| {});
    succeeds(coordinator, 1, 1, 1000);
    let state = coordinator.state();
    assert_eq!(state.points(1).len(), 1000);
    assert!(state.points(1).iter().all(|(iteration, value)| value.to_bits() == state_after(*iteration).to_bits()));
    drop(state);
    fixture.end(daemon).unwrap();
}

fn content_without_room_fails_its_attempt_alone() {
    let fixture = Fixture::new();
    let blobs = fixture.folder.path().join("worker/blobs");
    let Some(disk) = Disk::mount("content_without_room_fails_its_attempt_alone", blobs.clone()) else { return };
    let (coordinator, daemon) = (&fixture.coordinator, fixture.daemon(|_| {}));
    let content = vec![7; 3 << 20];
    let hash = ContentHash::of(&content).to_string();
    let features =
        Artifact { name: "features".into(), hash: hash.clone(), bytes: content.len() as u64, ..Artifact::default() };
    coordinator.state().blobs.insert(hash, content);
    let assign = |attempt| {
        coordinator
            .assign_with(1, attempt, &step("toy", 10), |assignment| assignment.features = vec![features.clone()]);
    };
    assign(1);
    refused(coordinator, 1, 1, &blobs);
    assert_eq!(fs::read_dir(blobs.join("partial")).unwrap().count(), 0, "its room is given back");
    disk.fill();
    coordinator.assign(2, 1, &step("toy", 20));
    refused(coordinator, 2, 1, &blobs);
    disk.make_room();
    disk.resize("8m");
    assign(2);
    succeeds(coordinator, 1, 2, 10);
    coordinator.assign(2, 2, &step("toy", 20));
    succeeds(coordinator, 2, 2, 20);
    fixture.end(daemon).unwrap();
}

fn a_worker_takes_nothing_on_a_disk_that_is_nearly_full() {
    let fixture = Fixture::new();
    let coordinator = &fixture.coordinator;
    let daemon = fixture.daemon(|config| config.min_free_bytes = u64::MAX);
    let poll = coordinator.wait("poll", |state| (state.polls > 1).then(|| state.last_poll.clone()));
    assert_eq!((poll.cpus_free, poll.gpus_free.len()), (0, 0));
    let folder = fixture.folder.path().join("worker");
    assert!(poll.halted.starts_with(&format!("the disk of {} has ", folder.display())), "{}", poll.halted);
    assert!(poll.halted.ends_with(" GiB are kept free (`worker --min-free`)"), "{}", poll.halted);
    fixture.end(daemon).unwrap();
    let daemon = fixture.daemon(|config| config.min_free_bytes = 1);
    let poll = coordinator.wait("poll", |state| (state.last_poll.cpus_free > 0).then(|| state.last_poll.clone()));
    assert_eq!(poll.halted, "");
    fixture.end(daemon).unwrap();
}
