//! The one place where clocks are read: the wall clock for what is stored and shown, and a monotonic one for how long
//! something lasts, so that a clock that jumps declares no worker lost.

use std::{
    fmt,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// The clocks that the owner goes by; tests turn them by hand.
pub(crate) trait Clock: fmt::Debug + Send + Sync {
    /// Of the monotonic clock.
    fn now(&self) -> Instant;
    /// Of the wall clock: milliseconds since 1970-01-01 UTC; 0 on a clock before that.
    fn now_ms(&self) -> i64;
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
