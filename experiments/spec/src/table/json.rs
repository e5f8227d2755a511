//! Tables as JSON.

use serde::Serialize;

use super::{Cell, Rank, Table};

/// The JSON document of some tables, one object:
///
/// ```json
/// {"tables": [{
///   "title": "Generative model", "submission": "ablations", "kind": "ablation", "normalisation": "none",
///   "digits": 3, "data_sets": ["emoji"],
///   "columns": [{"data_set": "emoji", "task": "image->text"}],
///   "rows": [{"label": "CM-GANs", "cells": [
///     {"n": 5, "mean": 0.52, "std": 0.01, "rank": "best", "missing": null}]}],
///   "notes": [], "facts": [{"name": "Seeds", "value": "1-5"}]
/// }]}
/// ```
///
/// Every key is always there. An empty cell has `n` 0 and null `mean`, `std` and `rank`; `missing`
/// says in words what a cell lacks, null when it lacks nothing. Numbers are not rounded and read
/// back to the same bits. Keys may be added, never renamed.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    tables: Vec<JsonTable<'a>>,
}

impl<'a> Document<'a> {
    /// The document of these tables.
    #[must_use]
    pub fn of(tables: &'a [Table]) -> Self {
        Self { tables: tables.iter().map(JsonTable::of).collect() }
    }
}

/// The [`Document`] as text, indented, with a final newline.
///
/// # Panics
/// Never: the document holds nothing that JSON cannot say.
#[must_use]
pub fn json(tables: &[Table]) -> String {
    let text = serde_json::to_string_pretty(&Document::of(tables));
    text.expect("tables are plain data that JSON can say") + "\n"
}

#[derive(Debug, Serialize)]
struct JsonTable<'a> {
    title: &'a str,
    submission: &'a str,
    kind: &'static str,
    normalisation: &'static str,
    digits: u8,
    data_sets: &'a [String],
    columns: Vec<JsonColumn<'a>>,
    rows: Vec<JsonRow<'a>>,
    notes: &'a [String],
    facts: Vec<JsonFact<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonColumn<'a> {
    data_set: &'a str,
    task: &'static str,
}

#[derive(Debug, Serialize)]
struct JsonRow<'a> {
    label: &'a str,
    cells: Vec<JsonCell<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonCell<'a> {
    n: usize,
    mean: Option<f64>,
    std: Option<f64>,
    rank: Option<&'static str>,
    missing: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct JsonFact<'a> {
    name: &'static str,
    value: &'a str,
}

impl<'a> JsonTable<'a> {
    fn of(table: &'a Table) -> Self {
        let columns = table.columns.iter();
        let row = |row: &'a super::Row| JsonRow {
            label: &row.label,
            cells: row.cells.iter().map(|cell| JsonCell::of(cell, &table.notes)).collect(),
        };
        Self {
            title: &table.title,
            submission: &table.submission,
            kind: table.kind.name(),
            normalisation: table.normalisation.name(),
            digits: table.digits,
            data_sets: &table.data_sets,
            columns: columns.map(|c| JsonColumn { data_set: &c.data_set, task: c.measure.name() }).collect(),
            rows: table.rows.iter().map(row).collect(),
            notes: &table.notes,
            facts: table.facts.iter().map(|fact| JsonFact { name: fact.name, value: &fact.value }).collect(),
        }
    }
}

impl<'a> JsonCell<'a> {
    fn of(cell: &Cell, notes: &'a [String]) -> Self {
        match cell {
            Cell::Empty { note } => {
                Self { n: 0, mean: None, std: None, rank: None, missing: Some(notes[*note].as_str()) }
            }
            Cell::Scored { summary, rank, note, .. } => Self {
                n: summary.n,
                mean: Some(summary.mean),
                std: summary.std,
                rank: rank.map(|rank| match rank {
                    Rank::Best => "best",
                    Rank::Second => "second",
                }),
                missing: note.map(|note| notes[note].as_str()),
            },
        }
    }
}
