//! Until when this worker may keep its attempts without an answer from the coordinator.
//!
//! The coordinator counts a lease from when it answered, the worker from when it asked, both on monotonic clocks: the
//! worker's ends first. A coordinator that is not running gives a step to nobody, so while the machine it should be on
//! refuses the connection, leases do not run; it counts them anew when it starts.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Assumed until the coordinator has said how long a lease is; there is no attempt before that.
const UNTOLD: Duration = Duration::from_secs(15);
/// Most of a lease that is kept for attempts to end in: they keep a checkpoint meanwhile.
const LONGEST_GRACE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Term {
    length: Duration,
    counts_from: Instant,
}

impl Term {
    fn grace(self) -> Duration {
        (self.length / 3).min(LONGEST_GRACE)
    }
}

/// The lease on everything that this worker has.
#[derive(Debug)]
pub(crate) struct Lease(Mutex<Term>);

impl Lease {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Term { length: UNTOLD, counts_from: Instant::now() }))
    }

    fn term(&self) -> MutexGuard<'_, Term> {
        // Every change is one assignment: nothing is half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The coordinator says how long its leases are; 0 leaves the length as it is.
    pub(crate) fn set_length(&self, length: Duration) {
        if !length.is_zero() {
            self.term().length = length;
        }
    }

    /// How long it is.
    pub(crate) fn length(&self) -> Duration {
        self.term().length
    }

    /// Answered, or found to be asked for of nobody, by a call made at that time.
    pub(crate) fn renew(&self, called_at: Instant) {
        let mut term = self.term();
        term.counts_from = term.counts_from.max(called_at);
    }

    /// What is kept of it for attempts to end in.
    pub(crate) fn grace(&self) -> Duration {
        self.term().grace()
    }

    /// Whether attempts must end now to have ended with the lease.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let term = *self.term();
        now.saturating_duration_since(term.counts_from) + term.grace() >= term.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_told_in_time_to_be_gone_with_the_lease() {
        let lease = Lease::new();
        let start = lease.term().counts_from;
        let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
        assert!(!lease.is_over(after(9.9)) && lease.is_over(after(10.0)), "15 s, of which 5 to end in");
        lease.set_length(Duration::from_secs(3));
        assert_eq!(lease.grace(), Duration::from_secs(1));
        assert!(!lease.is_over(after(1.9)) && lease.is_over(after(2.0)));
        lease.set_length(Duration::ZERO);
        lease.renew(after(10.0));
        lease.renew(after(4.0));
        assert!(!lease.is_over(after(11.9)) && lease.is_over(after(12.0)), "an answer to an older call takes nothing");
        assert!(!lease.is_over(start), "a clock that is read late does no harm");
    }
}
