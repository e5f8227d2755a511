//! The worker daemon, and the process it starts for each attempt.
//!
//! [`run`] registers with the coordinator and polls: reports out, assignments in. Each attempt is a child
//! process ([`attempt_main`]) that speaks in frames on a pipe, leaves a checkpoint in its step's folder
//! and cannot outlive its daemon. What happened is kept in an outbox on disk until the coordinator has
//! acknowledged it.
//!
//! Deliberately absent: any decision about what runs where (the coordinator's), any tensor (retrieval's).

mod attempt;
mod backoff;
mod budget;
mod cache;
mod checkpoints;
mod child;
mod command;
mod config;
mod daemon;
mod devices;
mod ending;
mod error;
mod events;
mod identity;
mod lease;
mod outbox;
mod poll;
mod process;
mod shared;
mod slots;
mod step_folder;

pub use child::{Compute, Computed, Retrieval, attempt_main, attempt_with, confined_main, external_entry};
pub use command::{GivenCheckpoint, GivenGpu, Start};
pub use config::{CheckpointPolicy, Config};
pub use daemon::{Links, run};
pub use devices::{found_gpus, usable_gpus};
pub use error::WorkerError;

use orchestrator_proto::fail_point;
