//! The command line as types: every verb, its arguments and an example.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A distributed experiment orchestrator for cross-modal retrieval research.
#[derive(Debug, Parser)]
#[command(name = "orchestrator", version = crate::catalog::code_line(), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every verb.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// State folder [default: the platform's data folder]
    #[arg(long, global = true, env = "ORCHESTRATOR_HOME", value_name = "FOLDER")]
    pub(crate) home: Option<PathBuf>,
    /// Folders with one folder a data set, separated by `:` [`data` in the state folder is looked in after them]
    #[arg(long, global = true, env = "ORCHESTRATOR_DATA", value_delimiter = ':', value_name = "FOLDERS")]
    pub(crate) data_folders: Vec<PathBuf>,
    /// Address of the coordinator [default: the one at work on the state folder]
    #[arg(long, global = true, env = "ORCHESTRATOR_COORDINATOR", value_name = "URL")]
    pub(crate) coordinator: Option<String>,
    /// Print JSON: one object, or one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Do everything on this machine: coordinator and worker in place, live progress, then the tables
    #[command(
        after_help = "Example: orchestrator run experiments/quickstart.yaml\n\nInterrupted and started again, it goes on where it was."
    )]
    Run(RunArgs),
    /// Be the coordinator: gRPC and dashboard on one address, state in the state folder
    #[command(after_help = "Example: orchestrator serve --listen 127.0.0.1:7117")]
    Serve(ServeArgs),
    /// Be a worker: join a coordinator, work, stop cleanly on the first SIGTERM or Ctrl-C
    #[command(after_help = "Example: orchestrator worker --coordinator http://127.0.0.1:7117 --cpus 8")]
    Worker(WorkerArgs),
    /// The fleet: devices, use, memory, what runs where
    #[command(after_help = "Example: orchestrator workers")]
    Workers,
    /// Take a worker out of use: it gets nothing new and ends what it has
    #[command(after_help = "Example: orchestrator drain node-7\n         orchestrator drain node-7 --undo")]
    Drain {
        /// Name or number of a worker, as `workers` shows it
        #[arg(value_name = "WORKER")]
        worker: String,
        /// Let it get work again, also if too much failed on it
        #[arg(long)]
        undo: bool,
    },
    /// What a submission would run, what it would take, and what would fit nowhere; the same as `submit --dry-run`
    #[command(after_help = "Example: orchestrator plan experiments/ablations.yaml")]
    Plan(PlanArgs),
    /// Send a submission
    #[command(after_help = "Example: orchestrator submit experiments/ablations.yaml --wait")]
    Submit(SubmitArgs),
    /// Submissions and the fleet at a glance
    #[command(after_help = "Example: orchestrator status quickstart")]
    Status {
        #[arg(value_name = "SUBMISSION")]
        submission: Option<String>,
    },
    /// Runs (and extractions), filtered
    #[command(after_help = "Example: orchestrator runs --submission quickstart --state failed")]
    Runs(RunsArgs),
    /// One run's whole history in sentences
    #[command(after_help = "Example: orchestrator show 12")]
    Show {
        #[arg(value_name = "RUN")]
        run: i64,
    },
    /// Why a run is still waiting, or what became of each of its attempts
    #[command(after_help = "Example: orchestrator why 12")]
    Why {
        #[arg(value_name = "RUN")]
        run: i64,
    },
    /// Log lines of a run
    #[command(after_help = "Example: orchestrator logs 12 -f")]
    Logs {
        #[arg(value_name = "RUN")]
        run: i64,
        /// Go on until the run has ended
        #[arg(long, short)]
        follow: bool,
    },
    /// Take back a submission, or single runs
    #[command(after_help = "Example: orchestrator cancel quickstart\n         orchestrator cancel --run 12 --run 13")]
    Cancel(Selection),
    /// Give out no further runs of a submission, or not these; what is at work goes on
    #[command(after_help = "Example: orchestrator pause ablations\n         orchestrator pause --run 12")]
    Pause(Selection),
    /// Give out what was paused
    #[command(after_help = "Example: orchestrator resume ablations")]
    Resume(Selection),
    /// Give out the runs of a submission, or these, before those of a lower priority
    #[command(
        after_help = "Example: orchestrator priority 10 ablations\n         orchestrator priority -- -5 comparison"
    )]
    Priority {
        /// From -1000 to 1000; 0 where nothing is said
        #[arg(value_name = "LEVEL", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
        level: i32,
        #[command(flatten)]
        selection: Selection,
    },
    /// Queue failed runs again
    #[command(after_help = "Example: orchestrator retry quickstart --failed")]
    Retry(RetryArgs),
    /// Write the tables of a submission
    #[command(after_help = "Example: orchestrator export quickstart --format latex --out tables")]
    Export(ExportArgs),
    /// The method registry: parameters, defaults, ranges, reference, departures from the paper
    #[command(after_help = "Example: orchestrator methods cm-gans")]
    Methods {
        #[arg(value_name = "METHOD")]
        method: Option<String>,
    },
    /// Data sets
    #[command(subcommand)]
    Data(DataCommand),
    /// Copy the state folder (database, models, features) to a new folder; a coordinator may be at work in it
    #[command(after_help = "Example: orchestrator backup /mnt/backups/2026-11-27")]
    Backup {
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Make the state folder from a backup; it must hold no database yet
    #[command(after_help = "Example: orchestrator --home /srv/orchestrator restore /mnt/backups/2026-11-27")]
    Restore {
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Remove contents (models, features, embeddings) that nothing in the database names; a coordinator may be at work
    #[command(after_help = "Example: orchestrator gc --dry-run")]
    Gc {
        /// Only what came, or was last wanted, so long ago
        #[arg(long, default_value = "7d", value_name = "TIME", value_parser = humantime::parse_duration)]
        older_than: std::time::Duration,
        /// Tell what would be removed; remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// What this machine can do
    #[command(after_help = "Example: orchestrator doctor")]
    Doctor,
    /// Completion script for a shell
    #[command(
        after_help = "Example: orchestrator completions bash > ~/.local/share/bash-completion/completions/orchestrator"
    )]
    Completions { shell: clap_complete::Shell },
    /// Be the process of one attempt; started by the worker, never by people
    #[command(hide = true)]
    Attempt,
    /// Become a program of a user's own that can write to one folder only; started by an attempt, never by people
    #[command(hide = true)]
    Confined {
        folder: PathBuf,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Specification of the submission
    #[arg(value_name = "SPEC")]
    pub(crate) spec: PathBuf,
    /// Processor cores to use [default: all]
    #[arg(long)]
    pub(crate) cpus: Option<u32>,
    /// Compute again what is already scored
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

/// Settings of a worker that do not change what is computed, except for the SIMD level (part of a score's kind).
#[derive(Clone, Debug, Args)]
pub(crate) struct Tuning {
    /// Instruction set of the arithmetic [default: the best there is]
    #[arg(long, env = "ORCHESTRATOR_SIMD", value_enum)]
    pub(crate) simd: Option<Simd>,
    /// Keep a checkpoint every so many iterations
    #[arg(long, env = "ORCHESTRATOR_CHECKPOINT_EVERY", default_value_t = 100, value_name = "ITERATIONS",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) checkpoint_every: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Simd {
    Scalar,
    Avx2,
    Avx512,
}

impl Simd {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on; only loopback addresses until TLS and tokens are there
    #[arg(long, default_value = "127.0.0.1:7117", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,
    /// For how long a worker may keep its runs without being heard of: then they are queued again
    #[arg(long, default_value = "15s", value_name = "TIME", value_parser = lease)]
    pub(crate) lease: std::time::Duration,
    /// Give out nothing while the disk of the state folder has less free than this; 0 = do not look
    #[arg(long, default_value = "1GiB", value_name = "SIZE", value_parser = free_bytes)]
    pub(crate) min_free: u64,
    /// Have workers run programs that users submit (`command:`), with the rights of the workers
    #[arg(long)]
    pub(crate) allow_commands: bool,
}

/// A size like those of a submission, or 0.
fn free_bytes(text: &str) -> Result<u64, String> {
    let bytes = if text == "0" { Some(0) } else { experiment_spec::spec::memory_bytes(text) };
    bytes.ok_or_else(|| "expected a size from 1MiB to 64TiB like 512MiB or 2GiB, or 0".to_owned())
}

/// A lease: shorter ones run out on a busy machine, longer ones keep the runs of a node that is gone for hours.
fn lease(text: &str) -> Result<std::time::Duration, String> {
    let (shortest, longest) = (std::time::Duration::from_secs(2), std::time::Duration::from_hours(1));
    let lease = humantime::parse_duration(text).map_err(|error| format!("{error}; expected a time like 15s or 2m"))?;
    if (shortest..=longest).contains(&lease) { Ok(lease) } else { Err("expected a time from 2s to 1h".to_owned()) }
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// Folder for the worker's own state [default: `worker` in the state folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Name shown to people [default: the host's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Processor cores to offer [default: all]
    #[arg(long)]
    pub(crate) cpus: Option<u32>,
    /// Take nothing while the disk of the worker's folder has less free than this; 0 = do not look
    #[arg(long, default_value = "1GiB", value_name = "SIZE", value_parser = free_bytes)]
    pub(crate) min_free: u64,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Specification of the submission
    #[arg(value_name = "SPEC")]
    pub(crate) spec: PathBuf,
    /// As if what is already scored were computed again
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// Specification of the submission
    #[arg(value_name = "SPEC")]
    pub(crate) spec: PathBuf,
    /// Show what would run; queue nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Follow it to its end, then print the tables
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    /// Compute again what is already scored
    #[arg(long)]
    pub(crate) force: bool,
    /// Its runs go before those of a lower priority, from -1000 to 1000
    #[arg(long, default_value_t = 0, value_name = "LEVEL", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub(crate) priority: i32,
}

#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Only those of this submission (id or name)
    #[arg(long)]
    pub(crate) submission: Option<String>,
    /// Only those of this method
    #[arg(long)]
    pub(crate) method: Option<String>,
    /// Only those of this data set
    #[arg(long)]
    pub(crate) dataset: Option<String>,
    /// Only those in this state
    #[arg(long, value_parser = ["queued", "assigned", "running", "succeeded", "failed", "cancelled"])]
    pub(crate) state: Option<String>,
    /// Only those of this seed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Extractions too
    #[arg(long)]
    pub(crate) extractions: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Selection {
    /// Submission (id or name)
    #[arg(value_name = "SUBMISSION")]
    pub(crate) submission: Option<String>,
    /// Single runs
    #[arg(long = "run", value_name = "RUN")]
    pub(crate) runs: Vec<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Queue the failed runs again (the only choice so far, said aloud)
    #[arg(long, required = true)]
    pub(crate) failed: bool,
    /// Only failures of this kind
    #[arg(long, value_parser = ["out-of-memory", "cuda-oom", "nan", "data", "timeout", "lost", "killed", "user-error"])]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Submission (id or name)
    #[arg(value_name = "SUBMISSION")]
    pub(crate) submission: String,
    /// What to write [default: all]
    #[arg(long, value_enum)]
    pub(crate) format: Vec<Format>,
    /// Figures from elsewhere that `RESULTS.md` sets beside ours: a CSV file with the columns dataset, label (or method and
    /// settings), task, map and tolerance
    #[arg(long, value_name = "FILE")]
    pub(crate) figures: Option<PathBuf>,
    /// Folder to write to [default: `reports/SUBMISSION` in the state folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// `tables.tex`
    Latex,
    /// `tables.md`
    Markdown,
    /// `scores.csv` and `cells.csv`
    Csv,
    /// `tables.json`
    Json,
    /// `RESULTS.md`: the tables, which of the paper's orders hold, work and memory
    Results,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Data sets that this installation can read
    #[command(after_help = "Example: orchestrator data list")]
    List,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_a_time_within_bounds_and_is_by_default_that_of_the_coordinator() {
        assert_eq!(lease("90s"), Ok(std::time::Duration::from_secs(90)));
        assert_eq!(lease("1s").unwrap_err(), "expected a time from 2s to 1h");
        assert_eq!(lease("2h").unwrap_err(), "expected a time from 2s to 1h");
        assert!(lease("soon").unwrap_err().ends_with("expected a time like 15s or 2m"));
        let Command::Serve(serve) = Cli::parse_from(["orchestrator", "serve"]).command else { panic!("serve") };
        assert_eq!(serve.lease, orchestrator_coordinator::LEASE);
        assert_eq!(serve.min_free, 1 << 30);
    }

    #[test]
    fn room_that_stays_free_is_a_size_or_nothing() {
        assert_eq!((free_bytes("0"), free_bytes("512MiB")), (Ok(0), Ok(512 << 20)));
        assert!(free_bytes("lots").unwrap_err().ends_with("like 512MiB or 2GiB, or 0"));
    }
}
