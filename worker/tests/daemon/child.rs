//! The process of an attempt by itself: each of its two ties to the daemon must do alone.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use orchestrator_proto::{
    frames,
    v1::{AttemptEvent, attempt_event::Event},
};

use crate::{
    Test,
    steps::{code, step},
    worker::{Killable, ends_within, is_alive},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_closed_pipe_alone_ends_an_attempt", a_closed_pipe_alone_ends_an_attempt),
    ("the_death_of_the_parent_alone_ends_an_attempt", the_death_of_the_parent_alone_ends_an_attempt),
    ("an_attempt_by_hand_is_refused", an_attempt_by_hand_is_refused),
];

/// The first line that a daemon says.
fn start_line(folder: &Path, daemon_process: u32) -> String {
    let spec = step("hang", 1);
    let start = orchestrator_worker::Start {
        fingerprint: spec.fingerprint(),
        spec,
        folder: folder.into(),
        features: Vec::new(),
        program_files: Vec::new(),
        time_limit_s: 0,
        memory_bytes: 0,
        data_folders: Vec::new(),
        threads: 1,
        simd: None,
        gpu: None,
        checkpoint: None,
        checkpoint_every: orchestrator_worker::CheckpointPolicy::default(),
        daemon_process: daemon_process.cast_signed(),
    };
    format!("{{\"start\":{}}}\n", serde_json::to_string(&start).unwrap())
}

fn attempt() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("attempt").stderr(Stdio::null());
    command
}

fn wait_for_start(child: &mut Child) {
    let event: AttemptEvent = frames::read_frame(child.stdout.as_mut().unwrap(), 10_000).unwrap().unwrap();
    let Some(Event::Started(started)) = event.event else { panic!("{event:?}") };
    assert_eq!(started.code, Some(code().into()));
}

fn a_closed_pipe_alone_ends_an_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = attempt().process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(start_line(folder.path(), std::process::id()).as_bytes()).unwrap();
    wait_for_start(&mut child);
    let child = Killable(child);
    thread::sleep(Duration::from_millis(200));
    assert!(is_alive(child.0.id()), "it works as long as the pipe is open");
    drop(stdin);
    ends_within(child.0.id(), Duration::from_secs(2));
}

/// The argument `parent`: starts an attempt on its own standard input, names it, and waits.
pub(crate) fn parent_process() -> ExitCode {
    let mut child = attempt().process_group(0).stdin(Stdio::inherit()).stdout(Stdio::null()).spawn().unwrap();
    println!("{}", child.id());
    let _ = child.wait();
    ExitCode::FAILURE
}

fn the_death_of_the_parent_alone_ends_an_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .arg("parent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut open_pipe = parent.stdin.take().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let process: u32 = line.trim().parse().unwrap();
    open_pipe.write_all(start_line(folder.path(), parent.id()).as_bytes()).unwrap();
    while !folder.path().join("lock").exists() {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(is_alive(process));
    Killable(parent).kill();
    ends_within(process, Duration::from_secs(2));
    drop(open_pipe);
}

fn an_attempt_by_hand_is_refused() {
    let mut child = attempt().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert!(text.contains("started by a worker daemon"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let mut child = attempt().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(start_line(folder.path(), 1).as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2), "its parent is not the daemon it was started for");
}
