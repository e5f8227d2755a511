//! The vocabulary of the project: submissions, plans, steps, scores, tables. No input or output, no
//! tensors: everything here is a plain value or a pure function, so every other crate may import it.
//!
//! Entry points: `spec` reads a submission, `plan` expands it against a [`catalog::Catalog`],
//! `table` turns records of scores into the paper's tables.

pub mod artifacts;
pub mod catalog;
pub mod code;
pub mod ids;
pub mod plan;
pub mod program;
pub mod published;
pub mod run;
pub mod scores;
pub mod spec;
pub mod table;
