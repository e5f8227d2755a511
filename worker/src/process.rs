//! The process of an attempt as the daemon sees it: its own process group, its pipes, its end.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc::SyncSender},
    thread,
    time::{Duration, Instant},
};

use orchestrator_proto::{frames, v1::AttemptEvent};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::{
    command::{Command, Start},
    events::LINE_BYTES,
};

/// Largest message that is taken from an attempt, in bytes.
const MESSAGE_BYTES: usize = 4 << 20;
/// Lines of standard error that are taken in one go, and what comes in on top of that in a second.
const LINES_AT_ONCE: u32 = 500;
const LINES_PER_SECOND: u32 = 20;
/// Lines of standard error that are taken of one attempt at most.
const LINES_ALTOGETHER: u64 = 20_000;

/// What is heard of a process, in the order in which it is read.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message from its standard output.
    Event(AttemptEvent),
    /// Its standard output is closed; with the reason when it spoke in a way we do not understand.
    Closed(Option<io::Error>),
    /// A line from its standard error.
    Line(String),
    /// It has ended, and with it all that was left of its process group.
    Exited(io::Result<ExitStatus>),
    /// Nothing: a reason to look at the clock and at what is wanted.
    Wake,
}

/// A started process. Its end is heard, not waited for here.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    stdin: ChildStdin,
    /// Once the process is reaped its number may belong to somebody else.
    reaped: Arc<Mutex<bool>>,
}

impl Process {
    /// Starts `program attempt` in a process group of its own, with the threads of its start at most, and
    /// no sight of a GPU but the one given to it. The thread that calls this must live as long as the
    /// process: its end is the process's death signal.
    pub(crate) fn start(program: &Path, start: &Start, heard: &SyncSender<Heard>) -> io::Result<Self> {
        let threads = start.threads.to_string();
        let shown = start.gpu.as_ref().map_or_else(String::new, |gpu| gpu.index.to_string());
        let mut child = std::process::Command::new(program)
            .arg("attempt")
            .env("RAYON_NUM_THREADS", &threads)
            .env("CANDLE_NUM_THREADS", &threads)
            .env("OMP_NUM_THREADS", &threads)
            // CUDA counts the fastest GPU first unless told to count as `nvidia-smi` does.
            .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            .env("CUDA_VISIBLE_DEVICES", shown)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("the system gave a process id");
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { unreachable!("all three pipes were asked for") };
        let reaped = Arc::new(Mutex::new(false));
        let (tell, flag) = (heard.clone(), Arc::clone(&reaped));
        thread::spawn(move || {
            // The zombie keeps the number of the group ours while what is left of it is killed.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let mut reaped = flag.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = kill_process_group(pid, Signal::KILL);
            let status = child.wait();
            *reaped = true;
            drop(reaped);
            let _ = tell.send(Heard::Exited(status));
        });
        let tell = heard.clone();
        thread::spawn(move || read_events(stdout, &tell));
        let tell = heard.clone();
        thread::spawn(move || read_lines(stderr, &tell));
        Ok(Self { pid, stdin, reaped })
    }

    /// Says something to the process.
    pub(crate) fn say(&mut self, command: &Command) -> io::Result<()> {
        command.write(&mut self.stdin)
    }

    /// Signals its whole process group; nothing when it has already ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            let _ = kill_process_group(self.pid, signal);
        }
    }
}

fn read_events(stdout: ChildStdout, heard: &SyncSender<Heard>) {
    let mut reader = BufReader::new(stdout);
    loop {
        let said = match frames::read_frame::<AttemptEvent>(&mut reader, MESSAGE_BYTES) {
            Ok(Some(event)) => Heard::Event(event),
            Ok(None) => Heard::Closed(None),
            Err(error) => Heard::Closed(Some(error)),
        };
        let last = matches!(said, Heard::Closed(_));
        if heard.send(said).is_err() || last {
            return;
        }
    }
}

/// Passes on lines of bounded length at a bounded rate; says how many it left out.
fn read_lines(stderr: ChildStderr, heard: &SyncSender<Heard>) {
    let mut reader = BufReader::new(stderr);
    let mut budget = Budget::new(Instant::now());
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES as u64).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        match budget.admit(Instant::now()) {
            Admitted::No => continue,
            Admitted::Yes => {}
            Admitted::After(left_out) => {
                if heard.send(Heard::Line(format!("({left_out} lines left out)"))).is_err() {
                    return;
                }
            }
        }
        let text = String::from_utf8_lossy(&line);
        if heard.send(Heard::Line(text.trim_end_matches(['\n', '\r']).to_owned())).is_err() {
            return;
        }
    }
    if budget.left_out > 0 {
        let _ = heard.send(Heard::Line(format!("({} lines left out)", budget.left_out)));
    }
}

/// How many lines may still pass.
#[derive(Debug)]
struct Budget {
    lines: u32,
    refilled: Instant,
    passed: u64,
    left_out: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Admitted {
    Yes,
    /// Yes, and so many were left out before it.
    After(u64),
    No,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { lines: LINES_AT_ONCE, refilled: now, passed: 0, left_out: 0 }
    }

    fn admit(&mut self, now: Instant) -> Admitted {
        let seconds = u32::try_from(now.duration_since(self.refilled).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.lines = self.lines.saturating_add(seconds.saturating_mul(LINES_PER_SECOND)).min(LINES_AT_ONCE);
            self.refilled += Duration::from_secs(seconds.into());
        }
        if self.lines == 0 || self.passed == LINES_ALTOGETHER {
            self.left_out += 1;
            return Admitted::No;
        }
        self.lines -= 1;
        self.passed += 1;
        match std::mem::take(&mut self.left_out) {
            0 => Admitted::Yes,
            left_out => Admitted::After(left_out),
        }
    }
}

/// Processes that the kernel has killed for memory, here or, where that is not told, on the whole
/// machine; `None` when the kernel does not tell.
pub(crate) fn killed_for_memory() -> Option<u64> {
    let count = |text: &str| {
        text.lines().find_map(|line| line.strip_prefix("oom_kill ").and_then(|count| count.trim().parse().ok()))
    };
    let own_group = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = own_group.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
    [format!("/sys/fs/cgroup/{group}/memory.events"), "/proc/vmstat".to_owned()]
        .iter()
        .find_map(|path| count(&std::fs::read_to_string(path).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let passed = (0..10_000).filter(|_| budget.admit(start) == Admitted::Yes).count();
        assert_eq!(passed, LINES_AT_ONCE as usize);
        let later = start + Duration::from_secs(2);
        assert_eq!(budget.admit(later), Admitted::After(10_000 - u64::from(LINES_AT_ONCE)));
        assert_eq!(
            (0..100).filter(|_| budget.admit(later) == Admitted::Yes).count(),
            2 * LINES_PER_SECOND as usize - 1
        );
        let mut day = Budget::new(start);
        let all = (0..86_400u64).map(|second| start + Duration::from_secs(second));
        let passed = all.flat_map(|at| [at; 30]).filter(|at| day.admit(*at) != Admitted::No).count();
        assert_eq!(passed as u64, LINES_ALTOGETHER);
    }
}
