//! Part D of the spec as it stands there, in f64, without regard to time.

use super::{Normalisation, Rows, Score, Task, number};

fn z_scored(rows: &Rows) -> Rows {
    let n = number(rows.len());
    let mut out = rows.clone();
    for column in 0..rows[0].len() {
        let mean = rows.iter().map(|row| row[column]).sum::<f64>() / n;
        let variance = rows.iter().map(|row| (row[column] - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        for row in &mut out {
            row[column] = (row[column] - mean) / deviation;
        }
    }
    out
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
    let (norm_a, norm_b) = (norm(a), norm(b));
    a.iter().zip(b).map(|(x, y)| x / norm_a * (y / norm_b)).sum()
}

/// Ranks `gallery` (rows with their labels) by falling similarity: relevance by rank, and the tied pairs of
/// neighbours. The item `own` stands first, whatever its similarity.
pub(super) fn rank(similarities: &[f64], labels: &[u32], label: u32, own: Option<usize>) -> (Vec<bool>, usize) {
    let mut order: Vec<(f64, bool)> =
        similarities.iter().zip(labels).map(|(&similarity, &other)| (similarity, other == label)).collect();
    if let Some(own) = own {
        order[own].0 = f64::INFINITY;
    }
    order.sort_by(|a, b| b.0.partial_cmp(&a.0).expect("numbers"));
    let ties = order.windows(2).filter(|pair| pair[0].0.total_cmp(&(pair[1].0)).is_eq()).count();
    (order.into_iter().map(|(_, relevant)| relevant).collect(), ties)
}

pub(super) fn average_precision(relevance: &[bool]) -> f64 {
    let (mut met, mut sum) = (0, 0.0);
    for (k, &relevant) in (1..).zip(relevance) {
        if relevant {
            met += 1;
            sum += number(met) / number(k);
        }
    }
    sum / number(met)
}

/// Precision at each recall: the straight lines through (0, 1) and (`R_k`/R, `R_k`/k).
fn curve(relevance: &[bool]) -> Vec<f64> {
    let total = relevance.iter().filter(|relevant| **relevant).count();
    let mut points = vec![(0, 1.0)];
    for (k, &relevant) in (1..).zip(relevance) {
        let met = points[k - 1].0 + usize::from(relevant);
        points.push((met, number(met) / number(k)));
    }
    let at = |percent: usize| {
        let reached = points.iter().find(|(met, _)| 100 * met == percent * total);
        reached.map_or_else(
            || {
                let end = points.iter().position(|(met, _)| 100 * met > percent * total).expect("recall 1");
                let ((x, y), (_, to)) = (points[end - 1], points[end]);
                y + (to - y) * (number(percent * total) / 100.0 - number(x))
            },
            |(_, precision)| *precision,
        )
    };
    (1..=100).map(at).collect()
}

fn score(normalisation: Normalisation, task: Task, sides: [&Rows; 2], labels: &[u32], classes: usize) -> Score {
    let z = sides.map(z_scored);
    let raw = sides;
    let queries_are_text = matches!(task, Task::TextToImage | Task::TextToAll | Task::TextToAllSelfOut);
    let side = usize::from(queries_are_text);
    let bi_modal = matches!(task, Task::ImageToText | Task::TextToImage);
    let authors = normalisation == Normalisation::Authors;
    let queries = if authors { &z[side] } else { raw[side] };
    let gallery: Rows = match (bi_modal, authors) {
        (true, _) => raw[1 - side].clone(),
        (false, false) => raw.map(Clone::clone).concat(),
        (false, true) => z.concat(),
    };
    let own_at = side * labels.len();
    let self_out = matches!(task, Task::ImageToAllSelfOut | Task::TextToAllSelfOut);
    let (mut precisions, mut curves, mut ties, mut neighbours) = (vec![], vec![0.0; 100], 0, 0);
    for (q, query) in queries.iter().enumerate() {
        let mut similarities: Vec<f64> = gallery.iter().map(|item| cosine(query, item)).collect();
        let mut of_gallery: Vec<u32> = labels.iter().copied().cycle().take(gallery.len()).collect();
        let mut own = (!bi_modal).then_some(own_at + q);
        if self_out {
            similarities.remove(own_at + q);
            of_gallery.remove(own_at + q);
            own = None;
        }
        let (relevance, equal) = rank(&similarities, &of_gallery, labels[q], own);
        precisions.push(average_precision(&relevance));
        curves.iter_mut().zip(curve(&relevance)).for_each(|(sum, value)| *sum += value / number(labels.len()));
        ties += equal;
        neighbours += relevance.len() - 1;
    }
    let of_class = |class: u32| {
        let own = || precisions.iter().zip(labels).filter(move |(_, label)| **label == class).map(|(p, _)| p);
        (own().count() > 0).then(|| own().sum::<f64>() / number(own().count()))
    };
    Score {
        task,
        normalisation,
        map: precisions.iter().sum::<f64>() / number(labels.len()),
        per_category: (0..u32::try_from(classes).expect("few")).map(of_class).collect(),
        precision_recall: curves,
        tied_share: number(ties) / number(neighbours),
    }
}

pub(super) fn evaluate(image: &Rows, text: &Rows, labels: &[u32], classes: usize) -> Vec<Score> {
    let tasks = |normalisation| {
        Task::ALL.into_iter().map(move |task| score(normalisation, task, [image, text], labels, classes))
    };
    Normalisation::ALL.into_iter().flat_map(tasks).collect()
}
