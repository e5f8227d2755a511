//! The coordinator: takes submissions, keeps them in a database, gives their steps to workers that ask, and
//! keeps what they yield. Entry point: [`Coordinator::open`].
//!
//! Deliberately absent: tensors, HTML, command lines, and calls to workers (workers call us). Only
//! `store` has SQL, only `scheduler` decides, only the owner task in `service` changes anything.

mod clock;
mod config;
mod contents;
mod coordinator;
mod data_files;
mod error;
mod file_system;
mod grpc;
mod housekeeping;
mod keep;
mod liveness;
mod lock;
mod scheduler;
mod service;
mod store;
mod telemetry;
mod upkeep;

pub use config::{Config, LEASE, POLL_INTERVAL, STALL};
pub use coordinator::{Coordinator, Metrics, serve};
pub use data_files::DataSetFiles;
pub use error::OpenError;
pub use keep::{Keep, KeepRules, NoKeepRule};
pub use upkeep::{Copied, CopyError, Removed, backup, gc, gc_mirror, restore, verify};
