//! Made-up features for tests and benchmarks (spec G.3): class centres in two modalities, and noise.

use std::{collections::BTreeMap, path::Path};

use safetensors::Dtype;

use crate::{
    error::Result,
    feature_file::{Head, write_rows},
    features::Split,
    nn::stream::Stream,
};

/// Sizes and noise; the defaults are those of spec G.3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synthetic {
    /// Classes; pair n has class n mod `classes`.
    pub classes: usize,
    /// Dimensions of the image and text features.
    pub dims: (usize, usize),
    /// Standard deviation of the noise of the image and text features.
    pub noise: (f64, f64),
    /// Pairs for training, validation and test, in this order.
    pub pairs: [usize; 3],
    /// Patches of every image and segments of every text, of the same centres and noise; 0 for features without.
    pub patches: usize,
    /// Seed of centres and noise.
    pub seed: u64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self { classes: 10, dims: (64, 32), noise: (1.5, 1.05), pairs: [1000, 0, 300], patches: 0, seed: 1 }
    }
}

impl Synthetic {
    /// Writes the features: max(0, centre of the class + noise), centres standard normal.
    ///
    /// # Errors
    /// When the disk refuses.
    #[allow(clippy::cast_possible_truncation)]
    pub fn write(&self, path: &Path) -> Result<()> {
        self.write_with(path, |Side { name, draws, pair }, row, out, noise| {
            let class = pair % self.classes;
            let mut centre = Stream::new(self.seed, &format!("synthetic {name} centre"), class as u64);
            let mut draws = Stream::new(self.seed, &format!("synthetic {name} {draws}"), row as u64);
            for value in out {
                *value = (centre.normal() + noise * draws.normal()).max(0.0) as f32;
            }
        })
    }

    /// Writes noise of the same sizes that is quick to make: uniform in -0.5..0.5, negative values set to 0.
    /// The rows are made one at a time, so the file may be larger than memory.
    ///
    /// # Errors
    /// When the disk refuses.
    #[allow(clippy::cast_possible_truncation)]
    pub fn write_random(&self, path: &Path) -> Result<()> {
        self.write_with(path, |Side { name, draws, .. }, row, out, _| {
            let mut draws = Stream::new(self.seed, &format!("random {name} {draws}"), row as u64);
            for value in out {
                *value = (draws.uniform() - 0.5).max(0.0) as f32;
            }
        })
    }

    fn write_with(&self, path: &Path, fill: impl Fn(Side<'_>, usize, &mut [f32], f64)) -> Result<()> {
        let split: Vec<Split> =
            Split::ALL.into_iter().zip(self.pairs).flat_map(|(part, n)| std::iter::repeat_n(part, n)).collect();
        let pairs = u32::try_from(split.len()).expect("fewer pairs than 2^32");
        let labels: Vec<u32> =
            (0..u32::try_from(self.classes).expect("fewer classes than 2^32")).cycle().take(split.len()).collect();
        let each = u32::try_from(self.patches).expect("fewer patches than 2^32");
        let starts: Vec<u32> = (0..=pairs).map(|pair| pair * each).collect();
        let head = Head {
            labels: &labels,
            split: &split,
            classes: self.classes,
            dims: self.dims,
            dtype: Dtype::F32,
            patches: (each > 0).then_some([(self.dims.0, &starts), (self.dims.1, &starts)]),
        };
        let facts = BTreeMap::from([("data-set".into(), "synthetic".into())]);
        write_rows(path, &head, &facts, |writer| {
            let sides = [("image", self.dims.0, self.noise.0), ("text", self.dims.1, self.noise.1)];
            let wholes = sides.map(|side| (side, "noise", 1));
            let patches = sides.map(|side| (side, "patch noise", self.patches));
            for ((name, dims, noise), draws, each) in wholes.into_iter().chain(patches) {
                let mut row = vec![0.0; dims];
                for place in 0..split.len() * each {
                    fill(Side { name, draws, pair: place / each }, place, &mut row, noise);
                    writer.write_f32(&row)?;
                }
            }
            Ok(())
        })
    }
}

/// What a row of made-up features belongs to.
struct Side<'a> {
    /// `image` or `text`.
    name: &'a str,
    /// Its stream of noise: that of the wholes or that of the patches.
    draws: &'a str,
    pair: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature_file::FeatureFile;

    #[test]
    fn the_set_of_the_specification_has_its_sizes_and_its_classes_can_be_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("synthetic.safetensors");
        Synthetic::default().write(&path).unwrap();
        let file = FeatureFile::open(&path).unwrap();
        let (train, test) = (file.pairs(Split::Train), file.pairs(Split::Test));
        assert_eq!((train.rows(), test.rows(), file.pairs(Split::Validation).rows()), (1000, 300, 0));
        assert_eq!((train.image.dims(), train.text.dims(), file.classes()), (64, 32, 10));
        let mut means = vec![[0.0f64; 64]; 10];
        for row in 0..train.rows() {
            let mean = &mut means[train.labels[row] as usize];
            mean.iter_mut().zip(train.image.row(row).to_f64()).for_each(|(m, v)| *m += v / 100.0);
        }
        let nearest = |row: &[f64]| {
            let distance = |class: &usize| row.iter().zip(&means[*class]).map(|(v, m)| (*v - m).powi(2)).sum::<f64>();
            (0..10usize).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
        };
        let hits = (0..300).filter(|&row| nearest(&test.image.row(row).to_f64()) == test.labels[row] as usize).count();
        assert!(hits > 240, "{hits} of 300");
    }

    #[test]
    fn random_features_of_any_size_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("random.safetensors");
        Synthetic { dims: (40, 7), pairs: [30, 5, 5], ..Synthetic::default() }.write_random(&path).unwrap();
        let file = FeatureFile::open(&path).unwrap();
        let rows = file.pairs(Split::Validation);
        assert_eq!((rows.rows(), rows.image.dims(), rows.labels[0]), (5, 40, 0));
        assert!(rows.image.row(0).to_f64().iter().any(|&v| v > 0.0) && rows.image.row(0) != rows.image.row(1));
    }

    #[test]
    fn patches_are_of_the_class_of_their_pair() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("patches.safetensors");
        Synthetic { noise: (0.0, 0.0), pairs: [20, 0, 10], patches: 3, ..Synthetic::default() }.write(&path).unwrap();
        let file = FeatureFile::open(&path).unwrap();
        let test = file.pairs(Split::Test);
        for (rows, dims) in [(test.image, 64), (test.text, 32)] {
            let patches = rows.patches().unwrap();
            assert_eq!((patches.counts(), patches.rows().dims()), (&[3; 10][..], dims));
            for row in 0..30 {
                assert_eq!(patches.rows().row(row), rows.row(row / 3));
            }
        }
    }
}
