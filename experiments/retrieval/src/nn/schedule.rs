//! Rates and momenta as functions of the step, as the released training scripts of the deep methods have them
//! (spec C.6, C.8).

/// Steps over which a rate falls to half.
const HALVED_AFTER: f64 = 10_000.0;

#[allow(clippy::cast_precision_loss)] // steps are far below 2^53
fn real(step: u64) -> f64 {
    step as f64
}

/// The rate of a step, counted from 1: `rate / (1 + (step - 1) / 10,000)`.
#[must_use]
pub fn decayed(rate: f64, step: u64) -> f64 {
    rate / (1.0 + real(step.saturating_sub(1)) / HALVED_AFTER)
}

/// The momentum of a step, counted from 1: from 0.5 to 0.9 in equal steps, reached after `over` of them.
#[must_use]
pub fn rising_momentum(step: u64, over: u64) -> f64 {
    let share = if over == 0 { 1.0 } else { (real(step.saturating_sub(1)) / real(over)).min(1.0) };
    0.5 + 0.4 * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_by_hand() {
        for (step, rate) in [(1, 0.05), (10_001, 0.025), (30_001, 0.0125)] {
            assert!((decayed(0.05, step) - rate).abs() < 1e-15);
        }
        for (step, momentum) in [(1, 0.5), (2_501, 0.7), (5_001, 0.9), (9_000_000, 0.9)] {
            assert!((rising_momentum(step, 5_000) - momentum).abs() < 1e-15);
        }
        assert!((rising_momentum(1, 0) - 0.9).abs() < 1e-15);
    }
}
