//! An attempt must not outlive its daemon: two independent ties, either of which ends it at once.

use std::{
    io::{self, BufRead},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::process::{Signal, getpgrp, getpid, getppid, kill_process, kill_process_group};

use crate::command::Command;

/// Raised when the attempt is to keep a checkpoint and end.
pub(super) type StopFlag = Arc<AtomicBool>;

/// Has the kernel kill this process when the daemon's thread that started it ends.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn die_with_parent() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Reads on in a thread of its own: raises the flag when told to stop, and ends the process when the
/// other end of the pipe is gone.
///
/// # Errors
/// When the daemon has gone before the death signal was set, or there is no thread.
pub(super) fn watch(mut commands: impl BufRead + Send + 'static, daemon_process: i32) -> io::Result<StopFlag> {
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(daemon_process) {
        return Err(io::Error::other("the daemon is gone already"));
    }
    let stop = StopFlag::default();
    let flag = Arc::clone(&stop);
    thread::Builder::new().name("lifeline".into()).spawn(move || {
        while let Ok(Some(command)) = Command::read(&mut commands) {
            if matches!(command, Command::Stop) {
                flag.store(true, Ordering::Relaxed);
            }
        }
        end();
    })?;
    Ok(stop)
}

/// Ends this process at once, and what it has started, whatever its other threads are doing.
fn end() {
    let own = getpid();
    if getpgrp() == own {
        let _ = kill_process_group(own, Signal::KILL);
    }
    let _ = kill_process(own, Signal::KILL);
}
