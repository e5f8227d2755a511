//! What a program says of its progress: JSON objects, one a line, on its standard output.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Most numbers of one line.
const MAX_METRICS: usize = 50;
/// Longest name of a number, in bytes.
const MAX_NAME: usize = 100;

/// One line of progress.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// Iterations done.
    pub(super) iteration: u64,
    /// Iterations in all, as far as it is known.
    #[serde(default)]
    pub(super) iterations: u64,
    /// The number shown to people.
    #[serde(default)]
    pub(super) loss: f64,
    /// Numbers to record.
    #[serde(default)]
    pub(super) metrics: BTreeMap<String, f64>,
}

/// Reads a line; none where it is no progress but something that the program prints for people.
pub(super) fn read(line: &str) -> Option<Progress> {
    if !line.starts_with('{') {
        return None;
    }
    let progress: Progress = serde_json::from_str(line).ok()?;
    let plain = |name: &String| !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
    let fits = progress.metrics.len() <= MAX_METRICS && progress.metrics.keys().all(plain);
    fits.then(|| Progress { iterations: progress.iterations.max(progress.iteration), ..progress })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_from_what_is_printed() {
        let full = read(r#"{"iteration": 2, "iterations": 10, "loss": 0.5, "metrics": {"map": 0.25}}"#).unwrap();
        assert_eq!((full.iteration, full.iterations, full.loss.to_bits()), (2, 10, 0.5_f64.to_bits()));
        assert_eq!(full.metrics.get("map").map(|map| map.to_bits()), Some(0.25_f64.to_bits()));
        assert_eq!(read(r#"{"iteration": 7}"#).map(|it| (it.iteration, it.iterations)), Some((7, 7)));
        let many: Vec<String> = (0..=MAX_METRICS).map(|n| format!("\"{n}\": 1")).collect();
        let many = format!("{{\"iteration\": 1, \"metrics\": {{{}}}}}", many.join(","));
        let others = ["", "iteration 3", "{}", "[1]", r#"{"iteration": -1}"#, r#"{"iteration": 1, "loss": NaN}"#];
        let more = [r#"{"iteration": 1, "message": "hello"}"#, r#"{"iteration": 1, "metrics": {"": 1}}"#, &many];
        for line in others.iter().chain(&more) {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
