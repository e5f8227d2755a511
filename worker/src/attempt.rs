//! One attempt, watched from its assignment to its last word in the outbox: one thread and one child
//! process each.

mod artifacts;
mod data;
mod keeper;
mod prepare;

use std::{
    io,
    path::Path,
    process::ExitStatus,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use experiment_spec::{ids::AttemptKey, run::FailureKind};
use orchestrator_proto::v1::{Assignment, attempt_event::Event};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use self::keeper::Keeper;
use crate::{
    cache::room::Hold,
    checkpoints::{self, Stand},
    command::{Command, GivenGpu},
    ending::{self, Tail},
    events,
    process::{Heard, Process},
    shared::Shared,
    step_folder,
};

/// Between asking a process to end and killing it.
const GRACE: Duration = Duration::from_secs(2);
/// For a checkpoint when the worker is shut down.
const RELEASE_GRACE: Duration = Duration::from_secs(5);
/// For the process to end by itself after its last word, and for its pipes to run dry after its end.
const FAREWELL: Duration = Duration::from_secs(3);
/// For an attempt to end a program of the user's own, with all that it started, before its own process is ended.
const PROGRAM_GRACE: Duration = Duration::from_secs(10);
/// Messages that may wait between the pipes and the watching thread; then the attempt waits.
const MESSAGES_WAITING: usize = 256;
/// How often the clock is looked at while nothing is heard.
const TICK: Duration = Duration::from_millis(200);

/// Why an attempt is to end. A later reason replaces an earlier one only if it is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// The worker was not heard of for as long as its lease lasts: keep a checkpoint, give the step back.
    LeaseOver,
    /// The worker is shut down: keep a checkpoint, give the step back.
    Release,
    /// The coordinator does not want it any more: nothing is reported.
    Cancel,
    /// The daemon is going away at once: nothing is reported, a restart finds what is there.
    Abandon,
}

/// The daemon's end of an attempt. Dropped, it abandons the attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    stop: Arc<Mutex<Option<Stop>>>,
    wake: SyncSender<Heard>,
    fetching: CancellationToken,
}

impl Attempt {
    /// Starts to watch over an attempt in a thread of its own; its end is told on `shared.ended`.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(crate) fn start(shared: Arc<Shared>, assignment: Assignment, gpu: Option<GivenGpu>) -> io::Result<Self> {
        let key = AttemptKey::from(&assignment);
        let (wake, heard) = sync_channel(MESSAGES_WAITING);
        let attempt = Self { stop: Arc::default(), wake: wake.clone(), fetching: CancellationToken::new() };
        let (stop, fetching) = (Arc::clone(&attempt.stop), attempt.fetching.clone());
        thread::Builder::new().name(format!("attempt-{}.{}", key.step, key.attempt)).spawn(move || {
            let mut watch = Watch {
                shared: &shared,
                key,
                assignment,
                gpu,
                runs_program: false,
                stop,
                heard,
                tell: wake,
                checkpoint_iteration: 0,
                tail: Tail::default(),
                keeper: Keeper::new(&shared.outbox, key),
                hold: shared.cache.room.hold(),
            };
            if let Some(last_word) = watch.run(&fetching) {
                watch.keep_last_word(&last_word);
            } else {
                drop(watch);
                shared.folders.leave(key);
            }
            shared.cache.room.tidy(0);
            shared.ended(key);
        })?;
        Ok(attempt)
    }

    /// Asks the attempt to end.
    pub(crate) fn stop(&self, reason: Stop) {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        *stop = (*stop).max(Some(reason));
        drop(stop);
        self.fetching.cancel();
        // When the queue is full the thread is awake.
        let _ = self.wake.try_send(Heard::Wake);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.stop(Stop::Abandon);
    }
}

struct Watch<'a> {
    shared: &'a Shared,
    key: AttemptKey,
    assignment: Assignment,
    gpu: Option<GivenGpu>,
    /// Whether the attempt runs a program of the user's own: it alone knows all that this has started.
    runs_program: bool,
    stop: Arc<Mutex<Option<Stop>>>,
    heard: Receiver<Heard>,
    tell: SyncSender<Heard>,
    checkpoint_iteration: u64,
    tail: Tail,
    keeper: Keeper<'a>,
    /// Contents that the attempt works with.
    hold: Hold<'a>,
}

/// What is known of a process while it is watched.
struct Course {
    process: Process,
    started: Instant,
    last_word: Option<Event>,
    exit: Option<io::Result<ExitStatus>>,
    closed: bool,
    /// Whether everything that it printed has been read.
    dry: bool,
    /// The strongest wish that was passed on to the process.
    told: Option<Stop>,
    timed_out: bool,
    kill_at: Option<Instant>,
}

impl Course {
    fn kill_in(&mut self, grace: Duration) {
        let at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Watch<'_> {
    /// Everything up to the attempt's last word; `None` when there is nobody to tell it.
    fn run(&mut self, fetching: &CancellationToken) -> Option<Event> {
        let (start, folder) = match self.prepare(fetching) {
            Ok(prepared) => prepared,
            Err(last_word) => return self.unless_stopped(last_word),
        };
        let killed_for_memory = crate::process::killed_for_memory();
        let started = Process::start(&self.shared.config.program, &start, &self.tell).and_then(|mut process| {
            process.say(&Command::Start(Box::new(start)))?;
            Ok(process)
        });
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                let program = self.shared.config.program.display();
                let message = format!("the attempt's process could not be started from {program}: {error}");
                return self.unless_stopped(events::failed(FailureKind::Killed, message));
            }
        };
        let known =
            self.assignment.checkpoint.as_ref().map(|it| Stand { kind: it.kind.clone(), iteration: it.iteration });
        self.shared.checkpoints.follow(self.key, folder.join(step_folder::CHECKPOINT), known);
        let course = self.follow(process);
        let out_of_memory = match (killed_for_memory, crate::process::killed_for_memory()) {
            (Some(before), Some(after)) => after > before,
            _ => false,
        };
        match self.conclude(course, &folder, out_of_memory) {
            Some(released @ Event::Released(_)) => self.hand_over(released),
            last_word => {
                self.shared.checkpoints.leave(self.key);
                last_word
            }
        }
    }

    /// Has the coordinator take the last checkpoint before it is told that the step is given back: the lease is kept so
    /// long, and the next attempt goes on from there.
    fn hand_over(&mut self, released: Event) -> Option<Event> {
        let sent = checkpoints::hand_over(self.shared, self.key, || self.wanted_stop());
        if let Some(sent) = self.shared.runtime.block_on(sent) {
            self.keeper.keep(sent);
        }
        (self.wanted_stop() < Some(Stop::Cancel)).then_some(released)
    }

    fn keep_last_word(self, last_word: &Event) {
        let Self { stop, keeper, .. } = self;
        keeper.keep_last_word(last_word, || *stop.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn wanted_stop(&self) -> Option<Stop> {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unless_stopped(&self, last_word: Event) -> Option<Event> {
        match self.wanted_stop() {
            None => Some(last_word),
            Some(stop @ (Stop::LeaseOver | Stop::Release)) => Some(self.released(stop)),
            Some(Stop::Cancel | Stop::Abandon) => None,
        }
    }

    /// Gives the step back, with where another attempt can go on from.
    fn released(&self, stop: Stop) -> Event {
        let reason = match stop {
            Stop::LeaseOver => "its lease ran out: the coordinator did not answer",
            Stop::Release | Stop::Cancel | Stop::Abandon => "the worker is shut down",
        };
        events::released(self.checkpoint_iteration, reason)
    }

    /// Listens to the process until it has ended and its pipe is dry.
    fn follow(&mut self, process: Process) -> Course {
        let mut course = Course {
            process,
            started: Instant::now(),
            last_word: None,
            exit: None,
            closed: false,
            dry: false,
            told: None,
            timed_out: false,
            kill_at: None,
        };
        let mut dry_by = None;
        while course.exit.is_none() || !course.closed || !course.dry {
            self.look_at_clock(&mut course);
            self.keeper.try_again();
            if dry_by.is_some_and(|dry_by| Instant::now() > dry_by) {
                break;
            }
            match self.heard.recv_timeout(TICK) {
                Ok(Heard::Event(event)) => {
                    if let Some(event) = event.event {
                        self.take(event, &mut course);
                    }
                }
                Ok(Heard::Line(line)) => {
                    self.tail.push(&line);
                    self.keeper.keep(events::log(events::STDERR, &line));
                }
                Ok(Heard::Dry) => course.dry = true,
                Ok(Heard::Closed(why)) => {
                    course.closed = true;
                    if let Some(why) = why {
                        self.keeper
                            .keep(events::log(events::WORKER, &format!("the attempt's messages broke off: {why}")));
                        course.process.signal(Signal::KILL);
                    }
                    course.kill_in(FAREWELL);
                }
                Ok(Heard::Exited(status)) => {
                    course.exit = Some(status);
                    dry_by = Some(Instant::now() + FAREWELL);
                }
                Ok(Heard::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the watching thread holds a sender itself"),
            }
        }
        // Lines that were read before the end may still be in the queue.
        while let Ok(heard) = self.heard.try_recv() {
            if let Heard::Line(line) = heard {
                self.tail.push(&line);
                self.keeper.keep(events::log(events::STDERR, &line));
            }
        }
        course
    }

    /// Passes on what is wanted of the process, and ends it when its time is over.
    fn look_at_clock(&mut self, course: &mut Course) {
        if self.shared.lease.is_over(Instant::now()) {
            let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
            *stop = (*stop).max(Some(Stop::LeaseOver));
        }
        let wanted = self.wanted_stop();
        if wanted > course.told {
            course.told = wanted;
            match wanted {
                Some(Stop::LeaseOver) => {
                    tracing::warn!(attempt = %self.key, "the lease is over, the attempt is given back");
                    let _ = course.process.say(&Command::Stop);
                    course.kill_in(self.shared.lease.grace());
                }
                Some(Stop::Release) => {
                    // A process that does not listen any more is killed at the end of its grace.
                    let _ = course.process.say(&Command::Stop);
                    course.kill_in(RELEASE_GRACE);
                }
                Some(Stop::Cancel) => {
                    if self.runs_program {
                        let _ = course.process.say(&Command::Stop);
                    } else {
                        course.process.signal(Signal::TERM);
                    }
                    course.kill_in(GRACE);
                }
                Some(Stop::Abandon) => course.process.signal(Signal::KILL),
                None => {}
            }
        }
        let limit = self.assignment.time_limit_s;
        let grace = if self.runs_program { PROGRAM_GRACE } else { Duration::ZERO };
        let over = limit > 0 && course.started.elapsed() > Duration::from_secs(limit) + grace;
        if over && !course.timed_out && course.last_word.is_none() {
            course.timed_out = true;
            course.process.signal(Signal::TERM);
            course.kill_in(GRACE);
        }
        if course.kill_at.is_some_and(|at| Instant::now() > at) {
            course.kill_at = None;
            course.process.signal(Signal::KILL);
        }
    }

    /// Keeps what the process says; its last word is kept back until its artifacts are safe.
    fn take(&mut self, event: Event, course: &mut Course) {
        match event {
            _ if course.last_word.is_some() => {}
            event if events::is_terminal(&event) => {
                course.last_word = Some(event);
                course.kill_in(FAREWELL);
            }
            Event::Progress(progress) => self.shared.outbox.note_progress(self.key, progress),
            Event::CheckpointSaved(ref saved) => {
                self.checkpoint_iteration = saved.iteration;
                self.keeper.keep(event);
                self.shared.checkpoints.made(self.key);
            }
            Event::Started(ref started) => {
                self.checkpoint_iteration = started.from_iteration;
                self.keeper.keep(event);
                self.shared.report_soon();
            }
            event => self.keeper.keep(event),
        }
    }

    fn conclude(&mut self, course: Course, folder: &Path, out_of_memory: bool) -> Option<Event> {
        let stop = self.wanted_stop();
        if stop >= Some(Stop::Cancel) {
            return None;
        }
        match course.last_word {
            Some(Event::Succeeded(succeeded)) => Some(self.keep_artifacts(succeeded, folder)),
            // The process knows that it was asked to end, not why.
            Some(Event::Released(released)) if let Some(stop) = stop => {
                self.checkpoint_iteration = released.iteration;
                Some(self.released(stop))
            }
            Some(last_word) => Some(last_word),
            None if course.timed_out => {
                let limit = self.assignment.time_limit_s;
                Some(events::failed(FailureKind::Timeout, format!("did not end within its limit of {limit} s")))
            }
            None if let Some(stop) = stop => Some(self.released(stop)),
            None => {
                let exit = course.exit.unwrap_or_else(|| Err(io::Error::other("its end was not seen")));
                Some(ending::of_process(&exit, out_of_memory, &self.tail))
            }
        }
    }
}
