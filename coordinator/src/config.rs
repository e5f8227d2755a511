//! What a coordinator is started with.

use std::{path::PathBuf, time::Duration};

use experiment_spec::catalog::Catalog;

use crate::{data_files::DataSetFiles, keep::KeepRules};

/// For how long a worker may keep its attempts without being heard of: thirty missed polls, so that a busy machine
/// or a short cut of the network loses nothing, and a lost node costs little more than its last checkpoint.
pub const LEASE: Duration = Duration::from_secs(15);
/// Pause between two polls of a worker: short beside any run, long beside the cost of a poll.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A client that takes nothing of what it asked for, or sends nothing of what it began, for so long has gone astray.
pub const STALL: Duration = Duration::from_secs(30);

/// How often uploads that broke off long ago are looked for: a look into two folders.
const TIDY: Duration = Duration::from_mins(10);

/// Settings of a coordinator.
#[derive(Clone, Debug)]
pub struct Config {
    /// State folder; made when it is not there.
    pub home: PathBuf,
    /// What submissions may name.
    pub catalog: Catalog,
    /// Data sets that workers get from here which lack them.
    pub data_sets: Vec<DataSetFiles>,
    /// Version of this program, for workers and users.
    pub program_version: String,
    /// For how long a worker may keep its attempts without being heard of; then it is taken for lost.
    pub lease: Duration,
    /// How often workers are told to poll.
    pub poll_interval: Duration,
    /// Nothing is given out while the disk of the state folder has fewer bytes free; 0 = it is not looked at.
    pub min_free_bytes: u64,
    /// Nothing is given out while the state folder holds more bytes; 0 = as many as there is room for.
    pub max_bytes: u64,
    /// How long what runs leave beside their scores stays.
    pub keep: KeepRules,
    /// A client that takes nothing of a stream for so long is cut off, and one that sends nothing of one is refused.
    pub stall: Duration,
    /// How often uploads that broke off long ago are looked for, and removed.
    pub tidy_every: Duration,
}

impl Config {
    /// The usual settings.
    #[must_use]
    pub fn new(home: impl Into<PathBuf>, catalog: Catalog, program_version: impl Into<String>) -> Self {
        Self {
            home: home.into(),
            catalog,
            data_sets: Vec::new(),
            program_version: program_version.into(),
            lease: LEASE,
            poll_interval: POLL_INTERVAL,
            min_free_bytes: 0,
            max_bytes: 0,
            keep: KeepRules::default(),
            stall: STALL,
            tidy_every: TIDY,
        }
    }

    /// Whether users may have programs of their own run on the workers: then the catalog has a line for them.
    #[must_use]
    pub fn commands_allowed(&self) -> bool {
        self.catalog.external.is_some()
    }
}
