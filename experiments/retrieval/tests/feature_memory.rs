//! Opened features take no memory of the process's own: attempts on a node share one copy. A process by
//! itself, so that nothing else allocates while it is measured.
#![cfg(target_os = "linux")]

use retrieval::{datasets::synthetic::Synthetic, feature_file::FeatureFile, features::Split};

/// Memory of this process alone, in KiB.
fn private_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn opening_and_reading_features_copies_no_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("random.safetensors");
    let before = private_kib();
    Synthetic { dims: (1000, 24), pairs: [12_000, 1000, 1000], ..Synthetic::default() }.write_random(&path).unwrap();
    let file = FeatureFile::open(&path).unwrap();
    let train = file.pairs(Split::Train);
    let sum: f64 = (0..train.rows()).flat_map(|row| train.image.row(row).to_f64()).sum();
    assert!((sum / 12e6 - 0.125).abs() < 1e-3, "{sum}");
    let grown = private_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB for a file of {} KiB", std::fs::metadata(&path).unwrap().len() >> 10);
}
