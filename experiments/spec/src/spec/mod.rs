//! A submission: what a user's YAML file says, read and checked against the catalog.

mod tables;

pub use tables::{TableKind, TableSpec};
