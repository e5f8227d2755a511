//! Extracts the features of the emoji data set and prints the accuracies of the heads and the time:
//! `cargo run --release -p retrieval --example extract_emoji -- [seed] [threads] [fold]`.
//!
//! With `fold` (0 to 4) a fifth of the training pairs stands in for the test part and the real validation and
//! test pairs are left out: this is how the settings of the encoders were chosen.

use std::time::Instant;

use retrieval::{
    datasets::data_set::{DataSet, RawPairs},
    datasets::emoji::Emoji,
    encoders::{
        encoder::{EncodeContext, Encoder},
        small_cnn::SmallCnn,
    },
    error::Result,
    features::Split,
    method::Silent,
    nn::gemm,
};

/// The training pairs alone, every fifth (of each class, in order) taken as test.
fn within_train(raw: &RawPairs, fold: usize) -> RawPairs {
    let mut seen = vec![fold; raw.classes];
    let mut kept = RawPairs { ids: vec![], images: vec![], texts: vec![], labels: vec![], split: vec![], ..*raw };
    for row in raw.rows(Split::Train) {
        let count = &mut seen[raw.labels[row] as usize];
        *count += 1;
        kept.split.push(if count.is_multiple_of(5) { Split::Test } else { Split::Train });
        kept.ids.push(raw.ids[row].clone());
        kept.images.extend_from_slice(raw.image(row));
        kept.texts.push(raw.texts[row].clone());
        kept.labels.push(raw.labels[row]);
    }
    kept
}

fn main() -> Result<()> {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let seed = numbers.first().copied().unwrap_or(1) as u64;
    gemm::set_threads(numbers.get(1).copied().unwrap_or(2));
    let mut raw = Emoji.load()?;
    if let Some(&fold) = numbers.get(2) {
        raw = within_train(&raw, fold);
    }
    let start = Instant::now();
    let encoded = SmallCnn.encode(&raw, EncodeContext { seed, observer: &mut Silent, resume: None })?;
    for (name, value) in &encoded.facts {
        println!("{name} {value:.4}");
    }
    for (name, values) in [("image", &encoded.image), ("text", &encoded.text)] {
        let dims = values.len() / raw.len();
        let norms: f32 = values.chunks(dims).map(|row| row.iter().map(|v| v * v).sum::<f32>().sqrt()).sum();
        let zeros = values.iter().filter(|&&v| v == 0.0).count();
        println!("{name}: mean norm {:.2}, zeros {:.3}", norms / raw.len() as f32, zeros as f32 / values.len() as f32);
    }
    println!("{} threads, {:.1} s", gemm::threads(), start.elapsed().as_secs_f64());
    Ok(())
}
