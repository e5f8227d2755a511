//! Printing for people and for programs: aligned tables on a terminal, plain lines in a pipe, JSON on request.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    time::{Duration, SystemTime},
};

use comfy_table::{ContentArrangement, Table, presets};
use orchestrator_proto::v1::StepSummary;
use serde::Serialize;

use crate::exit::{Failure, Outcome};

/// Prints one JSON object on a line of its own.
pub(crate) fn json(value: &impl Serialize) -> Outcome {
    let line =
        serde_json::to_string(value).map_err(|error| Failure::request(format!("failed to print JSON: {error}")))?;
    lines([line])
}

/// Prints lines. A reader that has gone away (`| head`) is no failure.
pub(crate) fn lines(lines: impl IntoIterator<Item = String>) -> Outcome {
    let mut out = std::io::stdout().lock();
    for line in lines {
        if let Err(error) = writeln!(out, "{}", printable(&line)) {
            return match error.kind() {
                std::io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(Failure::request(format!("failed to print: {error}"))),
            };
        }
    }
    Ok(())
}

/// Prints rows under a header, aligned; in a pipe without borders and never wrapped.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> Outcome {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for row in rows {
        table.add_row(row);
    }
    lines(table.to_string().lines().map(|line| line.trim_end().to_owned()))
}

/// Text from outside (labels, logs, names) without the control characters that could steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// A span of time for people, to the second: `3m 20s`.
pub(crate) fn span(seconds: f64) -> String {
    // Rates can be absurd in the first moments of a run: what cannot be a span is shown as none.
    Duration::try_from_secs_f64(seconds.round().max(0.0))
        .map_or_else(|_| "?".to_owned(), |span| humantime::format_duration(span).to_string())
}

/// Whether runs of one data set read features of several encoder seeds: then two of them are told apart by that.
pub(crate) fn encoder_seeds_differ(steps: &[StepSummary]) -> bool {
    let mut first: HashMap<&str, u64> = HashMap::new();
    let mut runs = steps.iter().filter(|step| step.kind == "run");
    runs.any(|run| *first.entry(&run.data_set).or_insert(run.encoder_seed) != run.encoder_seed)
}

/// Milliseconds since the epoch as UTC, `2026-11-23T15:04:05Z`; empty for 0.
pub(crate) fn time(ms: i64) -> String {
    match u64::try_from(ms) {
        Ok(ms) if ms > 0 => {
            humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string()
        }
        _ => String::new(),
    }
}

/// The time so many seconds from now, likewise; empty where that is beyond all calendars.
pub(crate) fn time_in(seconds: f64) -> String {
    let then = Duration::try_from_secs_f64(seconds.max(0.0)).ok().and_then(|span| SystemTime::now().checked_add(span));
    let since = then.and_then(|then| then.duration_since(SystemTime::UNIX_EPOCH).ok());
    since
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .filter(|ms| *ms < LAST_MS)
        .map_or_else(String::new, time)
}

/// The last time that is written with four digits for its year.
const LAST_MS: i64 = 253_402_300_799_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_read_as_people_say_them() {
        for (seconds, text) in [(-1.0, "0s"), (59.4, "59s"), (200.0, "3m 20s"), (f64::INFINITY, "?"), (f64::NAN, "0s")]
        {
            assert_eq!(span(seconds), text);
        }
        assert_eq!((time(0), time(951_782_400_000)), (String::new(), "2000-02-29T00:00:00Z".to_owned()));
    }

    #[test]
    fn encoder_seeds_differ_within_a_data_set_or_not_at_all() {
        let run = |data_set: &str, encoder_seed| StepSummary {
            kind: "run".into(),
            data_set: data_set.into(),
            encoder_seed,
            ..StepSummary::default()
        };
        let extraction = StepSummary { kind: "extraction".into(), data_set: "emoji".into(), ..StepSummary::default() };
        let one = [extraction, run("emoji", 1), run("emoji", 1), run("wikipedia", 0)];
        assert!(!encoder_seeds_differ(&one));
        assert!(encoder_seeds_differ(&[run("emoji", 1), run("wikipedia", 0), run("emoji", 2)]));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\tc"), "a\u{fffd}[31mb\tc");
    }
}
