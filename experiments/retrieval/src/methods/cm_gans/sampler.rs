//! Which pairs make a batch (spec A.11): balanced over classes whatever their sizes, with replacement.

use crate::{
    error::{Error, Result},
    nn::stream::Stream,
};

/// Rows of one batch among the training pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Matched pairs.
    pub matched: Vec<usize>,
    /// For each, a pair of another class.
    pub mismatched: Vec<usize>,
}

/// Draws the batch of any iteration from a seed alone.
#[derive(Clone, Debug)]
pub struct Sampler {
    classes: Vec<Vec<usize>>,
    seed: u64,
}

impl Sampler {
    /// A sampler over training pairs with these labels.
    ///
    /// # Errors
    /// [`Error::Data`] when fewer than two classes are present: there is no mismatched pair then.
    pub fn new(labels: &[u32], seed: u64) -> Result<Self> {
        let mut classes: Vec<Vec<usize>> = Vec::new();
        for (row, &label) in labels.iter().enumerate() {
            let label = label as usize;
            if label >= classes.len() {
                classes.resize(label + 1, Vec::new());
            }
            classes[label].push(row);
        }
        classes.retain(|rows| !rows.is_empty());
        if classes.len() < 2 {
            return Err(Error::Data(format!(
                "the training split has pairs of {} class(es); a mismatched pair needs at least two",
                classes.len()
            )));
        }
        Ok(Self { classes, seed })
    }

    /// The batch of `iteration`: for each slot two distinct classes, uniformly, and a pair of each.
    #[must_use]
    pub fn draw(&self, iteration: u64, slots: usize) -> Draw {
        let mut stream = Stream::new(self.seed, "sampler", iteration);
        let mut draw = Draw { matched: Vec::with_capacity(slots), mismatched: Vec::with_capacity(slots) };
        for _ in 0..slots {
            let class = stream.below(self.classes.len());
            let other = stream.below(self.classes.len() - 1);
            let other = if other >= class { other + 1 } else { other };
            draw.matched.push(self.classes[class][stream.below(self.classes[class].len())]);
            draw.mismatched.push(self.classes[other][stream.below(self.classes[other].len())]);
        }
        draw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_balanced_whatever_their_sizes_and_never_equal() {
        // Class 1 is absent; class 0 is nine times as large as class 3.
        let labels: Vec<u32> = (0..100).map(|n| if n < 90 { 0 } else { 2 + n % 2 }).collect();
        let sampler = Sampler::new(&labels, 4).unwrap();
        let mut counts = [[0u32; 4]; 2];
        let mut seen = [false; 100];
        for iteration in 1..=300 {
            let draw = sampler.draw(iteration, 30);
            assert_eq!((draw.matched.len(), draw.mismatched.len()), (30, 30));
            for (&a, &b) in draw.matched.iter().zip(&draw.mismatched) {
                assert_ne!(labels[a], labels[b]);
                counts[0][labels[a] as usize] += 1;
                counts[1][labels[b] as usize] += 1;
                seen[a] = true;
            }
        }
        for count in counts {
            assert_eq!(count[1], 0);
            // 9,000 draws of thirds: standard deviation 45.
            assert!([0, 2, 3].iter().all(|&class| count[class].abs_diff(3000) < 200), "{count:?}");
        }
        assert!(seen.iter().all(|&seen| seen), "every pair is drawn");
    }

    #[test]
    fn a_batch_depends_on_seed_and_iteration_alone() {
        let labels: Vec<u32> = (0..50).map(|n| n % 5).collect();
        let sampler = Sampler::new(&labels, 4).unwrap();
        let third = sampler.draw(3, 8);
        let _ = sampler.draw(9, 8);
        assert_eq!(sampler.draw(3, 8), third);
        assert_ne!(sampler.draw(4, 8), third);
        assert_ne!(Sampler::new(&labels, 5).unwrap().draw(3, 8), third);
    }

    #[test]
    fn fewer_than_two_classes_are_refused() {
        for labels in [vec![], vec![3; 10]] {
            let error = Sampler::new(&labels, 1).unwrap_err();
            assert!(matches!(&error, Error::Data(text) if text.contains("at least two")), "{error}");
        }
    }
}
