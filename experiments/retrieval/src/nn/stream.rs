//! Randomness without hidden state: every draw is a function of a seed, a named stream and an index.
//!
//! A stream for one purpose and one iteration ("sampler", 17) starts at the same place whatever was
//! drawn before it, so a run resumed at any iteration sees the draws it would have seen undisturbed.
//! The bytes are the extended output of BLAKE3, the same on every machine.

use blake3::{Hasher, OutputReader};

/// Draws of one named purpose at one index (an iteration, or 0).
#[derive(Debug)]
pub struct Stream {
    reader: OutputReader,
    block: [u8; 1024],
    used: usize,
}

impl Stream {
    /// The stream `name` of a run's `seed` at `index`.
    #[must_use]
    pub fn new(seed: u64, name: &str, index: u64) -> Self {
        let mut hasher = Hasher::new_derive_key("orchestrator 2026 random stream");
        hasher.update(&seed.to_le_bytes()).update(&index.to_le_bytes()).update(name.as_bytes());
        Self { reader: hasher.finalize_xof(), block: [0; 1024], used: 1024 }
    }

    /// The next 64 random bits.
    ///
    /// # Panics
    /// Never: a block is whole words.
    pub fn next_u64(&mut self) -> u64 {
        if self.used == self.block.len() {
            self.reader.fill(&mut self.block);
            self.used = 0;
        }
        let (bytes, _) =
            self.block[self.used..].split_first_chunk::<8>().expect("the block's length is a multiple of eight");
        self.used += 8;
        u64::from_le_bytes(*bytes)
    }

    /// Uniform in [0, 1), 53 bits.
    #[allow(clippy::cast_precision_loss)]
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn uniform_in(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in 0..n, without bias (rejection).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "a draw from nothing");
        let n = n as u64;
        let limit = u64::MAX - (u64::MAX % n + 1) % n;
        loop {
            let value = self.next_u64();
            if value <= limit {
                return usize::try_from(value % n).expect("smaller than n, which is a usize");
            }
        }
    }

    /// Standard normal, by Box and Muller (one of the pair is thrown away: no state between draws).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(2.0 * std::f64::consts::PI * self.uniform())
    }

    /// A random order of 0..n (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_function_of_seed_name_and_index() {
        let first = |seed, name, index| Stream::new(seed, name, index).next_u64();
        assert_eq!(first(1, "init", 0), first(1, "init", 0));
        let all = [first(1, "init", 0), first(2, "init", 0), first(1, "sampler", 0), first(1, "init", 1)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn draws_have_the_moments_they_should() {
        let mut stream = Stream::new(7, "moments", 0);
        let n = 200_000;
        let normals: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let mut counts = [0u32; 7];
        (0..n).for_each(|_| counts[stream.below(7)] += 1);
        assert!(counts.iter().all(|&c| (f64::from(c) - f64::from(n) / 7.0).abs() < 800.0), "{counts:?}");
        let mut order = stream.permutation(100);
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
