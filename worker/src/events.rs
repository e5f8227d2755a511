//! What happens to an attempt, in the words of the wire.

use std::time::{SystemTime, UNIX_EPOCH};

use experiment_spec::run::FailureKind;
use orchestrator_proto::v1::{AttemptEvent, Failed, LogLine, Released, Report, attempt_event::Event};

/// Milliseconds since 1970, for people; nothing is decided by it.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Whether nothing more comes from an attempt after this event.
pub(crate) fn is_terminal(event: &Event) -> bool {
    matches!(event, Event::Succeeded(_) | Event::Failed(_) | Event::Released(_))
}

/// Whether a report brings scores or features.
pub(crate) fn is_score(report: &Report) -> bool {
    matches!(report.event.as_ref().and_then(|event| event.event.as_ref()), Some(Event::Succeeded(_)))
}

pub(crate) fn wire(event: Event) -> AttemptEvent {
    AttemptEvent { event: Some(event) }
}

pub(crate) fn failed(kind: FailureKind, message: impl Into<String>) -> Event {
    let mut message: String = message.into();
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
    Event::Failed(Failed { failure_kind: kind.name().into(), message })
}

pub(crate) fn released(iteration: u64, reason: impl Into<String>) -> Event {
    Event::Released(Released { iteration, reason: reason.into() })
}

/// Stream of log lines that the worker itself writes.
pub(crate) const WORKER: &str = "worker";
/// Stream of log lines that an attempt logs.
pub(crate) const ATTEMPT: &str = "attempt";
/// Stream of lines that a program of the user's own prints to its standard output.
pub(crate) const STDOUT: &str = "stdout";
/// Stream of lines that an attempt's process, or a program of the user's own in it, prints to its standard error.
pub(crate) const STDERR: &str = "stderr";

/// Longest explanation of a failure in bytes; what is longer is cut.
const MESSAGE_BYTES: usize = 8 << 10;

/// Longest log line in bytes; what is longer is cut.
pub(crate) const LINE_BYTES: usize = 4096;

/// A log line, cut to [`LINE_BYTES`] and freed of control characters: it may end on a terminal.
/// Position and attempt number are the coordinator's to give.
pub(crate) fn log(stream: &str, text: &str) -> Event {
    let cut = text.floor_char_boundary(LINE_BYTES);
    let mut clean: String =
        text[..cut].chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
    if cut < text.len() {
        clean.push_str(" …");
    }
    Event::Log(LogLine { position: 0, at_ms: now_ms(), attempt: 0, stream: stream.into(), text: clean })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_are_cut_at_a_character_and_hold_no_control_characters() {
        let Event::Log(line) = log(STDERR, &"é".repeat(LINE_BYTES)) else { panic!("a log line") };
        assert_eq!(line.text, format!("{} …", "é".repeat(LINE_BYTES / 2)));
        let Event::Log(line) = log(STDERR, "red \u{1b}[31m\ttext\r") else { panic!("a log line") };
        assert_eq!(line.text, "red \u{fffd}[31m\ttext\u{fffd}");
    }
}
