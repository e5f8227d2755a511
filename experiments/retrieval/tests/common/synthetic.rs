//! The synthetic pairs of spec G.3: class means standard normal, samples max(0, mean + noise).

use retrieval::{
    features::{Pairs, Rows},
    nn::stream::Stream,
};

/// Pairs of the synthetic set, with the rows to read them by.
#[derive(Debug)]
pub struct Synthetic {
    image: Vec<f32>,
    text: Vec<f32>,
    labels: Vec<u32>,
    rows: Vec<u32>,
    dims: (usize, usize),
}

impl Synthetic {
    /// `per_class` pairs of each of `classes` classes; `split` names the draw of the noise, the class
    /// means are the same for all splits.
    pub fn new(classes: u32, per_class: u32, dims: (usize, usize), noise: (f64, f64), split: &str) -> Self {
        let side = |name: &str, dims: usize, noise: f64| -> Vec<f32> {
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
        Self {
            image: side("image", dims.0, noise.0),
            text: side("text", dims.1, noise.1),
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
}
