//! Writes the artifact, whole or row by row.

use std::{collections::BTreeMap, path::Path};

use safetensors::Dtype;

use super::{CLASSES, IMAGE, LABELS, PATCHES, SPLIT, TEXT};
use crate::{
    error::Result,
    features::{Reals, Split},
    tensor_file::TensorWriter,
};

/// What is written of one data set's features.
#[derive(Clone, Copy, Debug)]
pub struct FeatureTable<'a> {
    /// `n x image_dims`, row-major.
    pub image: Reals<'a>,
    /// `n x text_dims`, row-major, in the precision of the image features.
    pub text: Reals<'a>,
    /// Of the patches of the images and of the segments of the texts, where there are any.
    pub patches: Option<[PatchTable<'a>; 2]>,
    /// `n` classes in `0..classes`.
    pub labels: &'a [u32],
    /// Part of each pair.
    pub split: &'a [Split],
    /// Number of classes.
    pub classes: usize,
}

/// Features of all patches of one modality, pair by pair.
#[derive(Clone, Copy, Debug)]
pub struct PatchTable<'a> {
    /// Row-major, in the precision of the other features.
    pub values: Reals<'a>,
    /// Those of pair n are the rows from entry n to before entry n + 1; `n + 1` entries.
    pub starts: &'a [u32],
}

/// What an artifact holds beside its matrices, and how wide they are.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Classes of the pairs.
    pub labels: &'a [u32],
    /// Their parts.
    pub split: &'a [Split],
    /// Number of classes.
    pub classes: usize,
    /// Columns of the image and the text matrix.
    pub dims: (usize, usize),
    /// Type of all matrices.
    pub dtype: Dtype,
    /// Columns of the patches' two matrices, and where those of each pair begin.
    pub patches: Option<[(usize, &'a [u32]); 2]>,
}

/// Writes the artifact; equal features and facts give equal bytes.
///
/// # Errors
/// When the disk refuses.
///
/// # Panics
/// If the sizes or types do not fit together: a broken invariant of the caller.
pub fn write_features(path: &Path, table: &FeatureTable<'_>, facts: &BTreeMap<String, String>) -> Result<()> {
    let columns = |values: Reals<'_>, rows: usize| {
        assert!(rows > 0 && values.len().is_multiple_of(rows), "a matrix of {} values for {rows} rows", values.len());
        values.len() / rows
    };
    let rows = table.labels.len();
    let patches = table.patches.map(|sides| {
        sides.map(|PatchTable { values, starts }| {
            (columns(values, starts.last().map_or(0, |&end| end as usize)), starts)
        })
    });
    let matrices: Vec<Reals<'_>> =
        [table.image, table.text].into_iter().chain(table.patches.iter().flatten().map(|side| side.values)).collect();
    let single = |matrix: &Reals<'_>| matches!(matrix, Reals::F32(_));
    assert!(matrices.iter().all(|it| single(it) == single(&table.image)), "features are of two precisions");
    let head = Head {
        labels: table.labels,
        split: table.split,
        classes: table.classes,
        dims: (columns(table.image, rows), columns(table.text, rows)),
        dtype: if single(&table.image) { Dtype::F32 } else { Dtype::F64 },
        patches,
    };
    write_rows(path, &head, facts, |writer| {
        matrices.iter().try_for_each(|matrix| match matrix {
            Reals::F32(values) => writer.write_f32(values),
            Reals::F64(values) => writer.write_f64(values),
        })
    })
}

/// Writes an artifact whose matrices (image, text, then patches of both where there are any, row by row, all of one
/// type) come from `matrices`, so that they need not fit in memory.
///
/// # Errors
/// When the disk refuses.
///
/// # Panics
/// If labels, split and patches are of different numbers of pairs, or `matrices` writes another number of values than
/// announced.
pub fn write_rows(
    path: &Path,
    head: &Head<'_>,
    facts: &BTreeMap<String, String>,
    matrices: impl FnOnce(&mut TensorWriter) -> Result<()>,
) -> Result<()> {
    let Head { labels, split, classes, dims, dtype, patches } = *head;
    let rows = labels.len();
    assert_eq!(rows, split.len(), "labels and split differ in number");
    let mut facts = facts.clone();
    facts.insert(CLASSES.into(), classes.to_string());
    let shape = |(columns, starts): (usize, &[u32])| {
        assert_eq!(rows + 1, starts.len(), "labels and patches are of different numbers of pairs");
        ([starts[rows] as usize, columns], [starts.len()])
    };
    let shapes = patches.map(|sides| sides.map(shape));
    let wholes = [[rows, dims.0], [rows, dims.1]];
    let mut layout: Vec<(&str, Dtype, &[usize])> = vec![(IMAGE, dtype, &wholes[0]), (TEXT, dtype, &wholes[1])];
    let fine = || PATCHES.into_iter().zip(shapes.iter().flatten());
    layout.extend(fine().map(|((name, _), (matrix, _))| (name, dtype, &matrix[..])));
    let pairs = [rows];
    layout.extend([(LABELS, Dtype::U32, &pairs[..]), (SPLIT, Dtype::U32, &pairs[..])]);
    layout.extend(fine().map(|((_, name), (_, starts))| (name, Dtype::U32, &starts[..])));
    let mut writer = TensorWriter::create(path, &layout, &facts)?;
    matrices(&mut writer)?;
    writer.write_u32(labels)?;
    let codes: Vec<u32> = split.iter().map(|part| part.code()).collect();
    writer.write_u32(&codes)?;
    patches.iter().flatten().try_for_each(|(_, starts)| writer.write_u32(starts))?;
    writer.finish()
}
