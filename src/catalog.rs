//! The catalog of this program: what the numeric crate's registries hold, as a plain value.

use experiment_spec::catalog::Catalog;

use crate::exit::{Failure, Outcome};

/// Everything that a submission may name here.
pub(crate) fn build() -> Outcome<Catalog> {
    retrieval::catalog().map_err(|error| Failure::request(format!("the embedded data cannot be read: {error}")))
}

/// Version of this program, as it stands in records.
pub(crate) fn program_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
