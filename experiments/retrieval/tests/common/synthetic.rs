//! The synthetic pairs of spec G.3: class means standard normal, samples max(0, mean + noise).

use retrieval::{
    features::{Pairs, Rows},
    nn::stream::Stream,
    patches::Patches,
};

/// Pairs of the synthetic set, with the rows to read them by.
#[derive(Debug)]
pub struct Synthetic {
    image: Vec<f32>,
    text: Vec<f32>,
    labels: Vec<u32>,
    rows: Vec<u32>,
    dims: (usize, usize),
    /// Of images and of texts: features and where those of each pair begin.
    patches: [(Vec<f32>, Vec<u32>); 2],
}

impl Synthetic {
    /// `per_class` pairs of each of `classes` classes; `split` names the draw of the noise, the class
    /// means are the same for all splits.
    pub fn new(classes: u32, per_class: u32, dims: (usize, usize), noise: (f64, f64), split: &str) -> Self {
        let side = |name: &str, dims: usize, noise: f64, split: &str| -> Vec<f32> {
            let mut stream = Stream::new(1, &format!("synthetic/{name}/means"), 0);
            let means: Vec<f64> = (0..classes as usize * dims).map(|_| stream.normal()).collect();
            let mut stream = Stream::new(1, &format!("synthetic/{name}/{split}"), 0);
            let mut values = Vec::new();
            for _ in 0..per_class {
                #[allow(clippy::cast_possible_truncation)]
                values.extend(means.iter().map(|mean| (mean + noise * stream.normal()).max(0.0) as f32));
            }
            values
        };
        let count = classes * per_class;
        // Pair n has one to three patches and as many segments, of its own class: rows of another draw.
        let patches = |name: &str, dims: usize, noise: f64| -> (Vec<f32>, Vec<u32>) {
            let others = [0, 1, 2].map(|draw| side(name, dims, noise, &format!("{split} patch {draw}")));
            let (mut values, mut starts) = (Vec::new(), vec![0]);
            for pair in 0..count as usize {
                for draw in &others[..=pair % 3] {
                    values.extend_from_slice(&draw[pair * dims..(pair + 1) * dims]);
                }
                starts.push(u32::try_from(values.len() / dims).unwrap());
            }
            (values, starts)
        };
        Self {
            image: side("image", dims.0, noise.0, split),
            text: side("text", dims.1, noise.1, split),
            patches: [patches("image", dims.0, noise.0), patches("text", dims.1, noise.1)],
            labels: (0..count).map(|n| n % classes).collect(),
            rows: (0..count).collect(),
            dims,
        }
    }

    pub fn pairs(&self) -> Pairs<'_> {
        let image = Rows::new(&self.image[..], self.dims.0, &self.rows);
        let text = Rows::new(&self.text[..], self.dims.1, &self.rows);
        Pairs::new(image, text, &self.labels)
    }

    /// The same pairs with the features of patches and segments.
    #[allow(dead_code)] // not every test binary has a method that reads them
    pub fn pairs_with_patches(&self) -> Pairs<'_> {
        let pairs = self.pairs();
        let fine = |side: usize, dims| {
            let (values, starts) = &self.patches[side];
            Patches::new(&values[..], dims, starts).unwrap()
        };
        let (image, text) = (fine(0, self.dims.0), fine(1, self.dims.1));
        Pairs::new(pairs.image.with_patches(image), pairs.text.with_patches(text), pairs.labels)
    }
}
