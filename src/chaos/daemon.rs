//! A daemon of the throw-away fleet: a process of this very program, its log, and what is done to it.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::exit::{Failure, Outcome};

/// Most of a log that is searched for its last words, in bytes.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// A coordinator or a worker that can be started, killed, halted and started again.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) name: String,
    /// Its state folder; also the mark by which its attempts are known.
    pub(super) home: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    is_halted: bool,
}

impl Daemon {
    pub(super) fn new(name: String, home: PathBuf, log: PathBuf) -> Self {
        Self { name, home, log, child: None, is_halted: false }
    }

    /// Starts it with these arguments, in a process group of its own: Ctrl-C is ours to pass on. No setting of the
    /// caller's environment reaches it.
    pub(super) fn start(&mut self, arguments: &[String]) -> Outcome {
        let fail = |why: std::io::Error| Failure::request(format!("{} could not be started: {why}", self.name));
        let program = std::env::current_exe().map_err(fail)?;
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(fail)?;
        let mut command = Command::new(program);
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("ORCHESTRATOR_")) {
            command.env_remove(key);
        }
        command.env("ORCHESTRATOR_HOME", &self.home).args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(fail)?).stderr(log);
        self.child = Some(command.process_group(0).kill_on_drop(true).spawn().map_err(fail)?);
        self.is_halted = false;
        Ok(())
    }

    /// Whether there is a process, and not one that stands still.
    pub(super) fn is_at_work(&self) -> bool {
        self.child.is_some() && !self.is_halted
    }

    /// Whether there is a process.
    pub(super) fn is_there(&self) -> bool {
        self.child.is_some()
    }

    fn id(&self) -> Option<i32> {
        self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok())
    }

    /// Processes of its attempts that an earlier life of it has left, or that it left when it was killed.
    pub(super) fn forsaken(&self) -> Vec<i32> {
        attempts_of(&self.home).into_iter().filter(|process| parent_of(*process) != self.id()).collect()
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.id().and_then(Pid::from_raw) {
            // It may have ended by itself a moment ago: that is seen elsewhere.
            let _ = kill_process(pid, signal);
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only for a process that has ended.
            let _ = child.kill().await;
        }
        self.is_halted = false;
    }

    /// Has it stand still.
    pub(super) fn halt(&mut self) {
        self.signal(Signal::STOP);
        self.is_halted = true;
    }

    /// Has it go on.
    pub(super) fn go_on(&mut self) {
        self.signal(Signal::CONT);
        self.is_halted = false;
    }

    /// If it has ended by itself: how, with its last line.
    pub(super) fn ended_by_itself(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        self.is_halted = false;
        let log = self.log_text();
        let last = log.lines().last().unwrap_or("no word").trim();
        Some(format!("{} ended by itself ({status}): {last}", self.name))
    }

    /// Asks it to end and waits for that; what is wrong when it does not, or not well.
    pub(super) async fn end(&mut self, limit: Duration) -> Result<(), String> {
        self.signal(Signal::TERM);
        self.wait(limit).await
    }

    /// Waits for its end; what is wrong when it does not come, or not well.
    pub(super) async fn wait(&mut self, limit: Duration) -> Result<(), String> {
        let Some(child) = &mut self.child else { return Err(format!("{} is not at work", self.name)) };
        let ended = tokio::time::timeout(limit, child.wait()).await;
        let name = &self.name;
        let answer = match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("{name} ended with {status}")),
            Ok(Err(error)) => Err(format!("{name} could not be waited for: {error}")),
            Err(_) => Err(format!("{name} did not end within {limit:?}")),
        };
        self.kill().await;
        answer
    }

    /// Everything it has said in all its lives; empty when that cannot be read.
    pub(super) fn log_text(&self) -> String {
        let readable = fs::metadata(&self.log).is_ok_and(|log| log.len() <= MAX_LOG_BYTES);
        if readable {
            String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
        } else {
            String::new()
        }
    }
}

/// Processes of attempts whose daemon has this state folder. On systems without `/proc` none are seen.
pub(super) fn attempts_of(home: &Path) -> Vec<i32> {
    let mark = format!("ORCHESTRATOR_HOME={}", home.display()).into_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let processes =
        entries.flatten().filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    let is_attempt = |path: &Path| {
        let words = fs::read(path.join("cmdline")).unwrap_or_default();
        let second = words.split(|byte| *byte == 0).nth(1);
        // A zombie has neither arguments nor an environment.
        second == Some(b"attempt")
            && fs::read(path.join("environ")).unwrap_or_default().split(|byte| *byte == 0).any(|entry| entry == mark)
    };
    processes.filter(|(_, path)| is_attempt(path)).map(|(id, _)| id).collect()
}

/// The parent of a process; none for one that is gone.
fn parent_of(process: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name, which may hold anything, come state and parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// `kill -9` for a process that is none of our children; whether there was one.
pub(super) fn kill(process: i32) -> bool {
    Pid::from_raw(process).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}
