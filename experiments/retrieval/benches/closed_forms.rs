//! Seconds and memory of one fit of a method in closed form at the size of Wikipedia with CNN features: 2,173 pairs of
//! 4096/300, made up. `benches/peers/closed_forms.py` does the same with `SciPy` on the same features.
//!
//! `cargo bench --bench closed_forms -- make FOLDER`, then `cargo bench --bench closed_forms -- cca FOLDER 2`
//! (or `kcca`, `jrl`; the number is threads).

use std::{fs, path::Path, time::Instant};

use experiment_spec::catalog::{ParameterValue, Parameters};
use retrieval::{
    datasets::synthetic::Synthetic,
    feature_file::FeatureFile,
    features::Rows,
    method::{FitContext, Silent},
    nn::gemm::{set_threads, simd_level},
    registry,
};

const FEATURES: &str = "features.safetensors";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", folder] => make(Path::new(folder)),
        [method @ ("cca" | "kcca" | "jrl"), folder, threads] => fit(method, Path::new(folder), threads.parse()?),
        // `cargo bench` and `cargo test --benches` run every bench without arguments.
        _ => {
            println!("give `make FOLDER`, or a method (cca, kcca, jrl), the folder and a number of threads");
            Ok(())
        }
    }
}

/// The features as our own artifact, and as bare numbers for the peer.
fn make(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(folder)?;
    let set = Synthetic { classes: 10, dims: (4096, 300), pairs: [2173, 0, 20], ..Synthetic::default() };
    set.write(&folder.join(FEATURES))?;
    let features = FeatureFile::open(&folder.join(FEATURES))?;
    let pairs = features.training_data().train;
    let bytes = |rows: Rows<'_>| rows.to_f64().into_iter().flat_map(f64::to_le_bytes).collect::<Vec<u8>>();
    fs::write(folder.join("image.f64"), bytes(pairs.image))?;
    fs::write(folder.join("text.f64"), bytes(pairs.text))?;
    fs::write(folder.join("labels.u32"), pairs.labels.iter().copied().flat_map(u32::to_le_bytes).collect::<Vec<u8>>())?;
    Ok(())
}

fn fit(key: &str, folder: &Path, threads: usize) -> Result<(), Box<dyn std::error::Error>> {
    set_threads(threads);
    let features = FeatureFile::open(&folder.join(FEATURES))?;
    let method = registry::find(key).ok_or("no such method")?;
    let mut parameters: Parameters = method.entry().parameters.into_iter().map(|it| (it.key, it.default)).collect();
    let (real, whole) = (ParameterValue::Float, ParameterValue::Integer);
    let text = |value: &str| ParameterValue::Text(value.into());
    let fixed = match key {
        "cca" => vec![("ridge", real(0.01)), ("dims", whole(100))],
        "kcca" => vec![("bandwidth-factor", real(1.0)), ("kappa", real(0.01)), ("dims", whole(10))],
        _ => {
            vec![("updates", whole(1)), ("tolerance", real(0.0)), ("unlabelled", text("none")), ("init", text("const"))]
        }
    };
    parameters.extend(fixed.into_iter().map(|(key, value)| (key.to_owned(), value)));
    let context =
        FitContext { parameters: &parameters, seed: 1, observer: &mut Silent, resume: None, unlabelled: None };
    let start = Instant::now();
    let fitted = method.fit(features.training_data(), context)?;
    let seconds = start.elapsed().as_secs_f64();
    let facts = fitted.record().facts;
    let check: f64 = if key == "jrl" {
        facts["objective-01"]
    } else {
        facts.iter().filter(|(name, _)| name.starts_with("canonical-correlation-")).map(|(_, value)| value).sum()
    };
    let (level, memory) = (simd_level().name(), peak_mib());
    println!("{key} ours: {seconds:.2} s, peak {memory} MiB, {threads} threads, {level}, check {check:.6}");
    Ok(())
}

/// The most memory that this process has held, of which the features file is a part.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) >> 10
}
