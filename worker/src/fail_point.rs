//! Named places where a test may end the process as a crash would.
//!
//! `ORCHESTRATOR_FAIL_POINT=name` aborts at the first passage of that place, `name:3` at the third.
//! `name:3:pause` leaves the file `ORCHESTRATOR_FAIL_POINT_MARK` there instead and stands still for a
//! minute, so that a test can kill whatever it likes while the process is at that very place.
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
//! | `export-before-write` | command line | a file of the report is due, the one before stands |

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const STANDSTILL: Duration = Duration::from_mins(1);

struct Armed {
    name: String,
    passages_left: AtomicU64,
    pause: bool,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

fn parse(setting: &str) -> Armed {
    let mut parts = setting.split(':');
    let name = parts.next().unwrap_or_default().into();
    let count = parts.next().and_then(|count| count.parse().ok()).unwrap_or(1);
    Armed { name, passages_left: AtomicU64::new(count), pause: parts.next() == Some("pause") }
}

impl Armed {
    fn is_due(&self, place: &str) -> bool {
        self.name == place && self.passages_left.fetch_sub(1, Ordering::Relaxed) == 1
    }

    fn happen(&self, place: &str) {
        if self.pause {
            if let Some(mark) = std::env::var_os("ORCHESTRATOR_FAIL_POINT_MARK") {
                // Without the mark the waiting test fails: nothing to add here.
                let _ = std::fs::write(mark, place);
            }
            std::thread::sleep(STANDSTILL);
            return;
        }
        eprintln!("fail point {place}: aborting");
        std::process::abort();
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
    fn a_place_is_due_at_the_stated_passage_only() {
        let third = parse("checkpoint-written:3");
        let due: Vec<bool> = (0..5).map(|_| third.is_due("checkpoint-written")).collect();
        assert_eq!(due, [false, false, true, false, false]);
        assert!(!third.is_due("other"));
        assert!(parse("outbox-before-ack").is_due("outbox-before-ack"));
        assert!(parse("outbox-before-ack:1:pause").pause && !third.pause);
    }
}
