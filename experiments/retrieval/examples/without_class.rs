//! Bi-modal average of stored embeddings with one class taken out of queries and gallery: how much of a
//! score rests on a class that is easy by itself (the flags of `emoji`).
//!
//! `cargo run --release -p retrieval --example without_class -- features.safetensors embeddings.safetensors 2`
//! with the two artifacts that `orchestrator show` names (content in `blobs/` by hash), and a class number.

use std::path::Path;

use retrieval::{
    checkpoint::{Values, read_tensors},
    feature_file::FeatureFile,
    features::Split,
    method::{Embedding, EmbeddingValues},
    metrics::map::bi_modal_average,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [features, embeddings, class] = arguments.as_slice() else {
        return Err("three arguments: features file, embeddings file, number of the class".into());
    };
    let class: u32 = class.parse()?;
    let features = FeatureFile::open(Path::new(features))?;
    let labels = features.pairs(Split::Test).labels;
    let (tensors, _) = read_tensors(Path::new(embeddings))?;
    let side = |name: &str| tensors.iter().find(|tensor| tensor.name == name).ok_or(format!("no tensor `{name}`"));
    let (image, text) = (side("image")?, side("text")?);
    for keep in [None, Some(class)] {
        let rows: Vec<usize> = (0..labels.len()).filter(|&row| Some(labels[row]) != keep).collect();
        let chosen: Vec<u32> = rows.iter().map(|&row| labels[row]).collect();
        let part = |tensor: &retrieval::checkpoint::NamedTensor| -> Result<Embedding, String> {
            let (Values::F32(values), [_, dims]) = (&tensor.values, tensor.shape.as_slice()) else {
                return Err(format!("tensor `{}` is no f32 matrix", tensor.name));
            };
            let values = rows.iter().flat_map(|&row| &values[row * dims..(row + 1) * dims]).copied().collect();
            Ok(Embedding { rows: rows.len(), dims: *dims, values: EmbeddingValues::F32(values) })
        };
        let map = bi_modal_average(&part(image)?, &part(text)?, &chosen)?;
        let what = keep.map_or_else(|| "all classes".to_owned(), |class| format!("without class {class}"));
        println!("{what}: {} pairs, bi-modal average {map:.4}", rows.len());
    }
    Ok(())
}
