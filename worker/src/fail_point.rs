//! Named places where a test may end the process as a crash would.
//!
//! `ORCHESTRATOR_FAIL_POINT=name` aborts at the first passage of that place, `name:3` at the third.
//! Unset, a place costs one look at a cell. The daemon hands its environment on to the attempts.
//!
//! | name | process | place |
//! | --- | --- | --- |
//! | `attempt-started` | attempt | before the first iteration |
//! | `checkpoint-before-write` | attempt | a checkpoint is due, the one before stands |
//! | `checkpoint-written` | attempt | the new checkpoint stands, nobody has been told |
//! | `score-before-report` | attempt | scores and artifacts are there, nothing is on the pipe |
//! | `score-before-outbox` | daemon | the scores have been read from the pipe, the outbox lacks them |
//! | `outbox-before-send` | daemon | the scores are in the outbox, the coordinator has not been told |
//! | `outbox-before-ack` | daemon | the coordinator has answered, the answer was not yet read |

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

struct Armed {
    name: String,
    passages_left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

fn parse(setting: &str) -> Armed {
    let (name, count) = setting.split_once(':').unwrap_or((setting, "1"));
    Armed { name: name.into(), passages_left: AtomicU64::new(count.parse().unwrap_or(1)) }
}

impl Armed {
    fn is_due(&self, place: &str) -> bool {
        self.name == place && self.passages_left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// Marks a place; see the table above.
pub(crate) fn passes(place: &str) {
    let armed = ARMED.get_or_init(|| std::env::var("ORCHESTRATOR_FAIL_POINT").ok().as_deref().map(parse));
    if armed.as_ref().is_some_and(|armed| armed.is_due(place)) {
        eprintln!("fail point {place}: aborting");
        std::process::abort();
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
    }
}
