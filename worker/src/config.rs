//! Settings of a worker daemon. Who fills them (command line, files) is the binary's business.

use std::{path::PathBuf, time::Duration};

use orchestrator_proto::{mirror::Mirror, v1::Gpu};
use serde::{Deserialize, Serialize};

/// Settings of a worker daemon.
#[derive(Clone, Debug)]
pub struct Config {
    /// State folder of the worker: identity, outbox, folders of attempts. One daemon at a time.
    pub folder: PathBuf,
    /// Name for people, part of the identity that is made at the first start in `folder`; the host's
    /// name when absent. Later starts keep the identity that stands there.
    pub name: Option<String>,
    /// Processor cores that attempts may take together.
    pub cpus: u32,
    /// GPUs that attempts may be given; [`crate::usable_gpus`] finds them. None unless set.
    pub gpus: Vec<Gpu>,
    /// What this worker calls itself, for runs that ask for it.
    pub labels: Vec<String>,
    /// Folder of content by hash: a cache of its own, or the coordinator's when `shared_blobs`.
    pub blobs: PathBuf,
    /// Whether `blobs` is the coordinator's own folder: nothing need be fetched or uploaded then.
    pub shared_blobs: bool,
    /// Most bytes of contents that are kept while no attempt needs them; 0 = no limit. Not looked at when `shared_blobs`.
    pub cache_bytes: u64,
    /// Where contents are looked for before the coordinator is asked, and put for others. None when `shared_blobs`.
    pub mirror: Option<Mirror>,
    /// Folders with one folder a data set, for extractions.
    pub data_folders: Vec<PathBuf>,
    /// Executable that attempts are started from, with the one argument `attempt`.
    pub program: PathBuf,
    /// When attempts keep checkpoints.
    pub checkpoint_every: CheckpointPolicy,
    /// How often an attempt at work has its checkpoint sent to the coordinator, so that another worker can go on from it;
    /// zero: only when it is given back. Nothing is sent when `shared_blobs`.
    pub send_checkpoints: Duration,
    /// SIMD level to compute at; the best one when absent.
    pub simd: Option<String>,
    /// Most bytes that reports may take on disk while the coordinator is away; 0 = 256 MiB.
    pub outbox_bytes: u64,
    /// Nothing is taken while the disk of `folder` has fewer bytes free; 0 = it is not looked at.
    pub min_free_bytes: u64,
    /// Folders of steps that were not touched for so long are removed at the next start.
    pub keep_steps: Duration,
}

impl Config {
    /// Settings with the usual values for everything that has one.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, program: impl Into<PathBuf>, cpus: u32) -> Self {
        let folder = folder.into();
        Self {
            name: None,
            cpus,
            gpus: Vec::new(),
            labels: Vec::new(),
            blobs: folder.join("blobs"),
            shared_blobs: false,
            cache_bytes: 0,
            mirror: None,
            data_folders: Vec::new(),
            program: program.into(),
            checkpoint_every: CheckpointPolicy::default(),
            send_checkpoints: Duration::from_mins(1),
            simd: None,
            outbox_bytes: 0,
            min_free_bytes: 0,
            keep_steps: Duration::from_hours(14 * 24),
            folder,
        }
    }
}

/// When an attempt keeps a checkpoint: at whichever comes first. 0 = never for that reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointPolicy {
    /// Every so many iterations.
    pub iterations: u64,
    /// At the first iteration after so many seconds since the last one.
    pub seconds: u64,
}

impl Default for CheckpointPolicy {
    /// Every 100 iterations, and every minute when iterations are slow.
    fn default() -> Self {
        Self { iterations: 100, seconds: 60 }
    }
}
