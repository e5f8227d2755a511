//! Named tensors on disk: checkpoints, models, features and embeddings, all as safetensors files with
//! their facts in the header, written whole or not at all.

use std::{collections::BTreeMap, fs, io::Write, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::error::{Error, Result};

/// Values of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// f32.
    F32(Vec<f32>),
    /// f64.
    F64(Vec<f64>),
    /// u32 (labels, splits).
    U32(Vec<u32>),
}

/// One tensor with its name, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Dotted path, as in the method's own naming.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// `shape.product()` values.
    pub values: Values,
}

/// State of a fit after a whole iteration: everything needed to go on to the same bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Iterations done.
    pub iteration: u64,
    /// Tensors by name.
    pub tensors: Vec<NamedTensor>,
    /// Everything that is not a tensor, as canonical JSON text (floats as their shortest exact form).
    pub facts: BTreeMap<String, String>,
}

const ITERATION: &str = "iteration";
const HASH: &str = "content-hash";

fn bytes_of(values: &Values) -> (Dtype, Vec<u8>) {
    match values {
        Values::F32(v) => (Dtype::F32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Values::F64(v) => (Dtype::F64, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Values::U32(v) => (Dtype::U32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
    }
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Data(format!("{}: damaged tensor file ({why}); remove it and run again", path.display()))
}

/// Writes tensors and facts to `path`: to a file beside it first, synced, then renamed.
///
/// # Errors
/// When the disk refuses; whatever stood at `path` before is still whole.
pub fn write_tensors(path: &Path, tensors: &[NamedTensor], facts: &BTreeMap<String, String>) -> Result<()> {
    let data: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|t| {
            let (dtype, bytes) = bytes_of(&t.values);
            (t.name.clone(), dtype, t.shape.clone(), bytes)
        })
        .collect();
    let mut hasher = blake3::Hasher::new();
    for (name, _, _, bytes) in &data {
        hasher.update(name.as_bytes()).update(bytes);
    }
    let mut header: std::collections::HashMap<String, String> = facts.clone().into_iter().collect();
    header.insert(HASH.into(), hasher.finalize().to_hex().to_string());
    let views = data
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| damaged(path, e))?;
    let bytes = safetensors::serialize(views, Some(header)).map_err(|e| damaged(path, e))?;
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&partial)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().map_err(Error::file(path))
}

/// Reads back what [`write_tensors`] wrote, checking the content hash.
///
/// # Errors
/// When the file cannot be read, or is damaged: the sentence names it.
pub fn read_tensors(path: &Path) -> Result<(Vec<NamedTensor>, BTreeMap<String, String>)> {
    let bytes = fs::read(path).map_err(Error::file(path))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(path, e))?;
    let mut facts: BTreeMap<String, String> = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(path, e))?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => {
                Values::F32(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            }
            Dtype::F64 => Values::F64(
                data.chunks_exact(8)
                    .map(|b| f64::from_le_bytes(b.try_into().expect("chunks of eight bytes")))
                    .collect(),
            ),
            Dtype::U32 => {
                Values::U32(data.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            }
            other => return Err(damaged(path, format!("tensor {name} has type {other:?}"))),
        };
        tensors.push(NamedTensor { name, shape: view.shape().to_vec(), values });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let wanted = facts.remove(HASH).ok_or_else(|| damaged(path, "no content hash"))?;
    let mut hasher = blake3::Hasher::new();
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by(|a, b| a.name.cmp(&b.name));
    for tensor in order {
        hasher.update(tensor.name.as_bytes()).update(&bytes_of(&tensor.values).1);
    }
    if hasher.finalize().to_hex().as_str() != wanted {
        return Err(damaged(path, "its content does not match its hash"));
    }
    Ok((tensors, facts))
}

impl Checkpoint {
    /// Writes the checkpoint to `path`, in place of the one before.
    ///
    /// # Errors
    /// As [`write_tensors`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut facts = self.facts.clone();
        facts.insert(ITERATION.into(), self.iteration.to_string());
        let mut tensors = self.tensors.clone();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        write_tensors(path, &tensors, &facts)
    }

    /// Reads a checkpoint back; `None` when there is none.
    ///
    /// # Errors
    /// As [`read_tensors`].
    pub fn load(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let (tensors, mut facts) = read_tensors(path)?;
        let iteration =
            facts.remove(ITERATION).and_then(|text| text.parse().ok()).ok_or_else(|| damaged(path, "no iteration"))?;
        Ok(Some(Self { iteration, tensors, facts }))
    }
}
