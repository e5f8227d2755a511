//! Every key of a submission besides the parameters of the methods: the one list that the parser and
//! the test of `experiments/README.md` share.

/// Keys of the file itself.
pub const SUBMISSION: &[&str] = &[
    "name",
    "datasets",
    "encoder",
    "encoder-seed",
    "encoder-seeds",
    "encoder-epochs",
    "seeds",
    "methods",
    "defaults",
    "overrides",
    "resources",
    "retries",
    "tables",
];
/// Keys of an entry of `datasets`.
pub const DATA_SET: &[&str] = &["dataset", "split", "if-present"];
/// Keys of an entry of `methods` besides parameters.
pub const METHOD: &[&str] = &["method", "label", "preset"];
/// Keys of an entry of `methods` that names a program of the user's own.
pub const PROGRAM: &[&str] = &["command", "files", "label"];
/// Keys of an entry of `overrides` that choose what it holds for.
pub const OVERRIDE: &[&str] = &["dataset", "method", "label"];
/// Keys of `resources`.
pub const RESOURCES: &[&str] = &["gpus", "cpus", "memory", "time-limit", "device", "labels"];
/// Keys of an entry of `tables`.
pub const TABLE: &[&str] = &["kind", "title", "rows", "normalisation", "digits", "spread"];
