//! Names of what a run leaves beside its scores, as they stand in the record.

/// The embeddings of the test pairs.
pub const EMBEDDINGS: &str = "embeddings.safetensors";
/// The model's own tensors.
pub const MODEL: &str = "model.safetensors";
