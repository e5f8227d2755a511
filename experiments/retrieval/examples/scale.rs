//! A method at the size of `XMediaNet` (32,000 pairs, 4096/300) on random features: time, rate, and private memory
//! of one attempt. Start two at once to see two slots share one features file.
//!
//! `cargo run --release -p retrieval --example scale -- make FILE [PATCHES]`, then
//! `cargo run --release -p retrieval --example scale -- fit FILE METHOD SEED THREADS [KEY=VALUE ...]`

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
        self.peak_kib = self.peak_kib.max(status_kib("RssAnon:"));
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
        ["make", file, patches @ ..] => {
            let patches = patches.first().map_or(Ok(0), |patches| patches.parse())?;
            let sizes = Synthetic { classes: 200, dims: (4096, 300), pairs: [32_000, 0, 400], ..Synthetic::default() };
            let set = Synthetic { patches, ..sizes };
            Ok(set.write_random(Path::new(file))?)
        }
        ["fit", file, method, seed, threads, said @ ..] => {
            fit(Path::new(file), method, seed.parse()?, threads.parse()?, said)
        }
        _ => Err("`make FILE [PATCHES]`, or `fit FILE METHOD SEED THREADS [KEY=VALUE ...]`".into()),
    }
}

fn fit(
    file: &Path,
    key: &str,
    seed: u64,
    threads: usize,
    said: &[&str],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    set_threads(threads);
    let features = FeatureFile::open(file)?;
    let method = registry::find(key).ok_or_else(|| format!("there is no method {key}"))?;
    let entry = method.entry();
    let mut parameters: Parameters = entry.parameters.iter().map(|it| (it.key.clone(), it.default.clone())).collect();
    for said in said {
        let (key, value) = said.split_once('=').ok_or_else(|| format!("{said} is not KEY=VALUE"))?;
        parameters.insert(key.into(), value_of(value));
    }
    let checkpoint = PathBuf::from(format!("{}.checkpoint-{seed}", file.display()));
    let mut meter = Meter { checkpoint, start: None, rate: 0.0, peak_kib: 0 };
    let context = FitContext { parameters: &parameters, seed, observer: &mut meter, resume: None, unlabelled: None };
    let start = Instant::now();
    let fitted = method.fit(features.training_data(), context)?;
    meter.look();
    if meter.checkpoint.exists() {
        std::fs::remove_file(&meter.checkpoint)?;
    }
    println!(
        "{key}: {:.1} s, {:.2} iterations a second, {} MiB private at looks, {} MiB peak; {}",
        start.elapsed().as_secs_f64(),
        meter.rate,
        meter.peak_kib >> 10,
        status_kib("VmHWM:") >> 10,
        fitted.record().notes.join("; ")
    );
    Ok(())
}

fn value_of(text: &str) -> ParameterValue {
    match (text.parse(), text.parse(), text.parse()) {
        (Ok(value), _, _) => ParameterValue::Bool(value),
        (_, Ok(value), _) => ParameterValue::Integer(value),
        (_, _, Ok(value)) => ParameterValue::Float(value),
        _ => ParameterValue::Text(text.into()),
    }
}

/// A line of this process's memory, in KiB; 0 where the system has no such line.
fn status_kib(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix(line));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
