//! Arguments of what works: `run`, `serve` and `worker`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use orchestrator_coordinator::Keep;

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
    /// Address to listen on; on any but a loopback address everything goes over TLS and needs a token, which are made at the
    /// first start
    #[arg(long, default_value = "127.0.0.1:7117", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,
    /// Name or address that other machines call this one by; may be given again [default: its name and addresses]
    #[arg(long = "host-name", value_name = "NAME", value_parser = host_name)]
    pub(crate) host_names: Vec<String>,
    /// TLS and tokens on a loopback address too: for a machine that others use as well
    #[arg(long)]
    pub(crate) secure: bool,
    /// For how long a worker may keep its runs without being heard of: then they are queued again
    #[arg(long, default_value = "15s", value_name = "TIME", value_parser = lease)]
    pub(crate) lease: std::time::Duration,
    /// Give out nothing while the disk of the state folder has less free than this; 0 = do not look
    #[arg(long, default_value = "1GiB", value_name = "SIZE", value_parser = free_bytes)]
    pub(crate) min_free: u64,
    /// Give out nothing while the state folder holds more than this; 0 = whatever the disk has room for
    #[arg(long, default_value = "0", value_name = "SIZE", value_parser = free_bytes)]
    pub(crate) max_size: u64,
    /// Which models stay: `all`, `none`, those of the last 90d (or another time), or the newest 100GiB (or another size)
    #[arg(long, default_value = "all", value_name = "RULE")]
    pub(crate) keep_models: Keep,
    /// Which embeddings of test pairs stay; the same rules
    #[arg(long, default_value = "all", value_name = "RULE")]
    pub(crate) keep_embeddings: Keep,
    /// Have workers run programs that users submit (`command:`), with the rights of the workers
    #[arg(long)]
    pub(crate) allow_commands: bool,
}

/// A name that a certificate can be for.
fn host_name(text: &str) -> Result<String, String> {
    if text.parse::<std::net::IpAddr>().is_ok() || crate::server::is_host_name(text) {
        return Ok(text.to_owned());
    }
    Err("expected the name of a machine like lab.example.org, or an address like 10.0.0.5".to_owned())
}

/// A label.
fn label(text: &str) -> Result<String, String> {
    use experiment_spec::spec::{LABEL, is_label};
    if is_label(text) { Ok(text.to_owned()) } else { Err(format!("expected {LABEL}")) }
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

/// A time between two of something, or 0.
fn interval(text: &str) -> Result<std::time::Duration, String> {
    if text == "0" {
        return Ok(std::time::Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; expected a time like 60s or 5m, or 0"))
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
    /// What this worker calls itself, for runs that ask for it (`resources: { labels: [...] }`); may be given again
    #[arg(long = "label", value_name = "LABEL", value_parser = label)]
    pub(crate) labels: Vec<String>,
    /// Take nothing while the disk of the worker's folder has less free than this; 0 = do not look
    #[arg(long, default_value = "1GiB", value_name = "SIZE", value_parser = free_bytes)]
    pub(crate) min_free: u64,
    /// How much of the contents it has fetched or made it keeps while no run needs them, the latest used; 0 = all
    #[arg(long, default_value = "50GiB", value_name = "SIZE", value_parser = free_bytes)]
    pub(crate) cache: u64,
    /// Shared folder or bucket (`file:///FOLDER`, `s3://BUCKET/PREFIX`) that contents are looked for in before the coordinator
    /// is asked, and put in for other workers; keys of a bucket come from the usual AWS_* variables
    #[arg(long, env = "ORCHESTRATOR_MIRROR", value_name = "URL")]
    pub(crate) mirror: Option<String>,
    /// How often a run's newest checkpoint is sent to the coordinator, so that another worker can go on from it; 0 = only
    /// when this worker gives the run back
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = interval)]
    pub(crate) send_checkpoints: std::time::Duration,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_lease_is_a_time_within_bounds_and_is_by_default_that_of_the_coordinator() {
        assert_eq!(lease("90s"), Ok(std::time::Duration::from_secs(90)));
        assert_eq!(lease("1s").unwrap_err(), "expected a time from 2s to 1h");
        assert_eq!(lease("2h").unwrap_err(), "expected a time from 2s to 1h");
        assert!(lease("soon").unwrap_err().ends_with("expected a time like 15s or 2m"));
        let Command::Serve(serve) = Cli::parse_from(["orchestrator", "serve"]).command else { panic!("serve") };
        assert_eq!(serve.lease, orchestrator_coordinator::LEASE);
        assert_eq!((serve.min_free, serve.max_size), (1 << 30, 0));
        assert_eq!((serve.keep_models, serve.keep_embeddings), (Keep::All, Keep::All));
    }

    #[test]
    fn room_that_stays_free_is_a_size_or_nothing() {
        assert_eq!((free_bytes("0"), free_bytes("512MiB")), (Ok(0), Ok(512 << 20)));
        assert!(free_bytes("lots").unwrap_err().ends_with("like 512MiB or 2GiB, or 0"));
    }

    #[test]
    fn checkpoints_are_sent_every_minute_unless_said_otherwise() {
        let worker = ["orchestrator", "worker"];
        let Command::Worker(worker) = Cli::parse_from(worker).command else { panic!("worker") };
        assert_eq!(worker.send_checkpoints, std::time::Duration::from_mins(1));
        assert_eq!((interval("0"), interval("90s")), (Ok(std::time::Duration::ZERO), lease("90s")));
        assert!(interval("often").unwrap_err().ends_with("expected a time like 60s or 5m, or 0"));
    }
}
