//! Named tensors on disk: checkpoints, models, features and embeddings, all as safetensors files with
//! their facts in the header, written whole or not at all. Any reader of the format can open them.
//!
//! The bytes of a file are a function of its content: tensors stand in a fixed order and the header is
//! written in alphabetical order, so that the same features have the same content hash on every machine.
//! A file also carries a hash of itself (header and data), checked whenever it is opened.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors};
use serde::Serialize;

use crate::{
    error::{Error, Result},
    features::Reals,
};

#[cfg(target_endian = "big")]
compile_error!("tensor files hold little-endian values and are mapped into memory as they are");

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

const HASH: &str = "content-hash";
const METADATA: &str = "__metadata__";
/// Stands for the hash while the hash is taken.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Values {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::F64(values) => bytemuck::cast_slice(values),
            Self::U32(values) => bytemuck::cast_slice(values),
        }
    }

    fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
            Self::U32(_) => Dtype::U32,
        }
    }
}

pub(crate) fn damaged(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Data(format!("{}: damaged tensor file ({why}); remove it and run again", path.display()))
}

/// One entry of the header.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Facts(BTreeMap<&'a str, &'a str>),
    Tensor { dtype: Dtype, shape: &'a [usize], data_offsets: (usize, usize) },
}

fn header(layout: &[(&str, Dtype, &[usize])], facts: &BTreeMap<String, String>, hash: &str) -> (Vec<u8>, usize) {
    let mut entries = BTreeMap::new();
    let mut end = 0;
    for &(name, dtype, shape) in layout {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        let twice = entries.insert(name, Entry::Tensor { dtype, shape, data_offsets: (start, end) });
        assert!(twice.is_none() && name != METADATA, "the tensor name {name} is taken");
    }
    let mut all: BTreeMap<&str, &str> = facts.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert!(all.insert(HASH, hash).is_none(), "the fact {HASH} is written by the file itself");
    entries.insert(METADATA, Entry::Facts(all));
    let mut text = serde_json::to_vec(&entries).expect("names, sizes and texts are plain data that JSON can say");
    text.resize(text.len().next_multiple_of(8), b' ');
    (text, end)
}

/// Ending of a file that is being written: what bears it was left by a process that was killed.
const PARTIAL: &str = "partial";

/// Writes a tensor file piece by piece, so that it may be larger than memory. Dropped before
/// [`TensorWriter::finish`], it leaves nothing: a full disk gets its room back.
#[derive(Debug)]
pub struct TensorWriter {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<fs::File>,
    hasher: blake3::Hasher,
    head: Vec<u8>,
    remaining: usize,
    named: bool,
}

impl Drop for TensorWriter {
    fn drop(&mut self) {
        if !self.named {
            // What cannot be removed now is removed by the next who works in the folder.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

impl TensorWriter {
    /// Starts a file beside `path`. The values of the tensors of `layout` (name, type, sizes) are then to be
    /// written in that order; wider types come first, so that every tensor is aligned.
    ///
    /// # Errors
    /// When the disk refuses.
    ///
    /// # Panics
    /// If a name stands twice or the order breaks alignment: a broken invariant of the caller.
    pub fn create(path: &Path, layout: &[(&str, Dtype, &[usize])], facts: &BTreeMap<String, String>) -> Result<Self> {
        assert!(layout.is_sorted_by(|a, b| a.1.bitsize() >= b.1.bitsize()), "wider types come first");
        let (head, remaining) = header(layout, facts, NO_HASH);
        // The whole name with an ending more: files that differ in their endings alone do not meet in one.
        let mut partial = path.as_os_str().to_owned();
        partial.push(".");
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        let file = fs::File::create(&partial).map_err(Error::file(&partial))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        let mut writer = Self { path: path.to_owned(), partial, file, hasher, head, remaining, named: false };
        let head_bytes = (writer.head.len() as u64).to_le_bytes();
        let start = writer.file.write_all(&head_bytes).and_then(|()| writer.file.write_all(&writer.head));
        start.map_err(Error::file(&writer.partial))?;
        Ok(writer)
    }

    /// The next values of an f32 tensor.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_f32(&mut self, values: &[f32]) -> Result<()> {
        self.write(bytemuck::cast_slice(values))
    }

    /// The next values of an f64 tensor.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_f64(&mut self, values: &[f64]) -> Result<()> {
        self.write(bytemuck::cast_slice(values))
    }

    /// The next values of a u32 tensor.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_u32(&mut self, values: &[u32]) -> Result<()> {
        self.write(bytemuck::cast_slice(values))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.remaining = self.remaining.checked_sub(bytes.len()).expect("no more values than the layout announced");
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(Error::file(&self.partial))
    }

    /// Puts the hash in its place, syncs, and gives the file its name.
    ///
    /// # Errors
    /// When the disk refuses; whatever stood at the path before is still whole.
    ///
    /// # Panics
    /// If fewer values were written than announced: a broken invariant of the caller.
    pub fn finish(self) -> Result<()> {
        self.finish_with(|| ())
    }

    /// [`TensorWriter::finish`], calling `before_rename` while the new file is whole and synced and the one
    /// before it still has the name.
    fn finish_with(mut self, before_rename: impl FnOnce()) -> Result<()> {
        assert!(self.remaining == 0, "{} bytes of the layout were never written", self.remaining);
        let hash = self.hasher.finalize().to_hex();
        let place = find(&self.head, NO_HASH).expect("the header was made with this text in it");
        let end = || -> std::io::Result<()> {
            self.file.seek(SeekFrom::Start(8 + place as u64))?;
            self.file.write_all(hash.as_bytes())?;
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            before_rename();
            fs::rename(&self.partial, &self.path)?;
            self.named = true;
            match self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                Some(folder) => fs::File::open(folder)?.sync_all(),
                None => Ok(()),
            }
        };
        end().map_err(Error::file(&self.path))
    }
}

/// Where the value of the content hash stands in a header.
fn find(head: &[u8], hash: &str) -> Option<usize> {
    let key = format!("\"{HASH}\":\"{hash}\"");
    let start = head.windows(key.len()).position(|window| window == key.as_bytes())?;
    Some(start + key.len() - 1 - hash.len())
}

/// Writes tensors and facts to `path`: to a file beside it first, synced, then renamed.
///
/// # Errors
/// When the disk refuses; whatever stood at `path` before is still whole.
pub fn write_tensors(path: &Path, tensors: &[NamedTensor], facts: &BTreeMap<String, String>) -> Result<()> {
    write_tensors_with(path, tensors, facts, || ())
}

/// [`write_tensors`], calling `before_rename` while both the new file and the one before it are whole.
pub(crate) fn write_tensors_with(
    path: &Path,
    tensors: &[NamedTensor],
    facts: &BTreeMap<String, String>,
    before_rename: impl FnOnce(),
) -> Result<()> {
    let mut order: Vec<&NamedTensor> = tensors.iter().collect();
    order.sort_by(|a, b| b.values.dtype().bitsize().cmp(&a.values.dtype().bitsize()).then(a.name.cmp(&b.name)));
    let layout: Vec<_> = order.iter().map(|t| (t.name.as_str(), t.values.dtype(), t.shape.as_slice())).collect();
    let mut writer = TensorWriter::create(path, &layout, facts)?;
    order.iter().try_for_each(|tensor| writer.write(tensor.values.bytes()))?;
    writer.finish_with(before_rename)
}

/// Removes what writers that were killed have left half done in `folder`; none may be at work there.
///
/// # Errors
/// When the folder cannot be read or a file not removed.
pub fn remove_partial_files(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::file(folder))? {
        let path = entry.map_err(Error::file(folder))?.path();
        if path.extension().is_some_and(|ending| ending == PARTIAL) {
            fs::remove_file(&path).map_err(Error::file(&path))?;
        }
    }
    Ok(())
}

/// A tensor file mapped into memory read-only: several processes that open it share one copy.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: memmap2::Mmap,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Range<usize>)>,
    facts: BTreeMap<String, String>,
}

impl TensorFile {
    /// Maps the file and checks it against its own hash.
    ///
    /// # Errors
    /// When it cannot be opened, or is no tensor file, or is damaged: the sentence names it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = fs::File::open(path).map_err(Error::file(path))?;
        #[allow(unsafe_code)]
        // SAFETY: the mapping is sound as long as nobody changes the file while it is mapped. Tensor files are
        // written under another name, synced, and renamed into place by `TensorWriter::finish`, never opened for
        // writing again, and replaced only by another rename, which leaves the mapped file as it was. The map is
        // read-only and private to this value, which hands out borrows of itself only.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(Error::file(path))?;
        let (head, metadata) = SafeTensors::read_metadata(&map).map_err(|error| damaged(path, error))?;
        let mut facts: BTreeMap<String, String> = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        let wanted = facts.remove(HASH).ok_or_else(|| damaged(path, "no content hash"))?;
        let data = 8 + head;
        let mut header = map[8..data].to_vec();
        let place = find(&header, &wanted).ok_or_else(|| damaged(path, "no content hash"))?;
        if wanted.len() != NO_HASH.len() {
            return Err(damaged(path, "its content hash has the wrong length"));
        }
        header[place..place + wanted.len()].copy_from_slice(NO_HASH.as_bytes());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header).update(&map[data..]);
        if hasher.finalize().to_hex().as_str() != wanted {
            return Err(damaged(path, "its content does not match its hash"));
        }
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (start, end) = info.data_offsets;
                (name, (info.dtype, info.shape.clone(), data + start..data + end))
            })
            .collect();
        Ok(Self { path: path.to_owned(), map, tensors, facts })
    }

    /// Facts of the header.
    #[must_use]
    pub fn facts(&self) -> &BTreeMap<String, String> {
        &self.facts
    }

    /// All bytes of the file, whatever has its name by now.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Hash of all bytes of the file: its address in stores of content.
    #[must_use]
    pub fn file_hash(&self) -> experiment_spec::ids::ContentHash {
        experiment_spec::ids::ContentHash::of(&self.map)
    }

    /// Whether there is a tensor of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Sizes and values of an f32 or f64 tensor.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn reals(&self, name: &str) -> Result<(&[usize], Reals<'_>)> {
        match self.tensors.get(name) {
            Some((Dtype::F64, ..)) => self.values(name, Dtype::F64).map(|(shape, values)| (shape, Reals::F64(values))),
            _ => self.values(name, Dtype::F32).map(|(shape, values)| (shape, Reals::F32(values))),
        }
    }

    /// Sizes and values of a u32 tensor.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn u32s(&self, name: &str) -> Result<(&[usize], &[u32])> {
        self.values(name, Dtype::U32)
    }

    /// An error about the content of this file.
    #[must_use]
    pub fn damage(&self, why: impl std::fmt::Display) -> Error {
        damaged(&self.path, why)
    }

    fn values<T: bytemuck::AnyBitPattern>(&self, name: &str, wanted: Dtype) -> Result<(&[usize], &[T])> {
        let (dtype, shape, range) = self.tensors.get(name).ok_or_else(|| self.damage(format!("no tensor `{name}`")))?;
        if *dtype != wanted {
            return Err(self.damage(format!("tensor `{name}` has type {dtype:?}, {wanted:?} expected")));
        }
        let values = bytemuck::try_cast_slice(&self.map[range.clone()])
            .map_err(|_| self.damage(format!("tensor `{name}` is not aligned to its values")))?;
        Ok((shape, values))
    }

    fn owned(&self, name: &str) -> Result<Values> {
        let (dtype, _, _) = self.tensors[name];
        Ok(match dtype {
            Dtype::F32 => Values::F32(self.values(name, dtype)?.1.to_vec()),
            Dtype::F64 => Values::F64(self.values(name, dtype)?.1.to_vec()),
            Dtype::U32 => Values::U32(self.values(name, dtype)?.1.to_vec()),
            other => return Err(self.damage(format!("tensor `{name}` has type {other:?}"))),
        })
    }
}

/// Reads back what [`write_tensors`] wrote, in alphabetical order, checking the content hash.
///
/// # Errors
/// When the file cannot be read, or is damaged: the sentence names it.
pub fn read_tensors(path: &Path) -> Result<(Vec<NamedTensor>, BTreeMap<String, String>)> {
    let file = TensorFile::open(path)?;
    let tensors = file
        .tensors
        .iter()
        .map(|(name, (_, shape, _))| {
            Ok(NamedTensor { name: name.clone(), shape: shape.clone(), values: file.owned(name)? })
        })
        .collect::<Result<_>>()?;
    Ok((tensors, file.facts))
}
