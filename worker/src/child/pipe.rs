//! The attempt's end of the pipe to its daemon.

use std::{fs::File, io, os::fd::AsFd, sync::Mutex};

use orchestrator_proto::{
    frames,
    v1::{AttemptEvent, attempt_event::Event},
};

/// First number for the pipe's new descriptor: above the three standard ones.
const ABOVE_STANDARD: i32 = 3;

/// Frames go here; one at a time, whole.
#[derive(Debug)]
pub(super) struct Pipe(Mutex<File>);

impl Pipe {
    /// Takes over standard output: what a library prints there later goes to standard error, not
    /// between the frames.
    ///
    /// # Errors
    /// When the descriptors cannot be moved.
    pub(super) fn from_stdout() -> io::Result<Self> {
        let pipe = rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), ABOVE_STANDARD)?;
        rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
        Ok(Self(Mutex::new(File::from(pipe))))
    }

    /// Says something to the daemon; waits when it is slow to read.
    ///
    /// # Errors
    /// When the daemon is gone; the lifeline ends the process then.
    pub(super) fn say(&self, event: Event) -> io::Result<()> {
        let mut pipe = self.0.lock().map_err(|_| io::Error::other("a writer of the pipe has panicked"))?;
        frames::write_frame(&mut *pipe, &AttemptEvent { event: Some(event) })
    }
}
