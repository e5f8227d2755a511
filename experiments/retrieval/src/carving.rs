//! Validation pairs carved off the training pairs, for a method that has something to choose on a split that
//! has none of its own. Part of the protocol: the same pairs whatever the method, the run or its seed.

use crate::{features::Pairs, method::TrainingData, nn::stream::Stream};

/// Seed of the draw; part of the protocol, not of any run.
const SEED: u64 = 2026;

/// Training rows without a stratified tenth, and that tenth.
#[derive(Debug)]
pub(crate) struct Carving {
    train: Part,
    validation: Part,
}

#[derive(Debug, Default)]
struct Part {
    image: Vec<u32>,
    text: Vec<u32>,
    labels: Vec<u32>,
}

impl Carving {
    /// Draws a tenth (rounded) of each class; a class keeps at least one pair on both sides where it has two.
    pub(crate) fn of(data: &TrainingData<'_>) -> Self {
        let labels = data.train.labels;
        let mut held_out = vec![false; labels.len()];
        for label in (0u32..).take(data.classes) {
            let rows: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] == label).collect();
            let tenth = ((rows.len() + 5) / 10).max(usize::from(rows.len() > 1));
            let order = Stream::new(SEED, "carved validation", u64::from(label)).permutation(rows.len());
            order[..tenth].iter().for_each(|&place| held_out[rows[place]] = true);
        }
        let part = |wanted: bool| {
            let mut part = Part::default();
            for row in (0..labels.len()).filter(|&row| held_out[row] == wanted) {
                part.image.push(data.train.image.selection()[row]);
                part.text.push(data.train.text.selection()[row]);
                part.labels.push(labels[row]);
            }
            part
        };
        Self { train: part(false), validation: part(true) }
    }

    /// The same data with the drawn pairs for validation.
    pub(crate) fn apply<'a>(&'a self, data: &TrainingData<'a>) -> TrainingData<'a> {
        let pairs = |part: &'a Part| {
            let (image, text) =
                (data.train.image.with_selection(&part.image), data.train.text.with_selection(&part.text));
            Pairs::new(image, text, &part.labels)
        };
        TrainingData { train: pairs(&self.train), validation: pairs(&self.validation), ..*data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Rows;

    #[test]
    fn a_tenth_of_every_class_is_held_out_and_nothing_is_lost() {
        let counts = [95u32, 14, 2, 1, 0];
        let labels: Vec<u32> = (0u32..).zip(counts).flat_map(|(label, n)| (0..n).map(move |_| label)).collect();
        let n = u32::try_from(labels.len()).unwrap();
        let matrix: Vec<f64> = (0..2 * n).map(f64::from).collect();
        let selection: Vec<u32> = (0..n).rev().collect();
        let rows = Rows::new(&matrix[..], 2, &selection);
        let train = Pairs::new(rows, rows, &labels);
        let none = Pairs::new(rows.with_selection(&[]), rows.with_selection(&[]), &[]);
        let data = TrainingData::new(train, none, counts.len());
        let carving = Carving::of(&data);
        let carved = carving.apply(&data);
        assert!(carved.is_carved() && !data.is_carved());
        let held = |label: u32| carved.validation.labels.iter().filter(|&&it| it == label).count();
        assert_eq!([0, 1, 2, 3, 4].map(held), [10, 1, 1, 0, 0]);
        assert_eq!(carved.train.rows() + carved.validation.rows(), train.rows());
        // The rows stand in reverse order in the matrix, and a row's first value is twice its place there.
        let mut seen = vec![false; labels.len()];
        for pairs in [carved.train, carved.validation] {
            for place in 0..pairs.rows() {
                let row = (0..labels.len()).find(|&row| train.image.row(row) == pairs.image.row(place)).unwrap();
                assert_eq!((pairs.text.row(place), pairs.labels[place]), (train.text.row(row), labels[row]));
                assert!(!std::mem::replace(&mut seen[row], true), "row {row} stands in both parts");
            }
        }
        assert!(seen.iter().all(|&seen| seen));
    }
}
