//! CM-GANs at the size of `XMediaNet` (32,000 pairs, 4096/300) on random features: rate, and private memory
//! of one attempt. Start two at once to see two slots share one features file.
//!
//! `cargo run --release -p retrieval --example scale -- make FILE`, then
//! `cargo run --release -p retrieval --example scale -- fit FILE SEED ITERATIONS THREADS`

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use experiment_spec::catalog::{ParameterValue, Parameters};
use retrieval::{
    checkpoint::Checkpoint,
    datasets::synthetic::Synthetic,
    error::Result,
    feature_file::FeatureFile,
    method::{FitContext, Observer},
    nn::gemm::set_threads,
    registry,
};

/// Watches the rate and the memory that no other process shares; keeps a checkpoint every 50 iterations.
struct Meter {
    checkpoint: PathBuf,
    start: Option<(u64, Instant)>,
    rate: f64,
    peak_kib: u64,
}

impl Meter {
    fn look(&mut self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        self.peak_kib = self.peak_kib.max(kib.unwrap_or(0));
    }
}

impl Observer for Meter {
    #[allow(clippy::cast_precision_loss)] // counts of iterations
    fn iteration(&mut self, iteration: u64, _: u64, _: f64, _: &[(&str, f64)]) -> Result<()> {
        self.look();
        let (first, start) = *self.start.get_or_insert((iteration, Instant::now()));
        self.rate = (iteration - first) as f64 / start.elapsed().as_secs_f64();
        Ok(())
    }
    fn wants_checkpoint(&self, iteration: u64) -> bool {
        iteration.is_multiple_of(50)
    }
    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.save(&self.checkpoint)?;
        self.look();
        Ok(())
    }
    fn log(&mut self, line: &str) {
        eprintln!("{line}");
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["make", file] => {
            let set = Synthetic { classes: 200, dims: (4096, 300), pairs: [32_000, 0, 400], ..Synthetic::default() };
            Ok(set.write_random(Path::new(file))?)
        }
        ["fit", file, seed, iterations, threads] => fit(file, seed.parse()?, iterations.parse()?, threads.parse()?),
        _ => Err("`make FILE`, or `fit FILE SEED ITERATIONS THREADS`".into()),
    }
}

fn fit(file: &str, seed: u64, iterations: i64, threads: usize) -> std::result::Result<(), Box<dyn std::error::Error>> {
    set_threads(threads);
    let features = FeatureFile::open(Path::new(file))?;
    let method = registry::find("cm-gans").ok_or("there is no method cm-gans")?;
    let defaults = method.entry().parameters.into_iter().map(|parameter| (parameter.key, parameter.default));
    let mut parameters: Parameters = defaults.collect();
    parameters.insert("iterations".into(), ParameterValue::Integer(iterations));
    let checkpoint = PathBuf::from(format!("{file}.checkpoint-{seed}"));
    let mut meter = Meter { checkpoint, start: None, rate: 0.0, peak_kib: 0 };
    let context = FitContext { parameters: &parameters, seed, observer: &mut meter, resume: None, unlabelled: None };
    method.fit(features.training_data(), context)?;
    std::fs::remove_file(&meter.checkpoint)?;
    println!("{iterations} iterations at {:.2} a second, {} MiB private at most", meter.rate, meter.peak_kib >> 10);
    Ok(())
}
