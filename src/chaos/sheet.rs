//! The sheet that a trial ends with.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{checks::Verdict, faults::Fault};
use crate::{cli::Global, exit::Outcome, output};

/// Most lines about one check that failed.
const MAX_FOUND: usize = 10;

/// Everything that is to be told.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) seed: u64,
    pub(super) workers: u32,
    pub(super) disturbed: Duration,
    /// Whether disks were really filled.
    pub(super) has_disks: bool,
    pub(super) counts: BTreeMap<Fault, u32>,
    /// How often networks have hindered what was said.
    pub(super) hindered: u64,
    pub(super) verdicts: Vec<Verdict>,
    /// Where everything still lies, if it does.
    pub(super) kept: Option<PathBuf>,
}

impl Sheet {
    pub(super) fn passed(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.passed)
    }

    pub(super) fn print(&self, global: &Global) -> Outcome {
        if global.json {
            let faults: BTreeMap<_, _> = self.counts.iter().map(|(fault, count)| (fault.name(), count)).collect();
            return output::json(&serde_json::json!({
                "passed": self.passed(),
                "seed": self.seed,
                "workers": self.workers,
                "seconds": self.disturbed.as_secs_f64(),
                "disks_filled": self.has_disks,
                "faults": faults,
                "network_hindrances": self.hindered,
                "checks": self.verdicts,
                "folder": self.kept,
            }));
        }
        let faults = self.counts.iter().map(|(fault, count)| vec![fault.name().to_owned(), count.to_string()]);
        output::table(&["fault", "times"], faults.collect())?;
        if !self.has_disks {
            output::lines(["no right to mount file systems here: for full disks `--min-free` was raised".to_owned()])?;
        }
        output::lines([String::new()])?;
        output::table(&["check", "result", "found"], self.verdicts.iter().flat_map(rows).collect())?;
        let kept = self.kept.iter().map(|folder| format!("everything lies in {}", folder.display()));
        output::lines(kept)
    }
}

fn rows(verdict: &Verdict) -> Vec<Vec<String>> {
    let result = if verdict.passed { "pass" } else { "FAIL" };
    let row = |first: bool, found: &str| {
        let [check, result] = if first { [verdict.check, result] } else { [""; 2] };
        vec![check.to_owned(), result.to_owned(), output::printable(found)]
    };
    let mut rows: Vec<_> =
        verdict.found.iter().take(MAX_FOUND).enumerate().map(|(index, found)| row(index == 0, found)).collect();
    if verdict.found.len() > MAX_FOUND {
        rows.push(row(false, &format!("and {} more", verdict.found.len() - MAX_FOUND)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_says_why_and_not_without_end() {
        let verdict =
            Verdict { check: "nothing is lost", passed: false, found: (0..12).map(|n| n.to_string()).collect() };
        let rows = rows(&verdict);
        assert_eq!((rows.len(), &rows[0][..2]), (11, &["nothing is lost".to_owned(), "FAIL".to_owned()][..]));
        assert_eq!((rows[1][0].as_str(), rows[10][2].as_str()), ("", "and 2 more"));
    }
}
