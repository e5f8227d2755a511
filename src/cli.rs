//! The command line as types: every verb, its arguments and an example.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use chaos::ChaosArgs;
pub(crate) use daemons::{RunArgs, ServeArgs, Tuning, WorkerArgs};
pub(crate) use requests::{
    DataCommand, ExportArgs, Format, PlanArgs, RetryArgs, RunsArgs, Selection, SubmitArgs, ThinArgs, TokensCommand,
};

mod chaos;
mod daemons;
mod requests;

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
    /// File with the token for a coordinator on a network [default: the token itself in `ORCHESTRATOR_TOKEN`, else one
    /// of the state folder's own]
    #[arg(long, global = true, env = "ORCHESTRATOR_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
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
    /// Who may call the coordinator of this state folder over a network: tokens of users and of workers
    #[command(subcommand)]
    Tokens(TokensCommand),
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
        /// Remove from this mirror (`worker --mirror`) instead: what this state folder's database does not name
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
        /// Only what came, or was last wanted, so long ago
        #[arg(long, default_value = "7d", value_name = "TIME", value_parser = humantime::parse_duration)]
        older_than: std::time::Duration,
        /// Tell what would be removed; remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Leave fewer points of the curves of runs that have ended, for good; scores, logs and history stay whole
    #[command(long_about = requests::THIN, after_help = "Example: orchestrator thin ablations --points 500 --dry-run")]
    Thin(ThinArgs),
    /// Try out here what is promised: a throw-away fleet, killed, halted and damaged on purpose, then checked
    #[command(long_about = chaos::ABOUT, after_help = "Example: orchestrator chaos --minutes 10 --seed 7")]
    Chaos(ChaosArgs),
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
