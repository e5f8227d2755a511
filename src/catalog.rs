//! What this program is: the catalog of the numeric crate's registries, and the code it was built from.

use std::sync::LazyLock;

use experiment_spec::{
    catalog::{Catalog, DataSetEntry},
    code::{CodeVersion, Revision},
};
use orchestrator_coordinator::DataSetFiles;
use retrieval::datasets::folders::DataFolders;

/// Everything that a submission may name here, with the data sets of these folders.
pub(crate) fn build(data: &DataFolders) -> Catalog {
    Catalog { external: Some(orchestrator_worker::external_entry()), ..retrieval::catalog::catalog(data) }
}

/// The files of the data sets that this catalog has, for workers that lack them.
pub(crate) fn data_files(catalog: &Catalog, data: &DataFolders) -> Vec<DataSetFiles> {
    let files = |entry: &DataSetEntry| DataSetFiles {
        key: entry.key.clone(),
        version: entry.version.clone(),
        files: retrieval::datasets::files(&entry.key, data),
    };
    catalog.data_sets.iter().map(files).filter(|set| !set.files.is_empty()).collect()
}

/// Methods and encoders alone, whatever data sets there are.
pub(crate) fn registries() -> Catalog {
    build(&DataFolders::default())
}

/// Version of this program, as it stands in records.
pub(crate) fn program_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The code of this program, as `build.rs` found it.
pub(crate) fn code() -> CodeVersion {
    let hash = env!("ORCHESTRATOR_REVISION");
    let dirty = env!("ORCHESTRATOR_DIRTY") == "true";
    CodeVersion {
        version: program_version(),
        revision: (!hash.is_empty()).then(|| Revision { hash: hash.to_owned(), dirty }),
        compiler: env!("ORCHESTRATOR_COMPILER").to_owned(),
    }
}

/// [`code`] in words, for `--version`.
pub(crate) fn code_line() -> &'static str {
    static LINE: LazyLock<String> = LazyLock::new(|| code().to_string());
    &LINE
}
