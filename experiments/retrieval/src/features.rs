//! Features of a data set: two matrices, labels and the split, memory-mapped read-only so that all
//! attempts on a node share one copy.

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

/// Rows of features of one modality: a selection of rows of a row-major f32 matrix. Copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    matrix: &'a [f32],
    dims: usize,
    selection: &'a [u32],
}

impl<'a> Rows<'a> {
    /// The rows `selection` of a matrix with `dims` columns.
    ///
    /// # Panics
    /// If a selected row lies outside the matrix: a broken invariant of the loader.
    #[must_use]
    pub fn new(matrix: &'a [f32], dims: usize, selection: &'a [u32]) -> Self {
        assert!(
            dims > 0 && matrix.len().is_multiple_of(dims),
            "{} values are no matrix of {dims} columns",
            matrix.len()
        );
        let rows = matrix.len() / dims;
        assert!(selection.iter().all(|&row| (row as usize) < rows), "a selected row lies outside the {rows} rows");
        Self { matrix, dims, selection }
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
    pub fn row(&self, index: usize) -> &'a [f32] {
        let start = self.selection[index] as usize * self.dims;
        &self.matrix[start..start + self.dims]
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
}
