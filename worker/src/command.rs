//! What a daemon says to the process of an attempt: one JSON object a line on its standard input, which
//! stays open as long as the daemon lives.

use std::{
    io::{self, BufRead, Read, Write},
    path::PathBuf,
};

use experiment_spec::{ids::ContentHash, run::StepSpec};
use serde::{Deserialize, Serialize};

use crate::config::CheckpointPolicy;

/// Longest line in bytes. It fits into the buffer of a pipe, so writing it never waits for the reader.
pub(crate) const LINE_LIMIT_BYTES: usize = 60 << 10;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Command {
    /// The first line: what to do.
    Start(Box<Start>),
    /// Keep a checkpoint and end: the worker is shut down.
    Stop,
}

/// What an attempt is to compute, and with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Start {
    /// The step.
    pub spec: StepSpec,
    /// Its fingerprint.
    pub fingerprint: ContentHash,
    /// Folder of the step: its checkpoint is here, its artifacts are left here.
    pub folder: PathBuf,
    /// Verified files of the features the step reads, by name.
    pub features: Vec<(String, PathBuf)>,
    /// Verified files of the program that stands for the method, by name; none where it is no program.
    pub program_files: Vec<(String, PathBuf)>,
    /// Time limit in seconds and memory in bytes, which a program is held to; 0 = not stated.
    pub time_limit_s: u64,
    pub memory_bytes: u64,
    /// Folders with one folder a data set.
    pub data_folders: Vec<PathBuf>,
    /// Threads it may use.
    pub threads: usize,
    /// Forced SIMD level.
    pub simd: Option<String>,
    /// GPU it may use; it is shown no other.
    pub gpu: Option<GivenGpu>,
    /// A checkpoint that the coordinator had, newer than the one in the folder or of another kind.
    pub checkpoint: Option<GivenCheckpoint>,
    /// When to keep checkpoints.
    pub checkpoint_every: CheckpointPolicy,
    /// Process id of the daemon.
    pub daemon_process: i32,
}

/// A checkpoint that another worker made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GivenCheckpoint {
    /// Its file, which stays as it is.
    pub path: PathBuf,
    /// Name of that worker.
    pub made_by: String,
    /// Number of the attempt that made it.
    pub attempt: u32,
}

/// A GPU of this machine, given to an attempt whole or in part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GivenGpu {
    /// Its number, as `nvidia-smi` counts.
    pub index: u32,
    /// Its model, as it stands in the kind of what is computed on it.
    pub model: String,
}

impl Command {
    /// Writes the line and flushes it.
    ///
    /// # Errors
    /// `InvalidInput` when it is longer than [`LINE_LIMIT_BYTES`], and those of the writer.
    pub(crate) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        if line.len() > LINE_LIMIT_BYTES {
            let why = format!("a specification of {} bytes, at most {LINE_LIMIT_BYTES} allowed", line.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        writer.write_all(&line)?;
        writer.flush()
    }

    /// Reads the next line; `None` when the daemon is gone.
    ///
    /// # Errors
    /// `InvalidData` when the line is too long or no command.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = Vec::new();
        let read = reader.by_ref().take(LINE_LIMIT_BYTES as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }
}
