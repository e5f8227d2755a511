//! How much of what a process prints is kept: a bounded rate, a bounded sum, and what was left out is counted.

use std::time::{Duration, Instant};

/// Lines that are taken in one go, and what comes in on top of that in a second.
const LINES_AT_ONCE: u32 = 500;
const LINES_PER_SECOND: u32 = 20;
/// Lines that are taken of one output at most.
const LINES_ALTOGETHER: u64 = 20_000;

/// How many lines may still pass.
#[derive(Debug)]
pub(crate) struct Budget {
    lines: u32,
    refilled: Instant,
    passed: u64,
    left_out: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    Yes,
    /// Yes, and so many were left out before it.
    After(u64),
    No,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { lines: LINES_AT_ONCE, refilled: now, passed: 0, left_out: 0 }
    }

    pub(crate) fn admit(&mut self, now: Instant) -> Admitted {
        let seconds = u32::try_from(now.duration_since(self.refilled).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.lines = self.lines.saturating_add(seconds.saturating_mul(LINES_PER_SECOND)).min(LINES_AT_ONCE);
            self.refilled += Duration::from_secs(seconds.into());
        }
        if self.lines == 0 || self.passed == LINES_ALTOGETHER {
            self.left_out += 1;
            return Admitted::No;
        }
        self.lines -= 1;
        self.passed += 1;
        match std::mem::take(&mut self.left_out) {
            0 => Admitted::Yes,
            left_out => Admitted::After(left_out),
        }
    }

    /// Lines left out since the last that passed.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let passed = (0..10_000).filter(|_| budget.admit(start) == Admitted::Yes).count();
        assert_eq!(passed, LINES_AT_ONCE as usize);
        let later = start + Duration::from_secs(2);
        assert_eq!(budget.admit(later), Admitted::After(10_000 - u64::from(LINES_AT_ONCE)));
        assert_eq!(
            (0..100).filter(|_| budget.admit(later) == Admitted::Yes).count(),
            2 * LINES_PER_SECOND as usize - 1
        );
        let mut day = Budget::new(start);
        let all = (0..86_400u64).map(|second| start + Duration::from_secs(second));
        let passed = all.flat_map(|at| [at; 30]).filter(|at| day.admit(*at) != Admitted::No).count();
        assert_eq!(passed as u64, LINES_ALTOGETHER);
    }
}
