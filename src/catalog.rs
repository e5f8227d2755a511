//! The catalog of this program: what the numeric crate's registries hold, as a plain value.

use experiment_spec::catalog::Catalog;
use retrieval::datasets::folders::DataFolders;

/// Everything that a submission may name here, with the data sets of these folders.
pub(crate) fn build(data: &DataFolders) -> Catalog {
    retrieval::catalog::catalog(data)
}

/// Version of this program, as it stands in records.
pub(crate) fn program_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
