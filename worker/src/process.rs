//! The process of an attempt as the daemon sees it: its own process group, its pipes, its end.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc::SyncSender},
    thread,
    time::Instant,
};

use orchestrator_proto::{frames, v1::AttemptEvent};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::{
    budget::{Admitted, Budget},
    command::{Command, Start},
    events::LINE_BYTES,
};

/// Largest message that is taken from an attempt, in bytes.
const MESSAGE_BYTES: usize = 4 << 20;

/// What is heard of a process, in the order in which it is read.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message from its standard output.
    Event(AttemptEvent),
    /// Its standard output is closed; with the reason when it spoke in a way we do not understand.
    Closed(Option<io::Error>),
    /// A line from its standard error.
    Line(String),
    /// Its standard error is closed: no line comes any more.
    Dry,
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
    if budget.left_out() > 0 {
        let _ = heard.send(Heard::Line(format!("({} lines left out)", budget.left_out())));
    }
    let _ = heard.send(Heard::Dry);
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
