//! Scores against a plain implementation of their definitions (spec part D), and the sanity properties
//! of spec G.2, 1 to 5.

mod chance;
mod definition;

use experiment_spec::scores::{Normalisation, Score, Task};
use proptest::prelude::*;
use retrieval::{
    error::Error,
    method::{Embedding, EmbeddingValues},
    metrics::map::{bi_modal_average, evaluate, image_to_text, of_similarities},
    nn::{gemm::set_threads, stream::Stream},
};

type Rows = Vec<Vec<f64>>;

#[allow(clippy::cast_precision_loss)]
fn number(n: usize) -> f64 {
    n as f64
}

fn double(rows: &Rows) -> Embedding {
    Embedding { rows: rows.len(), dims: rows[0].len(), values: EmbeddingValues::F64(rows.concat()) }
}

#[allow(clippy::cast_possible_truncation)]
fn single(rows: &Rows) -> Embedding {
    let values = rows.concat().into_iter().map(|value| value as f32).collect();
    Embedding { rows: rows.len(), dims: rows[0].len(), values: EmbeddingValues::F32(values) }
}

fn of(scores: &[Score], normalisation: Normalisation, task: Task) -> &Score {
    let wanted = |score: &&Score| score.normalisation == normalisation && score.task == task;
    scores.iter().find(wanted).expect("a score for every task and normalisation")
}

fn random(rows: usize, dims: usize, stream: &mut Stream) -> Rows {
    (0..rows).map(|_| (0..dims).map(|_| stream.normal()).collect()).collect()
}

/// Rows with sixteen entries of +-1 and the rest 0: the unit rows hold +-1/4, so that all similarities are
/// whole sixteenths in any arithmetic, and most are tied. Every ninth row is zero.
fn tied(rows: usize, stream: &mut Stream) -> Rows {
    let row = |number: usize| {
        let mut row = vec![0.0; 24];
        if !number.is_multiple_of(9) {
            for place in &stream.permutation(24)[..16] {
                row[*place] = if stream.below(2) == 0 { 1.0 } else { -1.0 };
            }
        }
        row
    };
    (0..rows).map(row).collect()
}

fn assert_close(got: &Score, want: &Score, tolerance: f64) {
    let name = format!("{} {}", want.task.name(), want.normalisation.name());
    assert_eq!((got.task, got.normalisation), (want.task, want.normalisation));
    assert!((got.map - want.map).abs() < tolerance, "{name}: {} {}", got.map, want.map);
    assert!((got.tied_share - want.tied_share).abs() < tolerance, "{name}: {} {}", got.tied_share, want.tied_share);
    assert_eq!((got.per_category.len(), got.precision_recall.len()), (want.per_category.len(), 100));
    for (class, values) in got.per_category.iter().zip(&want.per_category).enumerate() {
        let close = match values {
            (Some(got), Some(want)) => (got - want).abs() < tolerance,
            (got, want) => got == want,
        };
        assert!(close, "{name}, class {class}: {values:?}");
    }
    for (point, (got, want)) in got.precision_recall.iter().zip(&want.precision_recall).enumerate() {
        assert!((got - want).abs() < tolerance, "{name}, recall 0.{point:02}: {got} {want}");
    }
}

#[test]
fn scores_agree_with_their_definitions() {
    let mut stream = Stream::new(1, "scores", 0);
    // Few relevant items (ranks by counting) and many (ranks by sorting); class 5 of the first is empty.
    for (pairs, present, classes) in [(61, 5, 6), (300, 2, 2)] {
        let labels: Vec<u32> = (0..pairs).map(|_| u32::try_from(stream.below(present)).expect("few")).collect();
        let (image, text) = (random(pairs, 9, &mut stream), random(pairs, 9, &mut stream));
        let want = definition::evaluate(&image, &text, &labels, classes);
        let got = evaluate(&double(&image), &double(&text), &labels, classes).expect("scores");
        assert_eq!(got.len(), 12);
        got.iter().zip(&want).for_each(|(got, want)| assert_close(got, want, 1e-12));
        // In f32 near neighbours may change places.
        let got = evaluate(&single(&image), &single(&text), &labels, classes).expect("scores");
        got.iter().zip(&want).for_each(|(got, want)| assert!((got.map - want.map).abs() < 1e-3));
    }
}

#[test]
fn tied_scores_agree_with_their_definitions() {
    let mut stream = Stream::new(2, "ties", 0);
    for (pairs, classes) in [(70, 7), (290, 2)] {
        let labels: Vec<u32> = (0..pairs).map(|_| u32::try_from(stream.below(classes)).expect("few")).collect();
        let (image, text) = (tied(pairs, &mut stream), tied(pairs, &mut stream));
        let want = definition::evaluate(&image, &text, &labels, classes);
        for scores in [
            evaluate(&double(&image), &double(&text), &labels, classes).expect("scores"),
            evaluate(&single(&image), &single(&text), &labels, classes).expect("scores"),
        ] {
            for task in Task::ALL {
                let want = of(&want, Normalisation::None, task);
                assert!(want.tied_share > 0.5, "the data are tied: {}", want.tied_share);
                assert_close(of(&scores, Normalisation::None, task), want, 1e-12);
            }
        }
    }
}

#[test]
fn given_similarities_are_ranked_by_definition() {
    let mut stream = Stream::new(3, "similarities", 0);
    for (items, classes, levels) in [(200, 20, 3), (200, 2, 3), (150, 10, 1000), (300, 1, 2)] {
        let labels: Vec<u32> = (0..items).map(|_| u32::try_from(stream.below(classes)).expect("few")).collect();
        let level = |stream: &mut Stream| {
            let value = number(stream.below(levels)) - number(levels / 2);
            // Minus zero is zero.
            if value == 0.0 && stream.below(2) == 0 { -0.0 } else { value / 4.0 }
        };
        let values: Vec<f64> = (0..items * items).map(|_| level(&mut stream)).collect();
        let plus_zero: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
        let want: Vec<f64> = plus_zero
            .chunks_exact(items)
            .zip(&labels)
            .map(|(row, &label)| definition::average_precision(&definition::rank(row, &labels, label, None).0))
            .collect();
        #[allow(clippy::cast_possible_truncation)]
        let narrow = values.iter().map(|&value| value as f32).collect();
        for values in [EmbeddingValues::F64(values), EmbeddingValues::F32(narrow)] {
            let got = of_similarities(&values, &labels).expect("whole rows of numbers");
            assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-12));
        }
    }
    let nan = of_similarities(&EmbeddingValues::F32(vec![0.0, f32::NAN]), &[0, 1]);
    assert!(matches!(nan, Err(Error::Data(text)) if text.contains("similarity 0, 1")));
    assert!(of_similarities(&EmbeddingValues::F32(vec![0.0; 3]), &[0, 1]).is_err());
}

#[test]
fn a_perfect_embedding_scores_one_in_any_order() {
    let mut stream = Stream::new(4, "perfect", 0);
    for _ in 0..5 {
        let labels: Vec<u32> = stream.permutation(60).iter().map(|&i| u32::try_from(i % 6).expect("few")).collect();
        let one_hot = |label: &u32| (0..6).map(|class| f64::from(u8::from(class == *label))).collect();
        let rows: Rows = labels.iter().map(one_hot).collect();
        for scores in [
            evaluate(&double(&rows), &double(&rows), &labels, 6).expect("scores"),
            evaluate(&single(&rows), &single(&rows), &labels, 6).expect("scores"),
        ] {
            for score in scores.iter().filter(|score| score.normalisation == Normalisation::None) {
                assert_eq!(score.map.to_bits(), 1.0f64.to_bits(), "{}", score.task.name());
                assert!(score.precision_recall.iter().all(|&precision| (precision - 1.0).abs() < 1e-12));
            }
        }
    }
}

#[test]
fn chance_levels_are_those_of_the_spec() {
    let wikipedia = [34, 88, 96, 85, 65, 58, 51, 41, 71, 104];
    for (sizes, table) in [
        (vec![5; 20], [0.0902, 0.1787, 0.0687]),
        (vec![20; 200], [0.0070, 0.0317, 0.0059]),
        (wikipedia.to_vec(), [0.1184, 0.1244, 0.1142]),
    ] {
        for (level, table) in chance::levels(&sizes).iter().zip(table) {
            assert!((level - table).abs() < 5.1e-5, "{level} {table}");
        }
    }
}

#[test]
fn random_embeddings_score_at_chance() {
    let labels: Vec<u32> = (0..100).map(|pair| pair % 20).collect();
    let [bi_modal, all, self_out] = chance::levels(&[5; 20]);
    let mut maps = vec![Vec::new(); Task::ALL.len()];
    for seed in 0..50 {
        let mut stream = Stream::new(seed, "chance", 0);
        let (image, text) = (random(100, 12, &mut stream), random(100, 12, &mut stream));
        let scores = evaluate(&single(&image), &single(&text), &labels, 20).expect("scores");
        for (maps, task) in maps.iter_mut().zip(Task::ALL) {
            maps.push(of(&scores, Normalisation::None, task).map);
        }
    }
    for ((maps, want), task) in maps.iter().zip([bi_modal, bi_modal, all, all, self_out, self_out]).zip(Task::ALL) {
        let mean = maps.iter().sum::<f64>() / 50.0;
        let error = (maps.iter().map(|map| (map - mean).powi(2)).sum::<f64>() / 49.0 / 50.0).sqrt();
        assert!((mean - want).abs() < 3.0 * error, "{}: {mean} +- {error}, expected {want}", task.name());
        assert!(error < 0.01 * 0.2, "{}: 50 seeds tell chance from its neighbours: {error}", task.name());
    }
}

#[test]
fn the_query_itself_stands_first_whatever_ties_with_it() {
    // Two pairs of different classes, all four items the same: gallery i0 i1 t0 t1, all similarities 1. Query i0
    // ranks i0 i1 t0 t1: (1 + 2/3)/2. Query i1 ranks i1 i0 t0 t1: (1 + 2/4)/2. Query t0: t0 i0 i1 t1: 1.
    // Query t1: t1 i0 i1 t0: (1 + 2/3)/2. Without themselves: 1/2, 1/3; 1, 1/2.
    let rows = vec![vec![0.3, 0.7, 0.1]; 2];
    for scores in
        [evaluate(&single(&rows), &single(&rows), &[0, 1], 2), evaluate(&double(&rows), &double(&rows), &[0, 1], 2)]
    {
        let scores = scores.expect("scores");
        for (task, want) in [
            (Task::ImageToAll, [5.0 / 6.0, 0.75]),
            (Task::TextToAll, [1.0, 5.0 / 6.0]),
            (Task::ImageToAllSelfOut, [0.5, 1.0 / 3.0]),
            (Task::TextToAllSelfOut, [1.0, 0.5]),
        ] {
            let got = &of(&scores, Normalisation::None, task).per_category;
            assert!(got.iter().zip(want).all(|(got, want)| (got.unwrap() - want).abs() < 1e-15), "{task:?}: {got:?}");
        }
    }
}

#[test]
fn zero_rows_are_similar_to_nothing() {
    // Gallery rows with cosines 0.6, 0 (a zero row) and -0.8 to the query of pair 0: the zero row comes second.
    let image = vec![vec![1.0, 0.0], vec![0.0, 0.0], vec![0.0, 1.0]];
    let text = vec![vec![0.6, 0.8], vec![0.0, 0.0], vec![-0.8, 0.6]];
    let precisions = image_to_text(&single(&image), &single(&text), &[0, 1, 1]).expect("usable");
    // Query 0: its item is first, AP 1. Query 1 (zero): all tied, so by index: relevant at ranks 2 and 3,
    // (1/2 + 2/3)/2. Query 2: cosines 0.8, 0, 0.6: relevant at ranks 2 (item 2) and 3 (item 1).
    let want = [1.0, 7.0 / 12.0, 7.0 / 12.0];
    assert!(precisions.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-15), "{precisions:?}");
}

#[test]
fn what_cannot_be_scored_is_refused_with_its_place() {
    let rows = vec![vec![1.0, 2.0], vec![3.0, 4.0]];
    let good = single(&rows);
    let refused = |image: &Embedding, text: &Embedding, labels: &[u32], sentence: &str| {
        let error = evaluate(image, text, labels, 2).expect_err("it must be refused").to_string();
        assert!(error.contains(sentence), "{error}");
    };
    let bad = single(&vec![vec![1.0, 2.0], vec![f64::NAN, 4.0]]);
    refused(&good, &bad, &[0, 1], "row 1, column 0 of the text embedding is NaN");
    let infinite = double(&vec![vec![1.0, f64::INFINITY], vec![0.0, 4.0]]);
    refused(&infinite, &double(&rows), &[0, 1], "row 0, column 1 of the image embedding is inf");
    refused(&good, &double(&rows), &[0, 1], "one embedding is f32 and the other f64");
    refused(&good, &good, &[0, 2], "pair 1 has label 2, but there are 2 classes");
    refused(&good, &good, &[0, 1, 1], "the image embedding has 2 rows of 2 columns");
    refused(&good, &single(&vec![vec![1.0]; 2]), &[0, 1], "the text embedding has 2 rows of 1 columns");
    refused(&good, &Embedding { dims: 3, ..good.clone() }, &[0, 1], "in 4 values");
    let none = Embedding { rows: 0, dims: 2, values: EmbeddingValues::F32(vec![]) };
    refused(&none, &none, &[], "the split is empty");
    assert!(bi_modal_average(&good, &bad, &[0, 1]).is_err());
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let mut stream = Stream::new(6, "threads", 0);
    let labels: Vec<u32> = (0..333).map(|pair| pair % 9).collect();
    let (image, text) = (single(&random(333, 40, &mut stream)), single(&random(333, 40, &mut stream)));
    let run = |threads| {
        set_threads(threads);
        evaluate(&image, &text, &labels, 9).expect("scores")
    };
    let one = run(1);
    for threads in [2, 3, 5, 16] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
    let average = bi_modal_average(&image, &text, &labels).expect("usable");
    let of_scores = |task| of(&one, Normalisation::None, task).map;
    let want = f64::midpoint(of_scores(Task::ImageToText), of_scores(Task::TextToImage));
    assert_eq!(average.to_bits(), want.to_bits(), "validation and test are scored alike");
}

/// Reflects every row at the plane that `normal` stands on.
fn reflect(rows: &Rows, normal: &[f64]) -> Rows {
    let square: f64 = normal.iter().map(|v| v * v).sum();
    let reflected = |row: &Vec<f64>| {
        let along: f64 = row.iter().zip(normal).map(|(a, b)| a * b).sum::<f64>() * 2.0 / square;
        row.iter().zip(normal).map(|(a, b)| a - along * b).collect()
    };
    rows.iter().map(reflected).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_invariances_of_cosine_hold(seed in any::<u64>(), pairs in 12usize..60, classes in 2u32..5) {
        let mut stream = Stream::new(seed, "invariances", 0);
        let labels: Vec<u32> = (0..pairs).map(|pair| u32::try_from(pair).expect("few") % classes).collect();
        let (image, text) = (random(pairs, 6, &mut stream), random(pairs, 6, &mut stream));
        let maps = |image: &Rows, text: &Rows, labels: &[u32]| -> Vec<f64> {
            let scores = evaluate(&double(image), &double(text), labels, 5).expect("scores");
            Task::ALL.iter().map(|&task| of(&scores, Normalisation::None, task).map).collect()
        };
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        let plain = maps(&image, &text, &labels);
        // Scaling rows.
        let scaled = |rows: &Rows, stream: &mut Stream| -> Rows {
            rows.iter().map(|row| { let by = libm::exp(stream.uniform_in(-9.0, 9.0)); row.iter().map(|v| v * by).collect() }).collect()
        };
        let (scaled_image, scaled_text) = (scaled(&image, &mut stream), scaled(&text, &mut stream));
        prop_assert!(close(&plain, &maps(&scaled_image, &scaled_text, &labels)));
        // A common rotation (two reflections); of one side only, it changes the scores between the sides.
        let (u, v) = (random(1, 6, &mut stream), random(1, 6, &mut stream));
        let rotate = |rows: &Rows| reflect(&reflect(rows, &u[0]), &v[0]);
        prop_assert!(close(&plain, &maps(&rotate(&image), &rotate(&text), &labels)));
        prop_assert!(!close(&plain[..2], &maps(&rotate(&image), &text, &labels)[..2]));
        // Reordering the pairs, and so the gallery.
        let order = stream.permutation(pairs);
        let reorder = |rows: &Rows| -> Rows { order.iter().map(|&row| rows[row].clone()).collect() };
        let reordered: Vec<u32> = order.iter().map(|&pair| labels[pair]).collect();
        prop_assert!(close(&plain, &maps(&reorder(&image), &reorder(&text), &reordered)));
        // Other names for the classes.
        let names = stream.permutation(5);
        let renamed: Vec<u32> = labels.iter().map(|&label| u32::try_from(names[label as usize]).expect("few")).collect();
        prop_assert!(close(&plain, &maps(&image, &text, &renamed)));
    }

    #[test]
    fn swapping_the_sides_swaps_the_tasks_exactly(seed in any::<u64>(), pairs in 2usize..90) {
        let mut stream = Stream::new(seed, "symmetry", 0);
        let labels: Vec<u32> = (0..pairs).map(|_| u32::try_from(stream.below(4)).expect("few")).collect();
        let (image, text) = (random(pairs, 7, &mut stream), random(pairs, 7, &mut stream));
        // In f32 some neighbours are tied by chance, and the all-modal gallery changes its order.
        for (image, text, tasks) in [(single(&image), single(&text), 1), (double(&image), double(&text), 3)] {
            let scores = evaluate(&image, &text, &labels, 4).expect("scores");
            let swapped = evaluate(&text, &image, &labels, 4).expect("scores");
            for tasks in Task::ALL.chunks(2).take(tasks) {
                for (one, other) in [(tasks[0], tasks[1]), (tasks[1], tasks[0])] {
                    for normalisation in Normalisation::ALL {
                        let (score, same) = (of(&scores, normalisation, one), of(&swapped, normalisation, other));
                        prop_assert_eq!(score.map.to_bits(), same.map.to_bits());
                        prop_assert_eq!(&score.per_category, &same.per_category);
                    }
                }
            }
        }
    }

    #[test]
    fn the_mean_over_classes_weighted_by_queries_is_map(seed in any::<u64>(), pairs in 2usize..80) {
        let mut stream = Stream::new(seed, "categories", 0);
        let labels: Vec<u32> = (0..pairs).map(|_| u32::try_from(stream.below(7)).expect("few")).collect();
        let (image, text) = (single(&random(pairs, 5, &mut stream)), single(&random(pairs, 5, &mut stream)));
        for score in evaluate(&image, &text, &labels, 7).expect("scores") {
            let queries = |class: usize| number(labels.iter().filter(|label| **label as usize == class).count());
            let sum: f64 = score.per_category.iter().enumerate().map(|(c, map)| map.unwrap_or(0.0) * queries(c)).sum();
            prop_assert!((sum / number(pairs) - score.map).abs() < 1e-12);
        }
    }
}
