//! A submission: what a user's YAML file says, read and checked against the catalog. Entry point: [`parse`].
//! `experiments/README.md` documents every key. Deliberately absent: file access, and any default that
//! depends on the machine.

mod data_set_list;
mod external;
pub mod keys;
pub mod limits;
mod lines;
mod node;
mod overrides;
mod parameters;
mod parse;
mod problem;
mod read;
mod resources;
mod rows;
mod submission;
mod table_list;
mod tables;

pub use parse::{parse, parse_with};
pub use problem::Problem;
pub use resources::{LABEL, is_label, memory_bytes};
pub use submission::{DataSetChoice, MethodRow, Submission};
pub use tables::{Spread, TableKind, TableSpec};
