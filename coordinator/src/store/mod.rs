//! The only place with SQL. One writing connection, owned by the owner task; a pool that reads.

pub(crate) mod assignments;
pub(crate) mod attempts;
pub(crate) mod batch;
pub(crate) mod checkpoints;
pub(crate) mod copy;
pub(crate) mod database;
pub(crate) mod error;
pub(crate) mod estimates;
pub(crate) mod kept;
pub(crate) mod listing;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod queueing;
pub(crate) mod records;
mod rows;
pub(crate) mod scores;
mod sentences;
pub(crate) mod snapshot;
pub(crate) mod steps;
pub(crate) mod submissions;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod thinning;
pub(crate) mod transitions;
pub(crate) mod workers;
