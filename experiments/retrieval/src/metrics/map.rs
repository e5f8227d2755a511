//! Mean average precision of an embedding of the test split (spec D.1 to D.5): every task under both
//! normalisations, per category, with precision-recall and ties.
//!
//! Unit: none, 0 to 1, higher is better. f32 embeddings are compared by an f32 product, f64 ones by an
//! f64 product; ranks and precisions are exact from there on. Results are the same bits for any number
//! of threads.

use experiment_spec::scores::{Normalisation, Score, Task};

use super::{
    average_precision::{average_precision, count},
    cosine::{Columns, find_unusable, unit_rows},
    ranks::{Ranker, Similarity},
    sweep::{BLOCK_BYTES, Sweep, Tally},
};
use crate::{
    error::{Error, Result},
    method::{Embedding, EmbeddingValues},
};

/// Scores the embeddings of n images and n texts (rows x dims each; row n of both belongs to pair n):
/// one score for each task and normalisation, normalisations outermost, in the order of their `ALL`.
///
/// # Errors
/// [`Error::Data`] when the two sides and the labels do not fit together, a label is not below
/// `classes`, or a value cannot be compared (not a number, infinite): the sentence names row and column.
pub fn evaluate(image: &Embedding, text: &Embedding, labels: &[u32], classes: usize) -> Result<Vec<Score>> {
    check(image, text, labels)?;
    if let Some(pair) = labels.iter().position(|&label| label as usize >= classes) {
        return Err(Error::Data(format!(
            "pair {pair} has label {}, but there are {classes} classes, counted from 0",
            labels[pair]
        )));
    }
    match (&image.values, &text.values) {
        (EmbeddingValues::F32(i), EmbeddingValues::F32(t)) => Ok(scores(i, t, image.dims, labels, classes)),
        (EmbeddingValues::F64(i), EmbeddingValues::F64(t)) => Ok(scores(i, t, image.dims, labels, classes)),
        _ => Err(mixed()),
    }
}

/// Average of image->text and text->image without normalisation: what methods choose by on validation.
///
/// # Errors
/// As [`evaluate`].
pub fn bi_modal_average(image: &Embedding, text: &Embedding, labels: &[u32]) -> Result<f64> {
    check(image, text, labels)?;
    match (&image.values, &text.values) {
        (EmbeddingValues::F32(i), EmbeddingValues::F32(t)) => Ok(average_of_both(i, t, image.dims, labels)),
        (EmbeddingValues::F64(i), EmbeddingValues::F64(t)) => Ok(average_of_both(i, t, image.dims, labels)),
        _ => Err(mixed()),
    }
}

fn average_of_both<T: Similarity>(image: &[T], text: &[T], dims: usize, labels: &[u32]) -> f64 {
    let (image, text) = (unit_rows(image, dims, None), unit_rows(text, dims, None));
    let one_way = |queries, gallery| mean(&precisions(queries, gallery, dims, labels));
    f64::midpoint(one_way(&image, &text), one_way(&text, &image))
}

/// Average precision of every image as a query for the texts, without normalisation.
///
/// # Errors
/// As [`evaluate`].
pub fn image_to_text(image: &Embedding, text: &Embedding, labels: &[u32]) -> Result<Vec<f64>> {
    fn of<T: Similarity>(image: &[T], text: &[T], dims: usize, labels: &[u32]) -> Vec<f64> {
        precisions(&unit_rows(image, dims, None), &unit_rows(text, dims, None), dims, labels)
    }
    check(image, text, labels)?;
    match (&image.values, &text.values) {
        (EmbeddingValues::F32(i), EmbeddingValues::F32(t)) => Ok(of(i, t, image.dims, labels)),
        (EmbeddingValues::F64(i), EmbeddingValues::F64(t)) => Ok(of(i, t, image.dims, labels)),
        _ => Err(mixed()),
    }
}

fn precisions<T: Similarity>(queries: &[T], gallery: &[T], dims: usize, labels: &[u32]) -> Vec<f64> {
    let [tally, _] =
        Sweep { queries, galleries: &[gallery], own: None, dims, labels, in_full: false, block_bytes: BLOCK_BYTES }
            .run();
    tally.average_precision
}

/// Average precision of every row of given similarities: row q ranks the items of `labels`, and those of
/// the class of item q are relevant. For checks against other programs on the same similarities.
///
/// # Errors
/// [`Error::Data`] when the values are not whole rows, at most one an item, or one is NaN.
pub fn of_similarities(similarities: &EmbeddingValues, labels: &[u32]) -> Result<Vec<f64>> {
    fn of<T: Similarity>(similarities: &[T], labels: &[u32]) -> Result<Vec<f64>> {
        let items = labels.len();
        if items == 0 || !similarities.len().is_multiple_of(items) || similarities.len() / items > items {
            return Err(Error::Data(format!("{} similarities are no rows of {items} items", similarities.len())));
        }
        if let Some(index) = similarities.iter().position(|value| value.is_nan()) {
            return Err(Error::Data(format!("similarity {}, {} is not a number", index / items, index % items)));
        }
        let mut ranker = Ranker::new();
        let rows = similarities.chunks_exact(items).zip(labels);
        Ok(rows
            .map(|(row, label)| {
                let same_class = (0u32..).zip(labels).filter(|(_, other)| *other == label);
                let relevant: Vec<u32> = same_class.map(|(item, _)| item).collect();
                average_precision(ranker.ranks(&[row], &relevant))
            })
            .collect())
    }
    match similarities {
        EmbeddingValues::F32(values) => of(values, labels),
        EmbeddingValues::F64(values) => of(values, labels),
    }
}

fn mixed() -> Error {
    Error::Data("one embedding is f32 and the other f64: a method embeds both sides in one element type".into())
}

/// That the two sides and the labels fit together and every value can be compared.
fn check(image: &Embedding, text: &Embedding, labels: &[u32]) -> Result<()> {
    if labels.is_empty() {
        return Err(Error::Data("there is no pair to score: the split is empty".into()));
    }
    if u32::try_from(2 * labels.len()).is_err() {
        return Err(Error::Data(format!("{} pairs are too many to rank (at most 2^31)", labels.len())));
    }
    for (side, embedding) in [("image", image), ("text", text)] {
        let Embedding { rows, dims, values } = embedding;
        let held = match values {
            EmbeddingValues::F32(values) => values.len(),
            EmbeddingValues::F64(values) => values.len(),
        };
        if *rows != labels.len() || *dims == 0 || *dims != image.dims || Some(held) != rows.checked_mul(*dims) {
            return Err(Error::Data(format!(
                "the {side} embedding has {rows} rows of {dims} columns in {held} values, but {} rows of {} are wanted",
                labels.len(),
                image.dims.max(1),
            )));
        }
        if let Some((row, column, value)) = find_unusable(embedding) {
            return Err(Error::Data(format!("row {row}, column {column} of the {side} embedding is {value}")));
        }
    }
    Ok(())
}

fn scores<T: Similarity>(image: &[T], text: &[T], dims: usize, labels: &[u32], classes: usize) -> Vec<Score> {
    let raw = [unit_rows(image, dims, None), unit_rows(text, dims, None)];
    let mut scores = Vec::new();
    for normalisation in Normalisation::ALL {
        let tallies = match normalisation {
            Normalisation::None => rankings([&raw[0], &raw[1]], [&raw[0], &raw[1]], dims, labels),
            Normalisation::Authors => {
                let z_scored = |values| unit_rows(values, dims, Some(&Columns::of(values, dims)));
                rankings([&z_scored(image), &z_scored(text)], [&raw[0], &raw[1]], dims, labels)
            }
        };
        let of_tasks = Task::ALL.iter().zip(&tallies);
        scores.extend(of_tasks.map(|(&task, tally)| score(normalisation, task, tally, labels, classes)));
    }
    scores
}

/// One tally a task, in the order of [`Task::ALL`]. `[image, text]` are queries and the all-modal gallery; the
/// galleries of the other modality are the `raw` ones: there the authors z-score the query side only.
fn rankings<T: Similarity>([image, text]: [&[T]; 2], raw: [&[T]; 2], dims: usize, labels: &[u32]) -> [Tally; 6] {
    let sweep = |queries, galleries: &[&[T]], own| {
        Sweep { queries, galleries, own, dims, labels, in_full: true, block_bytes: BLOCK_BYTES }.run()
    };
    let [image_to_text, _] = sweep(image, &[raw[1]], None);
    let [text_to_image, _] = sweep(text, &[raw[0]], None);
    let [image_to_all, image_self_out] = sweep(image, &[image, text], Some(0));
    let [text_to_all, text_self_out] = sweep(text, &[image, text], Some(1));
    [image_to_text, text_to_image, image_to_all, text_to_all, image_self_out, text_self_out]
}

fn score(normalisation: Normalisation, task: Task, tally: &Tally, labels: &[u32], classes: usize) -> Score {
    let mut sums = vec![(0.0, 0usize); classes];
    for (value, &label) in tally.average_precision.iter().zip(labels) {
        let (sum, queries) = &mut sums[label as usize];
        *sum += value;
        *queries += 1;
    }
    let queries = count(labels.len());
    Score {
        task,
        normalisation,
        map: mean(&tally.average_precision),
        per_category: sums.iter().map(|&(sum, queries)| (queries > 0).then(|| sum / count(queries))).collect(),
        precision_recall: tally.curve.iter().map(|sum| sum / queries).collect(),
        tied_share: if tally.neighbours == 0 { 0.0 } else { count(tally.tied) / count(tally.neighbours) },
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / count(values.len())
}
