//! Arguments of `chaos`.

use std::time::Duration;

use clap::Args;

/// What `chaos --help` says.
pub(super) const ABOUT: &str = "\
Try out here what is promised: a throw-away fleet, killed, halted and damaged on purpose, then checked

A coordinator and workers are started as processes of their own, in a temporary folder, and given small submissions. For the \
time that is named they suffer faults drawn from the seed: `kill -9` and SIGSTOP of coordinator, workers and attempts, full \
disks (real ones where file systems may be mounted), flipped bytes in outboxes, checkpoints and contents, networks that are cut, \
cut one way, broken or slow, and users who cancel, retry, pause and drain meanwhile. Then the faults cease, everything must come \
to rest, and it is checked that nothing acknowledged was lost, no run has two accepted scores, no worker was over-committed, and \
every score is byte for byte that of an undisturbed run. The sheet says how often each fault happened and which checks passed.

Nothing of yours is touched: no state folder is read, only loopback is used. It keeps two cores busy and takes some hundred MiB \
of memory and disk. The folder is removed at the end; when a check fails it is kept, and its path printed.";

#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    /// For how long there are faults; what comes before and after takes a minute or two more
    #[arg(long, default_value = "5", value_name = "N", value_parser = minutes)]
    pub(crate) minutes: Duration,
    /// Workers of the fleet, each of two cores
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// Which faults, in which order [default: another one each time; the sheet names it]
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Leave the folder with databases, logs and checkpoints where it is
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Minutes, also parts of one.
fn minutes(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().map(|minutes| minutes * 60.0);
    let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let bounds = Duration::from_secs(1)..=Duration::from_hours(168);
    span.filter(|span| bounds.contains(span)).ok_or_else(|| "expected minutes from 0.02 to 10080".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_may_be_parts_of_one() {
        assert_eq!((minutes("0.5"), minutes("10")), (Ok(Duration::from_secs(30)), Ok(Duration::from_mins(10))));
        for wrong in ["0", "-1", "NaN", "1e9", "soon"] {
            assert_eq!(minutes(wrong).unwrap_err(), "expected minutes from 0.02 to 10080", "{wrong}");
        }
    }
}
