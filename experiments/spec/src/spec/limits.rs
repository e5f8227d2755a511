//! Every limit and default of a submission, in one place; `experiments/README.md` repeats them for users.

/// Longest text that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of lists and mappings.
pub const MAX_DEPTH: usize = 16;
/// Most values (scalars, lists, mappings).
pub const MAX_NODES: usize = 100_000;
/// Most problems that are listed of one file.
pub const MAX_PROBLEMS: usize = 100;
/// Longest name of a submission, in characters like all lengths below.
pub const MAX_NAME: usize = 100;
/// Longest label.
pub const MAX_LABEL: usize = 100;
/// Longest title of a table.
pub const MAX_TITLE: usize = 200;
/// Longest label that a grid may make, to be named by a table or an override.
pub const MAX_GRID_LABEL: usize = 2000;
/// Most data sets of a submission.
pub const MAX_DATA_SETS: usize = 100;
/// Most seeds of a submission.
pub const MAX_SEEDS: u32 = 1000;
/// Largest seed: the largest whole number that every reader of JSON keeps exactly.
pub const MAX_SEED: u64 = (1 << 53) - 1;
/// Most entries of `methods`.
pub const MAX_METHODS: usize = 1000;
/// Most values a grid may list for one parameter.
pub const MAX_GRID_VALUES: usize = 100;
/// Most entries of `overrides`.
pub const MAX_OVERRIDES: usize = 100;
/// Most cells (data sets times rows) of a submission: each holds a full set of parameters.
pub const MAX_CELLS: usize = 10_000;
/// Most runs (cells times seeds) of a submission.
pub const MAX_RUNS: usize = 100_000;
/// Most tables of a submission.
pub const MAX_TABLES: usize = 100;
/// Most rows that one table may name.
pub const MAX_TABLE_ROWS: usize = 10_000;
/// Most digits of a mean.
pub const MAX_DIGITS: u8 = 6;
/// Most cores a run may ask for.
pub const MAX_CPUS: u32 = 1024;
/// Most GPUs a run may ask for.
pub const MAX_GPUS: f64 = 16.0;
/// Longest time limit, in seconds: 30 days.
pub const MAX_TIME_LIMIT_S: u64 = 30 * 86_400;
/// Most labels that a step asks for, and that a worker has.
pub const MAX_LABELS: usize = 32;
/// Longest label, in characters.
pub const MAX_LABEL_CHARS: usize = 40;
/// Most memory, in bytes: 64 TiB.
pub const MAX_MEMORY_BYTES: u64 = 64 << 40;
/// Least memory that makes sense, in bytes: 1 MiB. Below it stands a forgotten unit.
pub const MIN_MEMORY_BYTES: u64 = 1 << 20;
/// Most further attempts.
pub const MAX_RETRIES: u32 = 100;

/// Most passes of an encoder over the training pairs.
pub const MAX_ENCODER_EPOCHS: u32 = 10_000;
/// Seed of the encoders when nothing is said.
pub const DEFAULT_ENCODER_SEED: u64 = 1;
/// Further attempts when nothing is said.
pub const DEFAULT_RETRIES: u32 = 3;
/// Digits after the point when nothing is said: as the paper prints.
pub const DEFAULT_DIGITS: u8 = 3;
