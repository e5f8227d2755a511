//! Records in, cells out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Cell, Measure, Rank, Row, RunRecord, Summary, Table, footer,
    plain::{clean, seed_list},
};
use crate::{
    catalog::Catalog,
    run::State,
    scores::{Average, Normalisation, Task},
    spec::{TableKind, TableSpec},
};

/// Digits beyond these say nothing about a MAP.
const MOST_DIGITS: u8 = 6;

/// Characters of a failure that a note repeats.
const MOST_FAILURE_CHARS: usize = 300;

/// Makes the table that `spec` asks for, with a block of rows for each of `data_sets`.
///
/// Records are in the order of the plan, and values are summed in that order, so the same records
/// give the same bits. An empty `spec.rows` means every label, an empty `data_sets` every data set,
/// in the order of the plan. The catalog gives the methods' departures from their papers.
#[must_use]
pub fn assemble(records: &[RunRecord], spec: &TableSpec, data_sets: &[String], catalog: &Catalog) -> Table {
    let data_sets = named_or_all(data_sets, records.iter().map(|record| &record.data_set));
    let labels = named_or_all(&spec.rows, records.iter().map(|record| &record.label));
    let mut runs: BTreeMap<(&str, &str), Vec<&RunRecord>> = BTreeMap::new();
    for record in records {
        runs.entry((&record.data_set, &record.label)).or_default().push(record);
    }
    let columns = measures(spec.kind);
    let mut notes = Notes::default();
    let mut rows: Vec<Row> = Vec::with_capacity(data_sets.len() * labels.len());
    for data_set in &data_sets {
        for label in &labels {
            let runs = runs.get(&(data_set.as_str(), label.as_str())).map_or(&[][..], Vec::as_slice);
            let cells = columns.iter().map(|&measure| cell(runs, measure, spec, &mut notes)).collect();
            rows.push(Row { data_set: data_set.clone(), label: label.clone(), cells });
        }
    }
    let digits = spec.digits.min(MOST_DIGITS);
    mark_short(&mut rows);
    for block in rows.chunk_by_mut(|a, b| a.data_set == b.data_set) {
        (0..columns.len()).for_each(|column| mark_ranks(block, column, digits));
    }

    let shown: Vec<&RunRecord> = records
        .iter()
        .filter(|record| data_sets.contains(&record.data_set) && labels.contains(&record.label))
        .collect();
    Table {
        title: spec.title.clone(),
        submission: records.first().map(|record| record.submission.clone()).unwrap_or_default(),
        kind: spec.kind,
        normalisation: spec.normalisation,
        digits,
        facts: footer::facts(&shown, spec, &data_sets, &rows, catalog),
        data_sets,
        columns: columns.to_vec(),
        rows,
        notes: notes.texts,
    }
}

/// Measures of a kind of table, in the order of the paper.
fn measures(kind: TableKind) -> &'static [Measure] {
    const MAIN: [Measure; 6] = [
        Measure::Task(Task::ImageToText),
        Measure::Task(Task::TextToImage),
        Measure::Average(Average::BiModal),
        Measure::Task(Task::ImageToAll),
        Measure::Task(Task::TextToAll),
        Measure::Average(Average::AllModal),
    ];
    match kind {
        TableKind::Ablation => &MAIN[..3],
        TableKind::Main => &MAIN,
    }
}

fn named_or_all<'a>(named: &[String], all: impl Iterator<Item = &'a String>) -> Vec<String> {
    if !named.is_empty() {
        return named.to_vec();
    }
    let mut seen = BTreeSet::new();
    all.filter(|name| seen.insert(name.as_str())).cloned().collect()
}

/// Notes without repeats: cells that miss the same share one.
#[derive(Default)]
struct Notes {
    texts: Vec<String>,
    index: BTreeMap<String, usize>,
}

impl Notes {
    fn add(&mut self, text: String) -> usize {
        let next = self.texts.len();
        let index = *self.index.entry(text.clone()).or_insert(next);
        if index == next {
            self.texts.push(text);
        }
        index
    }
}

fn cell(runs: &[&RunRecord], measure: Measure, spec: &TableSpec, notes: &mut Notes) -> Cell {
    if runs.is_empty() {
        return Cell::Empty { note: notes.add("no such run in the submission".to_owned()) };
    }
    if let Some(seed) = repeated_seed(runs) {
        let text = format!("several runs have this label and seed {seed}: they are not one cell");
        return Cell::Empty { note: notes.add(text) };
    }
    let mut values: Vec<(u64, Vec<f64>)> = Vec::new();
    let mut missing: Vec<(String, Vec<u64>)> = Vec::new();
    for run in runs {
        match value(run, measure, spec.normalisation) {
            Ok(value) => match values.iter_mut().find(|(encoder, _)| *encoder == run.encoder_seed) {
                Some((_, group)) => group.push(value),
                None => values.push((run.encoder_seed, vec![value])),
            },
            Err(why) => match missing.iter_mut().find(|(known, _)| *known == why) {
                Some((_, seeds)) => seeds.push(run.seed),
                None => missing.push((why, vec![run.seed])),
            },
        }
    }
    let note = (!missing.is_empty()).then(|| {
        let parts: Vec<String> = missing.iter().map(|(why, seeds)| format!("{} {why}", seed_list(seeds))).collect();
        notes.add(parts.join("; "))
    });
    let groups: Vec<Vec<f64>> = values.into_iter().map(|(_, group)| group).collect();
    match (Summary::of_groups(&groups, spec.spread), note) {
        (Some(summary), note) => Cell::Scored { summary, rank: None, short: false, note },
        (None, note) => Cell::Empty { note: note.expect("runs without a value have given their reason") },
    }
}

fn repeated_seed(runs: &[&RunRecord]) -> Option<u64> {
    let mut seen = BTreeSet::new();
    runs.iter().find(|run| !seen.insert((run.seed, run.encoder_seed))).map(|run| run.seed)
}

/// The value of a run, or in words why it has none.
fn value(run: &RunRecord, measure: Measure, normalisation: Normalisation) -> Result<f64, String> {
    if let Some(scores) = run.counted() {
        return measure.value(scores, normalisation).map_err(|task| {
            format!("succeeded without a score of {} (normalisation {})", task.name(), normalisation.name())
        });
    }
    Err(match (run.state, &run.failure) {
        (State::Succeeded, _) => "succeeded without scores".to_owned(),
        (State::Failed, Some(failure)) => format!("failed: {}", clean(failure, MOST_FAILURE_CHARS)),
        (state, _) => state.name().to_owned(),
    })
}

/// Cells with fewer seeds than the fullest show their n.
fn mark_short(rows: &mut [Row]) {
    let most = rows.iter().flat_map(|row| &row.cells).map(Cell::n).max().unwrap_or(0);
    for cell in rows.iter_mut().flat_map(|row| &mut row.cells) {
        if let Cell::Scored { summary, short, .. } = cell {
            *short = summary.n < most;
        }
    }
}

/// Ranks by the mean as printed: a difference that nobody can see decides nothing. A column with a
/// single score has no best, and no two data sets are compared.
fn mark_ranks(rows: &mut [Row], column: usize, digits: u8) {
    let printed = |cell: &Cell| match cell {
        Cell::Scored { summary, .. } => format!("{:.*}", usize::from(digits), summary.mean).parse::<f64>().ok(),
        Cell::Empty { .. } => None,
    };
    let mut means: Vec<f64> = rows.iter().filter_map(|row| printed(&row.cells[column])).collect();
    if means.len() < 2 {
        return;
    }
    means.sort_by(|a, b| b.total_cmp(a));
    means.dedup();
    for row in rows {
        let place =
            printed(&row.cells[column]).and_then(|mean| means.iter().position(|other| other.total_cmp(&mean).is_eq()));
        if let Cell::Scored { rank, .. } = &mut row.cells[column] {
            *rank = match place {
                Some(0) => Some(Rank::Best),
                Some(1) => Some(Rank::Second),
                _ => None,
            };
        }
    }
}
