//! Features of a data set: two matrices, labels and the split, memory-mapped read-only so that all
//! attempts on a node share one copy.

use crate::patches::{Patches, SelectedPatches};

/// Part of a data set that a pair belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Encoders and methods learn from it.
    Train = 0,
    /// Methods choose with it; no encoder sees it.
    Validation = 1,
    /// Scored once, at the end.
    Test = 2,
}

impl Split {
    /// Every part, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Number in the features artifact.
    #[must_use]
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The part of that number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.code() == code)
    }

    /// Name in manifests and facts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// Features in the precision they are stored in: f32 where an encoder made them, f64 where a data set came
/// with them and closed forms are held to published figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reals<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Double precision.
    F64(&'a [f64]),
}

impl<'a> From<&'a [f32]> for Reals<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::F32(values)
    }
}

impl<'a> From<&'a [f64]> for Reals<'a> {
    fn from(values: &'a [f64]) -> Self {
        Self::F64(values)
    }
}

impl Reals<'_> {
    /// Number of values.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// One value.
    #[must_use]
    pub fn get(self, index: usize) -> f64 {
        match self {
            Self::F32(values) => f64::from(values[index]),
            Self::F64(values) => values[index],
        }
    }

    /// Every value in double precision.
    #[must_use]
    pub fn to_f64(self) -> Vec<f64> {
        match self {
            Self::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Self::F64(values) => values.to_vec(),
        }
    }

    /// Writes the values, rounded where they are wider, to `out` of the same length.
    #[allow(clippy::cast_possible_truncation)] // what a deep method reads is f32
    pub fn write_f32(self, out: &mut [f32]) {
        match self {
            Self::F32(values) => out.copy_from_slice(values),
            Self::F64(values) => out.iter_mut().zip(values).for_each(|(out, &value)| *out = value as f32),
        }
    }

    /// Writes the values to `out` of the same length.
    pub fn write_f64(self, out: &mut [f64]) {
        match self {
            Self::F32(values) => out.iter_mut().zip(values).for_each(|(out, &value)| *out = f64::from(value)),
            Self::F64(values) => out.copy_from_slice(values),
        }
    }

    /// Place of the first value that is not finite.
    #[must_use]
    pub fn first_unusable(self) -> Option<usize> {
        match self {
            Self::F32(values) => values.iter().position(|value| !value.is_finite()),
            Self::F64(values) => values.iter().position(|value| !value.is_finite()),
        }
    }

    fn range(self, range: std::ops::Range<usize>) -> Self {
        match self {
            Self::F32(values) => Self::F32(&values[range]),
            Self::F64(values) => Self::F64(&values[range]),
        }
    }
}

/// Rows of features of one modality: a selection of rows of a row-major matrix. Copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    matrix: Reals<'a>,
    dims: usize,
    selection: &'a [u32],
    patches: Option<Patches<'a>>,
}

impl<'a> Rows<'a> {
    /// The rows `selection` of a matrix with `dims` columns.
    ///
    /// # Panics
    /// If a selected row lies outside the matrix: a broken invariant of the loader.
    #[must_use]
    pub fn new(matrix: impl Into<Reals<'a>>, dims: usize, selection: &'a [u32]) -> Self {
        let matrix = matrix.into();
        assert!(
            dims > 0 && matrix.len().is_multiple_of(dims),
            "{} values are no matrix of {dims} columns",
            matrix.len()
        );
        let rows = matrix.len() / dims;
        assert!(selection.iter().all(|&row| (row as usize) < rows), "a selected row lies outside the {rows} rows");
        Self { matrix, dims, selection, patches: None }
    }

    /// The same rows with the features of the patches of every row of the matrix.
    ///
    /// # Panics
    /// If they are not of as many rows: a broken invariant of the loader.
    #[must_use]
    pub fn with_patches(self, patches: Patches<'a>) -> Self {
        assert_eq!(patches.items(), self.matrix.len() / self.dims, "items with patches and rows of the matrix");
        Self { patches: Some(patches), ..self }
    }

    /// The patches of all rows of the matrix, where the features have some.
    #[must_use]
    pub fn all_patches(&self) -> Option<Patches<'a>> {
        self.patches
    }

    /// The patches of the selected rows, where the features have some.
    #[must_use]
    pub fn patches(&self) -> Option<SelectedPatches<'a>> {
        self.patches.map(|patches| patches.of(self.selection))
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.selection.len()
    }

    /// Columns.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// One row.
    #[must_use]
    pub fn row(&self, index: usize) -> Reals<'a> {
        let start = self.selection[index] as usize * self.dims;
        self.matrix.range(start..start + self.dims)
    }

    /// All rows in double precision, row-major.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        let mut out = vec![0.0; self.rows() * self.dims];
        out.chunks_exact_mut(self.dims).enumerate().for_each(|(index, out)| self.row(index).write_f64(out));
        out
    }

    /// Which rows of the matrix these are.
    #[must_use]
    pub fn selection(&self) -> &'a [u32] {
        self.selection
    }

    /// Other rows of the same matrix.
    ///
    /// # Panics
    /// As [`Rows::new`].
    #[must_use]
    pub fn with_selection<'b>(&self, selection: &'b [u32]) -> Rows<'b>
    where
        'a: 'b,
    {
        Rows { patches: self.patches, ..Rows::new(self.matrix, self.dims, selection) }
    }
}

/// Image/text pairs with their labels: row n of each belongs to pair n.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// Image features.
    pub image: Rows<'a>,
    /// Text features.
    pub text: Rows<'a>,
    /// Class of each pair.
    pub labels: &'a [u32],
}

impl<'a> Pairs<'a> {
    /// Joins the two sides.
    ///
    /// # Panics
    /// If the counts differ: a broken invariant of the loader.
    #[must_use]
    pub fn new(image: Rows<'a>, text: Rows<'a>, labels: &'a [u32]) -> Self {
        assert!(
            image.rows() == text.rows() && text.rows() == labels.len(),
            "images, texts and labels differ in number"
        );
        Self { image, text, labels }
    }

    /// Number of pairs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// None of the pairs, as wide as they are.
    #[must_use]
    pub fn none(&self) -> Self {
        Self { image: self.image.with_selection(&[]), text: self.text.with_selection(&[]), labels: &[] }
    }
}
