//! The fine grain of features: those of the patches of images and of the segments of texts, several to a whole.

use crate::features::{Reals, Rows};

/// Features of the patches of every image of a data set, or of the segments of every text. Copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct Patches<'a> {
    matrix: Reals<'a>,
    dims: usize,
    starts: &'a [u32],
}

impl<'a> Patches<'a> {
    /// Those of item n are the rows from `starts[n]` to before `starts[n + 1]` of a matrix with `dims` columns.
    ///
    /// # Errors
    /// What is wrong with the numbers, in a sentence: every item has at least one patch and no row is left over.
    pub fn new(matrix: impl Into<Reals<'a>>, dims: usize, starts: &'a [u32]) -> Result<Self, String> {
        let matrix = matrix.into();
        if dims == 0 || !matrix.len().is_multiple_of(dims) {
            return Err(format!("{} values are no matrix of {dims} columns", matrix.len()));
        }
        let rows = matrix.len() / dims;
        match (starts.first(), starts.last()) {
            (Some(0), Some(&end)) if end as usize == rows => {}
            ends => return Err(format!("patches from {ends:?} of {rows} rows")),
        }
        match starts.windows(2).position(|pair| pair[0] >= pair[1]) {
            Some(item) => Err(format!("row {item} has no patch")),
            None => Ok(Self { matrix, dims, starts }),
        }
    }

    /// Number of items.
    #[must_use]
    pub fn items(&self) -> usize {
        self.starts.len() - 1
    }

    /// The patches of some of the items, item by item.
    ///
    /// # Panics
    /// If there is no such item: a broken invariant of the caller.
    #[must_use]
    pub fn of(&self, items: &[u32]) -> SelectedPatches<'a> {
        let spans = items.iter().map(|&item| self.starts[item as usize]..self.starts[item as usize + 1]);
        let counts = spans.clone().map(|span| span.len()).collect();
        SelectedPatches { patches: *self, selection: spans.flatten().collect(), counts }
    }
}

/// Patches of some items, item by item.
#[derive(Clone, Debug)]
pub struct SelectedPatches<'a> {
    patches: Patches<'a>,
    selection: Vec<u32>,
    counts: Vec<usize>,
}

impl SelectedPatches<'_> {
    /// The features of all of them.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        Rows::new(self.patches.matrix, self.patches.dims, &self.selection)
    }

    /// How many each item has; at least one.
    #[must_use]
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_follow_the_selection_of_their_items() {
        let wholes: Vec<f32> = vec![0.0, 10.0, 20.0];
        let parts: Vec<f32> = (0..12).map(|v: u8| f32::from(v)).collect();
        let starts = [0, 1, 4, 6];
        let patches = Patches::new(&parts[..], 2, &starts).unwrap();
        let rows = Rows::new(&wholes[..], 1, &[0, 1, 2]).with_patches(patches);
        let some = rows.with_selection(&[2, 0, 2]);
        let selected = some.patches().unwrap();
        assert_eq!(selected.counts(), [2, 1, 2]);
        assert_eq!(selected.rows().to_f64(), [8.0, 9.0, 10.0, 11.0, 0.0, 1.0, 8.0, 9.0, 10.0, 11.0]);
        assert_eq!(rows.with_selection(&[1]).patches().unwrap().rows().rows(), 3);
        assert!(Rows::new(&wholes[..], 1, &[0]).patches().is_none());
    }

    #[test]
    fn numbers_that_do_not_fit_are_told() {
        let parts = [0.0f64; 12];
        for (dims, starts, what) in [
            (5, &[0, 2][..], "12 values are no matrix of 5 columns"),
            (0, &[0, 2], "12 values are no matrix of 0 columns"),
            (2, &[], "patches from (None, None) of 6 rows"),
            (2, &[1, 6], "patches from (Some(1), Some(6)) of 6 rows"),
            (2, &[0, 5], "patches from (Some(0), Some(5)) of 6 rows"),
            (2, &[0, 3, 3, 6], "row 1 has no patch"),
            (2, &[0, 4, 2, 6], "row 1 has no patch"),
        ] {
            assert_eq!(Patches::new(&parts[..], dims, starts).unwrap_err(), what);
        }
    }
}
