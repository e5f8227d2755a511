//! What an attempt's process died of, when it did not say so itself.

use std::{collections::VecDeque, io, os::unix::process::ExitStatusExt, process::ExitStatus};

use experiment_spec::run::FailureKind;
use orchestrator_proto::v1::attempt_event::Event;

use crate::events;

/// Lines of standard error that are kept to explain an end.
const TAIL_LINES: usize = 8;
/// Most characters of each of them.
const TAIL_CHARACTERS: usize = 300;

/// The last lines a process printed.
#[derive(Debug, Default)]
pub(crate) struct Tail(VecDeque<String>);

impl Tail {
    pub(crate) fn push(&mut self, line: &str) {
        if self.0.len() == TAIL_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.chars().take(TAIL_CHARACTERS).collect());
    }

    /// The lines, as the end of a sentence; nothing where there are none.
    pub(crate) fn last_words(&self) -> String {
        let lines: Vec<&str> = self.0.iter().map(String::as_str).collect();
        if lines.is_empty() { String::new() } else { format!("; it last printed: {}", lines.join(" | ")) }
    }

    fn tells_of_memory(&self) -> bool {
        self.0.iter().any(|line| line.starts_with("memory allocation of ") && line.contains(" failed"))
    }
}

/// Names the end of a process that left no last word. `killed_for_memory`: the kernel has killed
/// processes for memory in the meantime.
pub(crate) fn of_process(exit: &io::Result<ExitStatus>, killed_for_memory: bool, tail: &Tail) -> Event {
    const KILL: i32 = 9;
    let (kind, how) = match exit {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(KILL), _) if killed_for_memory => {
                (FailureKind::OutOfMemory, "was killed by the kernel, which was out of memory".to_owned())
            }
            (Some(_), _) if tail.tells_of_memory() => {
                (FailureKind::OutOfMemory, "could not get the memory it asked for".to_owned())
            }
            (Some(signal), _) => (FailureKind::Killed, format!("was killed by signal {signal}")),
            (None, code) => (FailureKind::Killed, format!("ended with code {} and no result", code.unwrap_or(-1))),
        },
        Err(error) => (FailureKind::Killed, format!("was lost sight of: {error}")),
    };
    events::failed(kind, format!("the attempt's process {how}{}", tail.last_words()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(wait_status: i32, killed_for_memory: bool, lines: &[&str]) -> (String, String) {
        let mut tail = Tail::default();
        for line in lines {
            tail.push(line);
        }
        match of_process(&Ok(ExitStatus::from_raw(wait_status)), killed_for_memory, &tail) {
            Event::Failed(failed) => (failed.failure_kind, failed.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ends_are_named_by_what_caused_them() {
        let kind = |status, memory, lines: &[&str]| named(status, memory, lines).0;
        assert_eq!(kind(9, false, &[]), "killed");
        assert_eq!(kind(9, true, &[]), "out-of-memory");
        assert_eq!(kind(6, false, &["memory allocation of 8589934592 bytes failed"]), "out-of-memory");
        assert_eq!(kind(11, true, &[]), "killed", "a crash is no lack of memory");
        let (kind, message) = named(3 << 8, false, &["thread 'main' panicked", "index out of bounds"]);
        assert_eq!(kind, "killed");
        assert!(message.contains("code 3") && message.ends_with("index out of bounds"), "{message}");
    }
}
