//! What a run leaves in its folder beside its scores: `embeddings.safetensors` (tensors `image` and
//! `text`, rows in the order of the test split) and `model.safetensors` (the model's own tensors).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use experiment_spec::artifacts::{EMBEDDINGS, MODEL};

use crate::{
    checkpoint::{NamedTensor, Values, write_tensors},
    error::Result,
    method::{Embedding, EmbeddingValues, Outcome},
};

/// Writes both files into `folder`, each whole or not at all; gives their paths.
///
/// # Errors
/// When the disk refuses.
pub fn write(folder: &Path, outcome: &Outcome) -> Result<[PathBuf; 2]> {
    let facts = BTreeMap::from([
        ("kind".to_owned(), outcome.scores.kind.clone()),
        ("selected-iteration".to_owned(), outcome.scores.selected_iteration.to_string()),
    ]);
    let embeddings = [named("image", &outcome.image), named("text", &outcome.text)];
    let mut model = outcome.model.clone();
    model.sort_by(|a, b| a.name.cmp(&b.name));
    let paths = [folder.join(EMBEDDINGS), folder.join(MODEL)];
    write_tensors(&paths[0], &embeddings, &facts)?;
    write_tensors(&paths[1], &model, &facts)?;
    Ok(paths)
}

fn named(name: &str, embedding: &Embedding) -> NamedTensor {
    let values = match &embedding.values {
        EmbeddingValues::F32(values) => Values::F32(values.clone()),
        EmbeddingValues::F64(values) => Values::F64(values.clone()),
    };
    NamedTensor { name: name.into(), shape: vec![embedding.rows, embedding.dims], values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::read_tensors;
    use experiment_spec::scores::Scores;

    #[test]
    fn an_outcome_reads_back_as_it_was() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tensor =
            |name: &str, value| NamedTensor { name: name.into(), shape: vec![1], values: Values::U32(vec![value]) };
        let values = vec![1.5, -2.0, 0.25, f64::MIN_POSITIVE];
        let outcome = Outcome {
            scores: Scores {
                scores: vec![],
                kind: "cpu/avx2/1".into(),
                selected_iteration: 7,
                facts: BTreeMap::new(),
                tuning: None,
                notes: vec![],
            },
            image: Embedding { rows: 2, dims: 2, values: EmbeddingValues::F64(values.clone()) },
            text: Embedding { rows: 2, dims: 2, values: EmbeddingValues::F32(vec![0.0, 1.0, 2.0, 3.0]) },
            model: vec![tensor("b", 1), tensor("a", 2)],
        };
        let [embeddings, model] = write(folder.path(), &outcome).expect("a folder that can be written");
        let (tensors, facts) = read_tensors(&embeddings).expect("what was written");
        assert_eq!(facts.get("selected-iteration").map(String::as_str), Some("7"));
        assert_eq!(tensors[0], NamedTensor { name: "image".into(), shape: vec![2, 2], values: Values::F64(values) });
        assert_eq!(tensors[1].values, Values::F32(vec![0.0, 1.0, 2.0, 3.0]));
        let (tensors, _) = read_tensors(&model).expect("what was written");
        assert_eq!(tensors, [tensor("a", 2), tensor("b", 1)]);
    }
}
