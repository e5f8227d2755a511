//! Extracts the features of the emoji data set and prints the accuracies of the heads and the time:
//! `cargo run --release -p retrieval --example extract_emoji -- [seed] [threads] [fold]`.
//!
//! With `fold` (0 to 4) a fifth of the training pairs stands in for the test part and the real validation and
//! test pairs are left out: this is how the settings of the encoders were chosen.

use std::time::Instant;

use experiment_spec::run::{ExtractionSpec, SplitName};
use retrieval::{
    checkpoint::Checkpoint,
    datasets::data_set::{LoadedPairs, RawPairs},
    datasets::{emoji::Emoji, folders::DataFolders},
    encoders::{
        encoder::{EncodeContext, Encoder},
        small_cnn::SmallCnn,
    },
    error::{Error, Result},
    extraction::extract,
    feature_file::FeatureFile,
    features::Split,
    method::Observer,
    nn::gemm,
};

/// The training pairs alone, every fifth (of each class, in order) taken as test.
fn within_train(raw: &RawPairs, fold: usize) -> RawPairs {
    let mut seen = vec![fold; raw.classes];
    let mut kept = RawPairs {
        ids: vec![],
        images: vec![],
        texts: vec![],
        segments: vec![],
        labels: vec![],
        split: vec![],
        ..*raw
    };
    for row in raw.rows(Split::Train) {
        let count = &mut seen[raw.labels[row] as usize];
        *count += 1;
        kept.split.push(if count.is_multiple_of(5) { Split::Test } else { Split::Train });
        kept.ids.push(raw.ids[row].clone());
        kept.images.extend_from_slice(raw.image(row));
        kept.texts.push(raw.texts[row].clone());
        kept.segments.push(raw.segments[row].clone());
        kept.labels.push(raw.labels[row]);
    }
    kept
}

/// Prints a line now and then.
struct Progress;

impl Observer for Progress {
    fn iteration(&mut self, iteration: u64, iterations: u64, _: f64, metrics: &[(&str, f64)]) -> Result<()> {
        if iteration.is_multiple_of(100) {
            eprintln!("{iteration} of {iterations} {metrics:.3?}");
        }
        Ok(())
    }
    fn wants_checkpoint(&self, _: u64) -> bool {
        false
    }
    fn checkpoint(&mut self, _: &Checkpoint) -> Result<()> {
        Ok(())
    }
    fn log(&mut self, line: &str) {
        eprintln!("{line}");
    }
}

fn main() -> Result<()> {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let seed = numbers.first().copied().unwrap_or(1) as u64;
    gemm::set_threads(numbers.get(1).copied().unwrap_or(2));
    let epochs = SmallCnn.entry().networks.map_or(0, |networks| networks.default_epochs);
    let start = Instant::now();
    let facts = if let Some(&fold) = numbers.get(2) {
        let raw = within_train(&Emoji.pairs()?, fold);
        let context = EncodeContext { seed, epochs, patches: false, observer: &mut Progress, resume: None };
        SmallCnn.encode(&LoadedPairs::Raw(raw), context)?.facts
    } else {
        let (data, encoder) = (Emoji.described(), SmallCnn.entry());
        let spec = ExtractionSpec {
            data_set: data.key,
            data_set_version: data.version,
            split: SplitName::Official,
            encoder: encoder.key,
            encoder_revision: encoder.revision,
            epochs,
            seed,
            patches: false,
        };
        let folder = tempfile::tempdir().map_err(Error::file(std::env::temp_dir()))?;
        let outcome = extract(&spec, &DataFolders::default(), folder.path(), &mut Progress, None)?;
        println!("content hash {}", outcome.content_hash);
        describe(&FeatureFile::open(&outcome.path)?);
        outcome.facts
    };
    for (name, value) in facts {
        println!("{name} {value:.4}");
    }
    println!("{} threads, {}, {:.1} s", gemm::threads(), gemm::simd_level().name(), start.elapsed().as_secs_f64());
    Ok(())
}

/// Prints the mean norm of the rows and the share of zeros, part by part.
#[allow(clippy::cast_precision_loss)]
fn describe(file: &FeatureFile) {
    for part in Split::ALL {
        let pairs = file.pairs(part);
        for (name, rows) in [("image", pairs.image), ("text", pairs.text)] {
            let norm = |row: usize| rows.row(row).to_f64().iter().map(|v| v * v).sum::<f64>().sqrt();
            let mean = (0..rows.rows()).map(norm).sum::<f64>() / rows.rows() as f64;
            let zeros: usize = rows.to_f64().iter().filter(|v| **v == 0.0).count();
            let share = zeros as f64 / (rows.rows() * rows.dims()) as f64;
            println!("{} {name}: {} rows, mean norm {mean:.2}, zeros {share:.3}", part.name(), rows.rows());
        }
    }
}
