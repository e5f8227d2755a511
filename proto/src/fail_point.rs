//! Named places where a test may end the process as a crash would, have it stand still, or slow it down.
//!
//! `ORCHESTRATOR_FAIL_POINT=name` aborts at the first passage of that place, `name:3` at the third.
//! `name:3:pause` leaves the file `ORCHESTRATOR_FAIL_POINT_MARK` there instead and stands still for a
//! minute, so that a test can kill whatever it likes while the process is at that very place.
//! `name:3:500ms` makes the third passage and every later one last so many milliseconds longer.
//! Unset, a place costs one look at a cell. The daemon hands its environment on to the attempts.
//!
//! | name | process | place |
//! | --- | --- | --- |
//! | `attempt-started` | attempt | before the first iteration |
//! | `checkpoint-before-write` | attempt | a checkpoint is due, the one before stands |
//! | `checkpoint-before-rename` | attempt | the new checkpoint is whole and synced, the one before has the name |
//! | `checkpoint-written` | attempt | the new checkpoint stands, nobody has been told |
//! | `score-before-report` | attempt | scores and artifacts are there, nothing is on the pipe |
//! | `score-before-outbox` | daemon | the scores have been read from the pipe, the outbox lacks them |
//! | `outbox-sync` | daemon | the disk is waited for |
//! | `outbox-before-send` | daemon | the scores are in the outbox, the coordinator has not been told |
//! | `outbox-before-ack` | daemon | the coordinator has acknowledged the scores, the outbox still has them |
//! | `polls-before-commit` | coordinator | everything that polls bring and are given is written, not committed |
//! | `polls-before-answer` | coordinator | it is on the disk, no worker has been told |
//! | `submission-before-commit` | coordinator | a submission is written, not committed |
//! | `submission-before-answer` | coordinator | it is on the disk, the user has not been told |
//! | `cancel-before-answer` | coordinator | a cancellation is on the disk, the user has not been told |
//! | `register-before-answer` | coordinator | a worker is on the disk, it has not been told |
//! | `export-before-write` | command line | a file of the report is due, the one before stands |

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const STANDSTILL: Duration = Duration::from_mins(1);

/// What happens at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Abort,
    Pause,
    Slow(Duration),
}

#[derive(Debug)]
struct Armed {
    name: String,
    /// The passage that is meant, and how many there were.
    due: u64,
    passages: AtomicU64,
    event: Event,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

fn parse(setting: &str) -> Armed {
    let mut parts = setting.split(':');
    let name = parts.next().unwrap_or_default().into();
    let due = parts.next().and_then(|count| count.parse().ok()).unwrap_or(1);
    let event = match parts.next() {
        Some("pause") => Event::Pause,
        Some(other) => {
            let ms = other.strip_suffix("ms").and_then(|ms| ms.parse().ok());
            ms.map_or(Event::Abort, |ms| Event::Slow(Duration::from_millis(ms)))
        }
        None => Event::Abort,
    };
    Armed { name, due, passages: AtomicU64::new(0), event }
}

impl Armed {
    fn is_due(&self, place: &str) -> bool {
        if self.name != place {
            return false;
        }
        let passage = self.passages.fetch_add(1, Ordering::Relaxed) + 1;
        passage == self.due || (passage > self.due && matches!(self.event, Event::Slow(_)))
    }

    fn happen(&self, place: &str) {
        match self.event {
            Event::Slow(span) => std::thread::sleep(span),
            Event::Pause => {
                if let Some(mark) = std::env::var_os("ORCHESTRATOR_FAIL_POINT_MARK") {
                    // Without the mark the waiting test fails: nothing to add here.
                    let _ = std::fs::write(mark, place);
                }
                std::thread::sleep(STANDSTILL);
            }
            Event::Abort => {
                eprintln!("fail point {place}: aborting");
                std::process::abort();
            }
        }
    }
}

/// Marks a place; see the table above.
pub fn passes(place: &str) {
    let armed = ARMED.get_or_init(|| std::env::var("ORCHESTRATOR_FAIL_POINT").ok().as_deref().map(parse));
    if let Some(armed) = armed.as_ref().filter(|armed| armed.is_due(place)) {
        armed.happen(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_due_at_the_stated_passage_only_and_from_then_on_if_it_is_slow() {
        let due = |setting: &str| {
            let armed = parse(setting);
            (armed.event, [0; 5].map(|_| armed.is_due("checkpoint-written")))
        };
        assert_eq!(due("checkpoint-written:3"), (Event::Abort, [false, false, true, false, false]));
        assert_eq!(due("checkpoint-written"), (Event::Abort, [true, false, false, false, false]));
        assert_eq!(due("checkpoint-written:2:pause"), (Event::Pause, [false, true, false, false, false]));
        let slow = Event::Slow(Duration::from_millis(500));
        assert_eq!(due("checkpoint-written:4:500ms"), (slow, [false, false, false, true, true]));
        assert_eq!(due("other"), (Event::Abort, [false; 5]));
    }
}
