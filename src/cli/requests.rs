//! Arguments of what people ask of a coordinator.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

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

/// What `thin --help` says before its options.
pub(super) const THIN: &str = "Leave fewer points of the curves of runs that have ended, for good; scores, logs and history stay whole.

Of a curve with more points than asked for these stay: the last one, the first lowest and the first highest one, and the first one \
of each of so many stretches of equal length that all together are no more. Doing it again changes nothing.";

#[derive(Debug, Args)]
pub(crate) struct ThinArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Most points of a curve that stay
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub(crate) points: u32,
    /// Tell what would be removed; remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
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

#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// All tokens: names, whose they are, when they were made
    #[command(after_help = "Example: orchestrator tokens list")]
    List,
    /// Print a token
    #[command(after_help = "Example: ORCHESTRATOR_TOKEN=$(orchestrator tokens show worker)")]
    Show {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Print the certificate of the authority, for a browser or a monitoring system to believe
    #[command(after_help = "Example: orchestrator tokens authority > orchestrator-authority.pem")]
    Authority,
    /// Make a token and print it; a coordinator at work knows it within a second
    #[command(
        after_help = "Example: orchestrator tokens new user alice\n\nTo change a token everywhere: make a new one, hand it out, then revoke the old one."
    )]
    New {
        /// A user submits, steers and reads; a worker takes runs and reports on them
        #[arg(value_name = "ROLE", value_parser = ["user", "worker"])]
        role: String,
        /// What to call it
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Take a token back; who came in with it is cut off within a second
    #[command(after_help = "Example: orchestrator tokens revoke alice")]
    Revoke {
        #[arg(value_name = "NAME")]
        name: String,
    },
}
