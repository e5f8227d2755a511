//! The services: decode, call, encode. They decide nothing.

pub(crate) mod blobs;
pub(crate) mod encode;
pub(crate) mod fleet;
pub(crate) mod logs;
pub(crate) mod reports;
mod sent_files;
mod streams;
pub(crate) mod submission;
mod submit;
mod thinning;
