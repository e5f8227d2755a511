//! Driving the real binary in a state folder of its own.
#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A state folder that lives as long as the test.
pub struct Lab {
    pub folder: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder can be made") }
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A command on this state folder; no setting of the caller's environment reaches it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator"));
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("ORCHESTRATOR_")) {
            command.env_remove(key);
        }
        command.env("ORCHESTRATOR_HOME", self.home()).args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary starts")
    }

    /// Starts a command with its output going to files, so that nobody has to drain pipes.
    pub fn start(&self, args: &[&str], name: &str) -> Running {
        let mut command = self.command(args);
        self.start_command(&mut command, name)
    }

    pub fn start_command(&self, command: &mut Command, name: &str) -> Running {
        let log = self.folder.path().join(name);
        let file = fs::File::create(&log).expect("a log file can be made");
        let child = command
            .stdout(file.try_clone().expect("a file handle can be cloned"))
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        Running { child, log }
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }
}

/// A command at work.
pub struct Running {
    pub child: Child,
    pub log: PathBuf,
}

impl Running {
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line that holds `needle`; panics with the output when it does not come.
    pub fn wait_for(&mut self, needle: &str, limit: Duration) -> String {
        let end = Instant::now() + limit;
        loop {
            let output = self.output();
            if let Some(line) = output.lines().find(|line| line.contains(needle)) {
                return line.to_owned();
            }
            let over = self.child.try_wait().expect("a child can be waited for");
            assert!(over.is_none() && Instant::now() < end, "no line with `{needle}` ({over:?}) in:\n{output}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end; panics with the output when it does not come.
    pub fn wait(&mut self, limit: Duration) -> i32 {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "still at work after {limit:?}:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that panicked leaves no process behind; one that ended is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes of this user whose command line is `orchestrator attempt` below the given parent state folder.
pub fn attempts_of(home: &Path) -> Vec<u32> {
    let home = home.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        if command.contains("attempt") && environment.contains(&home) {
            found.push(id);
        }
    }
    found
}

/// Waits until a condition holds.
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn scores(home: &Path, name: &str) -> String {
    fs::read_to_string(home.join("reports").join(name).join("scores.csv")).expect("scores.csv was written")
}
