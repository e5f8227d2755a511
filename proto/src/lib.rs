//! The wire contract between users, coordinator and workers: generated messages and services.
//!
//! Nothing here decides anything. Workers call the coordinator and need no open port themselves.

pub mod content;
pub mod convert;
pub mod fail_point;
pub mod file_hashes;
pub mod frames;
pub mod link;
pub mod mirror;
pub mod records;
pub mod room;

/// Messages and services of `orchestrator.v1`.
#[allow(missing_debug_implementations, unreachable_pub, clippy::pedantic, clippy::all)]
pub mod v1 {
    tonic::include_proto!("orchestrator.v1");
}

/// Rises when coordinator and worker of the older number could misunderstand each other; checked on
/// registering. 0 is never used: it means that the field was not set.
pub const PROTOCOL_VERSION: u32 = 2;

/// Largest message that either side takes, in bytes. Reports and chunks are cut far below it.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Largest part of a blob that travels in one message, in bytes: on a network that loses a third of its packets one still
/// arrives within the time after which either side takes the other for gone.
pub const CHUNK_BYTES: usize = 64 << 10;
