//! Virtual time: it stands still while something happens, and leaps to when the next thing does.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::clock::Clock;

pub(super) const MS: u64 = 1_000;
pub(super) const SECOND: u64 = 1_000 * MS;

/// Wall clock at the beginning.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// The clocks of the coordinator's machine.
#[derive(Debug)]
pub(super) struct Clocks {
    start: Instant,
    elapsed_us: AtomicU64,
    /// By how much the wall clock has been set wrong.
    set_by_ms: AtomicI64,
}

impl Clocks {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), elapsed_us: AtomicU64::new(0), set_by_ms: AtomicI64::new(0) }
    }

    pub(super) fn turn_to(&self, us: u64) {
        self.elapsed_us.store(us, Ordering::Relaxed);
    }

    pub(super) fn set_wall_clock_by(&self, ms: i64) {
        self.set_by_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for Clocks {
    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.elapsed_us.load(Ordering::Relaxed))
    }

    fn now_ms(&self) -> i64 {
        let elapsed_ms = self.elapsed_us.load(Ordering::Relaxed) / MS;
        EPOCH_MS + elapsed_ms.cast_signed() + self.set_by_ms.load(Ordering::Relaxed)
    }
}
