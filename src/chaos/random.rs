//! Draws from a seed: the same seed gives the same faults in the same order.

use std::time::Duration;

/// A stream of draws (`SplitMix64`); nothing here needs better ones.
#[derive(Clone, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A span of at least `least` and less than `most`.
    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let width = most.saturating_sub(least).as_millis().max(1);
        least + Duration::from_millis(self.below(u64::try_from(width).unwrap_or(u64::MAX)))
    }

    /// One of them, if there is any.
    pub(super) fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(all.len()).ok().filter(|count| *count > 0)?;
        usize::try_from(self.below(count)).ok().and_then(|index| all.get(index))
    }

    /// Puts them into another order.
    pub(super) fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(last);
            all.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_what_is_drawn() {
        let drawn = |seed| {
            let mut draws = Draws::new(seed);
            let mut deck: Vec<u32> = (0..20).collect();
            draws.shuffle(&mut deck);
            (deck, draws.between(Duration::from_secs(1), Duration::from_secs(2)), draws.one_of(&[1, 2, 3]).copied())
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1).0, drawn(2).0);
        let (mut deck, span, one) = drawn(3);
        deck.sort_unstable();
        assert_eq!(deck, (0..20).collect::<Vec<_>>(), "nothing comes twice or not at all");
        assert!((1_000..2_000).contains(&span.as_millis()) && one.is_some());
        assert_eq!(Draws::new(1).one_of::<u8>(&[]), None);
    }
}
