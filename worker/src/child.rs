//! An attempt's own process: takes its orders from standard input, computes, speaks in frames on what
//! was its standard output.

mod compute;
mod external;
mod lifeline;
mod observer;
mod pipe;

use std::{
    fs::{self, File},
    io::{self, BufReader},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use experiment_spec::{
    code::CodeVersion,
    run::{FailureKind, StepSpec},
};
use orchestrator_proto::v1::{Artifact, Started, Succeeded, attempt_event::Event};
use retrieval::{
    checkpoint::{Checkpoint, remove_partial_files},
    error::Error,
    kind::{Backend, kind},
    nn::gemm,
};

pub use self::{
    compute::{Compute, Computed, Retrieval},
    external::{confined_main, external_entry},
};
use self::{observer::AttemptObserver, pipe::Pipe};
use crate::{
    command::{Command, GivenCheckpoint, Start},
    events, fail_point, identity,
    step_folder::CHECKPOINT,
};

/// How long the attempt before may take to leave the folder.
const FOLDER_WAIT: Duration = Duration::from_secs(10);

/// The hidden verb `attempt`: what the worker daemon starts for each attempt. Not for people.
/// `code` is the program that it stands in the record as.
#[must_use]
pub fn attempt_main(code: &CodeVersion) -> ExitCode {
    attempt_with(&compute::Retrieval, code)
}

/// As [`attempt_main`], with something else to compute: for tests.
#[must_use]
pub fn attempt_with(compute: &dyn Compute, code: &CodeVersion) -> ExitCode {
    match serve(compute, code) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn serve(compute: &dyn Compute, code: &CodeVersion) -> io::Result<()> {
    lifeline::die_with_parent()?;
    let mut commands = BufReader::new(io::stdin());
    let Some(Command::Start(start)) = Command::read(&mut commands)? else {
        return Err(io::Error::other("`attempt` is started by a worker daemon, which says what to do"));
    };
    let stop = lifeline::watch(commands, start.daemon_process)?;
    let pipe = Pipe::from_stdout()?;
    let last_word = match prepare(&start) {
        Ok(_lock) => {
            // A panic is told as it is; the hook has printed where it was.
            catch_unwind(AssertUnwindSafe(|| work(compute, code, &start, &pipe, stop))).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                events::failed(FailureKind::Killed, format!("the attempt panicked: {text}"))
            })
        }
        Err(last_word) => last_word,
    };
    fail_point::passes("score-before-report");
    pipe.say(last_word)
}

/// Settles the arithmetic and takes the folder: no two attempts of a step work in it.
fn prepare(start: &Start) -> Result<File, Event> {
    gemm::set_threads(start.threads);
    if let Some(name) = &start.simd {
        identity::force_simd(name).map_err(|why| events::failed(FailureKind::UserError, why))?;
    }
    let path = start.folder.join("lock");
    let refused = |error: io::Error| events::failed(FailureKind::Killed, format!("{}: {error}", path.display()));
    let lock = File::options().write(true).create(true).truncate(false).open(&path).map_err(refused)?;
    let patience = Instant::now() + FOLDER_WAIT;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(refused(io::Error::other("an earlier attempt of the step is still at work here")));
            }
            Err(fs::TryLockError::Error(error)) => return Err(refused(error)),
        }
    }
}

/// Everything between the first word and the last.
fn work(compute: &dyn Compute, code: &CodeVersion, start: &Start, pipe: &Pipe, stop: lifeline::StopFlag) -> Event {
    let path = start.folder.join(CHECKPOINT);
    let stage = match start.spec {
        StepSpec::Extraction(_) => "extract",
        StepSpec::Run(_) => "train",
    };
    let backend = match take_device(compute, start) {
        Ok(backend) => backend,
        Err(error) => return failure(&error),
    };
    let kind = kind(backend);
    let mut observer = AttemptObserver::new(pipe, stage, path.clone(), kind.clone(), start.checkpoint_every, stop);
    let (resume, of_attempt) = match take_up(&path, start.checkpoint.as_ref(), &mut observer) {
        Ok(taken_up) => taken_up,
        Err(error) => return failure(&error),
    };
    let from_iteration = resume.as_ref().map_or(0, |checkpoint| checkpoint.iteration);
    let code = Some(code.clone().into());
    let started = Started { from_iteration, kind: kind.clone(), process_id: std::process::id(), code, of_attempt };
    if let Err(error) = pipe.say(Event::Started(started)) {
        return failure(&Error::file("the pipe to the daemon")(error));
    }
    observer.goes_on(resume.as_ref());
    if start.gpu.is_some() && backend == Backend::Cpu {
        observer.say_log("given a GPU that this step has no use for: computed on the processor");
    }
    fail_point::passes("attempt-started");
    let began = Instant::now();
    let computed = compute.compute(start, kind, resume, &mut observer);
    observer.flush();
    match computed {
        Ok(computed) => Event::Succeeded(Succeeded {
            scores_json: computed.scores_json,
            artifacts: computed.artifacts.into_iter().map(|name| Artifact { name, ..Artifact::default() }).collect(),
            seconds: began.elapsed().as_secs_f64(),
        }),
        Err(Error::Stopped(_)) => events::released(observer.checkpoint_iteration(), "the worker is shut down"),
        Err(error) => failure(&error),
    }
}

/// Takes the GPU that the attempt was given, if its step can use one. Returns what the attempt computes on.
fn take_device<'a>(compute: &dyn Compute, start: &'a Start) -> Result<Backend<'a>, Error> {
    match &start.gpu {
        Some(gpu) if compute.runs_on_gpu(start) => {
            compute.choose_gpu()?;
            Ok(Backend::Cuda(&gpu.model))
        }
        _ if matches!(&start.spec, StepSpec::Run(run) if run.program.is_some()) => Ok(Backend::Program),
        _ => Ok(Backend::Cpu),
    }
}

fn failure(error: &Error) -> Event {
    events::failed(error.failure_kind(), error.to_string())
}

/// The checkpoint to go on from, without what its worker had added to it, and which attempt elsewhere made it, if one did: the given
/// one, else the one that an earlier attempt left here. A damaged one here is set aside, one of another kind left to be
/// replaced: the attempt begins at 0. What an earlier attempt was killed over while it wrote is removed.
fn take_up(
    path: &Path,
    given: Option<&GivenCheckpoint>,
    observer: &mut AttemptObserver<'_>,
) -> Result<(Option<Checkpoint>, u32), Error> {
    path.parent().map_or(Ok(()), remove_partial_files)?;
    if let Some(GivenCheckpoint { path, made_by, attempt }) = given {
        match Checkpoint::load(path) {
            Ok(Some(checkpoint)) if observer.may_go_on_from(&checkpoint) => {
                return Ok((observer.unpack(checkpoint), *attempt));
            }
            Ok(_) => {}
            Err(error) => observer.say_log(&format!("the checkpoint by worker {made_by} cannot be used: {error}")),
        }
    }
    match Checkpoint::load(path) {
        Ok(checkpoint) => Ok((checkpoint.and_then(|checkpoint| observer.unpack(checkpoint)), 0)),
        Err(Error::Data(why)) => {
            let aside = path.with_extension("damaged");
            fs::rename(path, &aside).map_err(Error::file(path))?;
            observer.say_log(&format!("{why}; set aside as {}, beginning again", aside.display()));
            Ok((None, 0))
        }
        Err(error) => Err(error),
    }
}
