//! A program at work: started, listened to, held to its limits, ended with all it has started.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use experiment_spec::{
    program::{Program, file_name},
    run::FailureKind,
};
use retrieval::{
    error::{Error, Result},
    method::Observer,
};

use super::{bytes_below, failed, folder::Folder, progress, tree};
use crate::{
    budget::{Admitted, Budget},
    ending::Tail,
    process::killed_for_memory,
};

/// How often clock and memory are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often the folder is measured.
const DISK_TICK: Duration = Duration::from_secs(2);
/// For what it has started to end, and for its pipes to run dry after that.
const FAREWELL: Duration = Duration::from_secs(3);
/// Most processes of a program at a time.
const MAX_PROCESSES: usize = 1_000;
/// Most lines, and most bytes, that a program may print on either of its two outputs.
const MAX_PRINTED_LINES: u64 = 1_000_000;
const MAX_PRINTED_BYTES: u64 = 64 << 20;
/// Most bytes that a program may leave in its folder, besides what it was given.
const MAX_FOLDER_BYTES: u64 = 16 << 30;
/// Longest line that is read as one, in bytes.
const LINE_BYTES: u64 = 16 << 10;
/// Lines that may wait; then the program waits.
const LINES_WAITING: usize = 256;

/// What a program may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) time: Duration,
    pub(super) memory_bytes: u64,
}

/// What is known of a program that ended well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ran {
    /// The last iteration it told of.
    pub(super) iteration: u64,
    pub(super) time: Duration,
    pub(super) peak_memory_bytes: u64,
}

/// One of the two outputs of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Out,
    Error,
}

/// What is heard from a program.
#[derive(Debug)]
enum Heard {
    Line(Output, String),
    TooMuch(Output),
}

/// Runs a program to its end in its folder.
///
/// # Errors
/// A named failure when it does not end well or takes more than it may; [`Error::Stopped`] when the attempt was
/// told to stop. Nothing it has started is left in any case.
pub(super) fn run(
    program: &Program,
    folder: &Folder,
    limits: Limits,
    threads: usize,
    observer: &mut dyn Observer,
) -> Result<Ran> {
    tree::keep_in_sight().map_err(Error::file("/proc/self"))?;
    let killed_before = killed_for_memory();
    let mut child = command(program, folder, threads).spawn().map_err(Error::file(folder.path()))?;
    let lines = listen(&mut child);
    let mut watch = Watch {
        folder: folder.path(),
        limits,
        observer,
        started: Instant::now(),
        given_bytes: bytes_below(folder.path()),
        measured: Instant::now(),
        peak_memory_bytes: 0,
        iteration: 0,
        budgets: [Budget::new(Instant::now()), Budget::new(Instant::now())],
        tail: Tail::default(),
    };
    let ended = watch.until_end(&mut child, &lines);
    // Whatever it ended with: what it has started ends with it, and holds no pipe open any more.
    let all_ended = tree::end(FAREWELL);
    let heard_out = watch.hear_out(&lines);
    // Why it was ended counts before anything that came to light afterwards.
    let status = ended?;
    heard_out?;
    if !all_ended {
        return Err(watch.failed(FailureKind::Killed, "the program left processes that cannot be ended"));
    }
    watch.judge(status, killed_before < killed_for_memory())
}

/// The command, confined to its folder, with its threads; no setting of ours reaches it.
fn command(program: &Program, folder: &Folder, threads: usize) -> Command {
    // The attempt's own program: it has the hidden verb that confines and then becomes the command.
    let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| "orchestrator".into()));
    command.arg("confined").arg(folder.path());
    let (first, rest) = program.command.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    // A file of its own is found where it lies, anything else along PATH.
    match file_name(first).filter(|name| program.files.iter().any(|file| file.name == *name)) {
        Some(own) => command.arg(folder.path().join(own)),
        None => command.arg(first),
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORCHESTRATOR_")) {
        command.env_remove(name);
    }
    let threads = threads.to_string();
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(name, &threads);
    }
    let scratch = folder.path().join("tmp");
    for name in ["TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"] {
        command.env(name, &scratch);
    }
    // Python: lines as they are printed, the same order of sets in every attempt.
    command.env("PYTHONUNBUFFERED", "1").env("PYTHONHASHSEED", "0");
    command.args(rest).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Reads both outputs in threads of their own. The receiver is disconnected once both are closed.
fn listen(child: &mut Child) -> Receiver<Heard> {
    let (tell, heard) = sync_channel(LINES_WAITING);
    let (out, error) = (child.stdout.take(), child.stderr.take());
    if let Some(out) = out {
        let tell = tell.clone();
        thread::spawn(move || read_lines(out, Output::Out, &tell));
    }
    if let Some(error) = error {
        thread::spawn(move || read_lines(error, Output::Error, &tell));
    }
    heard
}

fn read_lines(source: impl Read, output: Output, tell: &SyncSender<Heard>) {
    let mut reader = BufReader::new(source);
    let (mut line, mut printed, mut lines) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(read) => (printed, lines) = (printed + read as u64, lines + 1),
        }
        if printed > MAX_PRINTED_BYTES || lines > MAX_PRINTED_LINES {
            let _ = tell.send(Heard::TooMuch(output));
            return;
        }
        // Of a progress bar that draws over itself, what is to be seen in the end.
        let text = String::from_utf8_lossy(&line);
        let seen = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if !seen.is_empty() && tell.send(Heard::Line(output, seen.to_owned())).is_err() {
            return;
        }
    }
}

/// What is known of a program while it is watched.
struct Watch<'a> {
    folder: &'a Path,
    limits: Limits,
    observer: &'a mut dyn Observer,
    started: Instant,
    given_bytes: u64,
    measured: Instant,
    peak_memory_bytes: u64,
    iteration: u64,
    /// Of lines for the log, by output.
    budgets: [Budget; 2],
    tail: Tail,
}

impl Watch<'_> {
    /// Listens and looks until the program itself has ended.
    fn until_end(&mut self, child: &mut Child, lines: &Receiver<Heard>) -> Result<io::Result<ExitStatus>> {
        let mut looked = Instant::now();
        loop {
            match lines.recv_timeout(TICK) {
                Ok(heard) => self.take(heard)?,
                Err(RecvTimeoutError::Timeout) => {}
                // Closed pipes are seen at once and for ever.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
            }
            if looked.elapsed() < TICK {
                continue;
            }
            looked = Instant::now();
            self.look()?;
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Ok(Ok(status)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// What was printed before the end may still be in the pipes.
    fn hear_out(&mut self, lines: &Receiver<Heard>) -> Result<()> {
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until {
            match lines.recv_timeout(TICK) {
                Ok(heard) => self.take(heard)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for (place, on_error) in [(0, false), (1, true)] {
            let left_out = self.budgets[place].left_out();
            if left_out > 0 {
                self.observer.printed(on_error, &format!("({left_out} lines left out)"));
            }
        }
        Ok(())
    }

    fn take(&mut self, heard: Heard) -> Result<()> {
        match heard {
            Heard::TooMuch(output) => {
                let name = if output == Output::Out { "output" } else { "error" };
                let most = MAX_PRINTED_BYTES >> 20;
                let message = format!(
                    "the program printed more than {most} MiB or {MAX_PRINTED_LINES} lines on its standard {name}"
                );
                return Err(failed(FailureKind::UserError, message));
            }
            Heard::Line(Output::Out, line) => match progress::read(&line) {
                Some(told) if told.iteration >= self.iteration => self.progress(&told)?,
                _ => self.print(Output::Out, &line),
            },
            Heard::Line(Output::Error, line) => self.print(Output::Error, &line),
        }
        Ok(())
    }

    fn progress(&mut self, told: &progress::Progress) -> Result<()> {
        self.iteration = told.iteration;
        let metrics: Vec<(&str, f64)> = told.metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        self.observer.iteration(told.iteration, told.iterations, told.loss, &metrics)
    }

    /// Passes a line on to the log, at a bounded rate.
    fn print(&mut self, output: Output, line: &str) {
        self.tail.push(line);
        let on_error = output == Output::Error;
        match self.budgets[usize::from(on_error)].admit(Instant::now()) {
            Admitted::No => return,
            Admitted::Yes => {}
            Admitted::After(left_out) => self.observer.printed(on_error, &format!("({left_out} lines left out)")),
        }
        self.observer.printed(on_error, line);
    }

    /// Holds the program to its limits.
    fn look(&mut self) -> Result<()> {
        if self.observer.wants_stop() {
            return Err(Error::Stopped(self.iteration));
        }
        if self.started.elapsed() > self.limits.time {
            let limit = self.limits.time.as_secs();
            return Err(self.failed(FailureKind::Timeout, &format!("the program did not end within {limit} s")));
        }
        let held = tree::held(self.limits.memory_bytes);
        self.peak_memory_bytes = self.peak_memory_bytes.max(held.memory_bytes);
        if held.memory_bytes > self.limits.memory_bytes {
            let [found, limit] = [held.memory_bytes, self.limits.memory_bytes].map(|bytes| bytes >> 20);
            let message = format!(
                "the program took {found} MiB of memory, its limit is {limit} MiB (`memory` in `resources` states it)"
            );
            return Err(self.failed(FailureKind::OutOfMemory, &message));
        }
        if held.processes > MAX_PROCESSES {
            let message = format!("the program started more than {MAX_PROCESSES} processes");
            return Err(self.failed(FailureKind::UserError, &message));
        }
        if self.measured.elapsed() > DISK_TICK {
            let left = bytes_below(self.folder).saturating_sub(self.given_bytes);
            self.measured = Instant::now();
            if left > MAX_FOLDER_BYTES {
                let most = MAX_FOLDER_BYTES >> 30;
                let message = format!("the program wrote more than {most} GiB into its folder");
                return Err(self.failed(FailureKind::UserError, &message));
            }
        }
        Ok(())
    }

    fn judge(&self, status: io::Result<ExitStatus>, killed_for_memory: bool) -> Result<Ran> {
        use std::os::unix::process::ExitStatusExt;
        const KILL: i32 = 9;
        let status =
            status.map_err(|error| self.failed(FailureKind::Killed, &format!("the program was lost: {error}")))?;
        match (status.signal(), status.code()) {
            (None, Some(0)) => Ok(Ran {
                iteration: self.iteration,
                time: self.started.elapsed(),
                peak_memory_bytes: self.peak_memory_bytes,
            }),
            (Some(KILL), _) if killed_for_memory => {
                let message = "the program was killed by the kernel, which was out of memory";
                Err(self.failed(FailureKind::OutOfMemory, message))
            }
            (Some(signal), _) => {
                Err(self.failed(FailureKind::UserError, &format!("the program was killed by signal {signal}")))
            }
            (None, code) => {
                let code = code.unwrap_or(-1);
                Err(self.failed(FailureKind::UserError, &format!("the program ended with code {code}")))
            }
        }
    }

    /// A failure, with what the program printed last.
    fn failed(&self, kind: FailureKind, message: &str) -> Error {
        failed(kind, format!("{message}{}", self.tail.last_words()))
    }
}
