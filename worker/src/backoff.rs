//! Waits between tries that grow, with jitter so that a fleet does not come back all at once.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// The first wait and the longest one, in milliseconds; each may be shortened by up to a half.
const FIRST_MS: u64 = 100;
const LONGEST_MS: u64 = 5_000;

#[derive(Debug)]
pub(crate) struct Backoff {
    wait_ms: u64,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { wait_ms: FIRST_MS }
    }

    /// Whether nothing had to be waited for yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.wait_ms == FIRST_MS
    }

    /// The next wait.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait_ms = self.wait_ms;
        self.wait_ms = (wait_ms * 2).min(LONGEST_MS);
        let jitter = RandomState::new().build_hasher().finish() % (wait_ms / 2);
        Duration::from_millis(wait_ms - jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_and_differ() {
        let run = || {
            let mut backoff = Backoff::new();
            (0..12).map(|_| backoff.next_wait().as_millis()).collect::<Vec<_>>()
        };
        let waits = run();
        assert!((50..=100).contains(&waits[0]) && (2500..=5000).contains(&waits[11]), "{waits:?}");
        assert_ne!(waits, run());
    }
}
