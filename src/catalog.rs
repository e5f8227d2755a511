//! The catalog of this program: what the numeric crate's registries hold, as a plain value.

use experiment_spec::catalog::Catalog;

/// Everything that a submission may name here.
pub(crate) fn build() -> Catalog {
    retrieval::catalog::catalog()
}

/// Version of this program, as it stands in records.
pub(crate) fn program_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
