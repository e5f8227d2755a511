//! State of a fit on disk, from which a killed attempt goes on to the same bits.

use std::{collections::BTreeMap, path::Path};

pub use crate::tensor_file::{NamedTensor, Values, read_tensors, remove_partial_files, write_tensors};
use experiment_spec::ids::ContentHash;

use crate::{
    error::Result,
    tensor_file::{TensorFile, damaged, write_tensors_with},
};

const ITERATION: &str = "iteration";

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

impl Checkpoint {
    /// Writes the checkpoint to `path`, in place of the one before.
    ///
    /// # Errors
    /// As [`write_tensors`].
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_with(path, &BTreeMap::new(), || ())
    }

    /// [`Checkpoint::save`] with facts of the keeper's own beside those of the method. `before_rename` is called
    /// while the new file is whole and the one before it still stands.
    ///
    /// # Errors
    /// As [`write_tensors`].
    pub fn save_with(&self, path: &Path, more: &BTreeMap<String, String>, before_rename: impl FnOnce()) -> Result<()> {
        let mut facts = self.facts.clone();
        facts.extend(more.clone());
        facts.insert(ITERATION.into(), self.iteration.to_string());
        write_tensors_with(path, &self.tensors, &facts, before_rename)
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

/// A checkpoint on disk that is whole, as it was when it was opened: one that takes its name later is another.
#[derive(Debug)]
pub struct CheckpointFile {
    file: TensorFile,
    iteration: u64,
}

impl CheckpointFile {
    /// Opens and checks the file at `path`; `None` when there is none.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn open(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let file = TensorFile::open(path)?;
        let iteration = file.facts().get(ITERATION).and_then(|text| text.parse().ok());
        let iteration = iteration.ok_or_else(|| damaged(path, "no iteration"))?;
        Ok(Some(Self { file, iteration }))
    }

    /// Iterations done.
    #[must_use]
    pub fn iteration(&self) -> u64 {
        self.iteration
    }

    /// A fact of its header; those of its keeper are among them.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.file.facts().get(name).map(String::as_str)
    }

    /// All its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.file.bytes()
    }

    /// Their hash.
    #[must_use]
    pub fn content_hash(&self) -> ContentHash {
        self.file.file_hash()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::SafeTensors;

    use super::*;
    use crate::error::Error;

    fn checkpoint() -> Checkpoint {
        let tensor =
            |name: &str, shape: &[usize], values| NamedTensor { name: name.into(), shape: shape.into(), values };
        Checkpoint {
            iteration: 17,
            tensors: vec![
                tensor("a.order", &[3], Values::U32(vec![2, 0, 1])),
                tensor("b.weight", &[1, 3], Values::F32(vec![0.1, f32::NAN, -0.0])),
                tensor("c.exact", &[2], Values::F64(vec![1.0 / 3.0, f64::MIN_POSITIVE])),
            ],
            facts: (0..30).map(|i| (format!("fact \"{i}\""), format!("{i}\n"))).collect(),
        }
    }

    fn bits(tensors: &[NamedTensor]) -> Vec<(&str, &[usize], String)> {
        tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice(), format!("{:?}", t.values))).collect()
    }

    #[test]
    fn a_checkpoint_reads_back_to_the_bit_and_its_bytes_depend_on_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
        let mut kept = checkpoint();
        kept.save(&a).unwrap();
        let back = Checkpoint::load(&a).unwrap().unwrap();
        assert_eq!(bits(&back.tensors), bits(&kept.tensors));
        assert_eq!((back.iteration, &back.facts), (17, &kept.facts));
        kept.tensors.reverse();
        kept.save(&b).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
        // Any reader of the format can open it.
        let bytes = fs::read(&a).unwrap();
        assert_eq!(SafeTensors::deserialize(&bytes).unwrap().tensor("b.weight").unwrap().shape(), [1, 3]);
        assert!(Checkpoint::load(&folder.path().join("none")).unwrap().is_none());
        assert!(CheckpointFile::open(&folder.path().join("none")).unwrap().is_none());
        let file = CheckpointFile::open(&a).unwrap().unwrap();
        Checkpoint { iteration: 18, ..checkpoint() }.save(&a).unwrap();
        assert_eq!((file.iteration(), file.bytes()), (17, bytes.as_slice()), "another has its name now");
        assert_eq!((file.content_hash(), file.fact("fact \"3\"")), (ContentHash::of(&bytes), Some("3\n")));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no partial file is left");
    }

    #[test]
    fn until_the_rename_the_checkpoint_before_stands_and_half_of_one_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let partial = folder.path().join("checkpoint.safetensors.partial");
        checkpoint().save(&path).unwrap();
        let before = fs::read(&path).unwrap();
        let next = Checkpoint { iteration: 18, ..checkpoint() };
        let mut half = Vec::new();
        let look = || {
            assert_eq!(fs::read(&path).unwrap(), before);
            half = fs::read(&partial).unwrap();
        };
        next.save_with(&path, &BTreeMap::new(), look).unwrap();
        assert_eq!(fs::read(&path).unwrap(), half, "it was whole already");
        fs::write(&partial, &before[..100]).unwrap();
        remove_partial_files(folder.path()).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap().unwrap().iteration, 18);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_changed_fact_or_value_is_found_and_what_cannot_be_written_leaves_the_file_before_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        checkpoint().save(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::create_dir(folder.path().join("checkpoint.safetensors.partial")).unwrap();
        assert!(matches!(checkpoint().save(&path), Err(Error::File { .. })));
        assert_eq!(fs::read(&path).unwrap(), whole);
        let fact = whole.windows(8).position(|window| window == b"fact \\\"2").unwrap();
        for at in [fact + 7, whole.len() - 30, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
            fs::write(&path, &changed).unwrap();
            let error = Checkpoint::load(&path).unwrap_err().to_string();
            assert!(error.contains("checkpoint.safetensors") && error.contains("remove it and run again"), "{error}");
        }
    }
}
