//! The key `tables`.

use std::collections::{HashMap, HashSet};

use super::{
    keys,
    limits::{DEFAULT_DIGITS, MAX_DIGITS, MAX_GRID_LABEL, MAX_TABLE_ROWS, MAX_TABLES, MAX_TITLE},
    problem::{Problems, did_you_mean},
    read::Cursor,
    rows::Rows,
    tables::{Spread, TableKind, TableSpec},
};
use crate::scores::Normalisation;

/// Reads `tables`; `None` when something is wrong.
pub(super) fn read(cursor: &Cursor<'_>, rows: &Rows<'_>, problems: &mut Problems) -> Option<Vec<TableSpec>> {
    let items = cursor.list(problems, "a list of tables", MAX_TABLES)?;
    let tables: Vec<_> = items.iter().filter_map(|item| table(item, rows, problems)).collect();
    (tables.len() == items.len()).then_some(tables)
}

/// One table over everything, when the file lists none.
pub(super) fn default(name: &str, rows: &Rows<'_>) -> Vec<TableSpec> {
    let rows = rows.drafts.iter().map(|draft| draft.label.clone()).collect();
    vec![TableSpec {
        kind: TableKind::Main,
        title: name.to_owned(),
        rows,
        normalisation: Normalisation::None,
        digits: DEFAULT_DIGITS,
        spread: Spread::Both,
    }]
}

fn table(cursor: &Cursor<'_>, rows: &Rows<'_>, problems: &mut Problems) -> Option<TableSpec> {
    let fields = cursor.fields(problems, "a table: a mapping")?;
    fields.refuse_unknown(problems, keys::TABLE);
    let title = fields.require(problems, "title").and_then(|title| title.text(problems, "a title", MAX_TITLE));
    let kind = fields.read_or("kind", TableKind::Main, |kind| {
        kind.choice(problems, "a kind of table:", &TableKind::ALL.map(TableKind::name)).and_then(TableKind::from_name)
    });
    let normalisation = fields.read_or("normalisation", Normalisation::None, |normalisation| {
        let names = Normalisation::ALL.map(Normalisation::name);
        normalisation.choice(problems, "a normalisation:", &names).and_then(Normalisation::from_name)
    });
    let digits = fields.read_or("digits", DEFAULT_DIGITS, |digits| {
        digits.integer(problems, &(1..=i64::from(MAX_DIGITS))).and_then(|digits| u8::try_from(digits).ok())
    });
    let spread = fields.read_or("spread", Spread::Both, |spread| {
        let name = spread.choice(problems, "a spread:", &Spread::ALL.map(Spread::name))?;
        Spread::ALL.into_iter().find(|it| it.name() == name)
    });
    let all = || rows.drafts.iter().map(|draft| draft.label.clone()).collect();
    let rows = match fields.get("rows") {
        Some(cursor) => row_labels(cursor, rows, problems),
        None => Some(all()),
    };
    Some(TableSpec {
        kind: kind?,
        title: title?.to_owned(),
        rows: rows?,
        normalisation: normalisation?,
        digits: digits?,
        spread: spread?,
    })
}

/// Labels of rows; the label of a grid's entry stands for all its rows.
fn row_labels(cursor: &Cursor<'_>, rows: &Rows<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let mut labels: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    let mut whole = true;
    let mut known: HashMap<&str, Vec<&str>> = HashMap::new();
    for draft in &rows.drafts {
        known.entry(&draft.label).or_default().push(&draft.label);
        if draft.base != draft.label {
            known.entry(&draft.base).or_default().push(&draft.label);
        }
    }
    for item in &cursor.list(problems, "a list of labels", MAX_TABLE_ROWS)? {
        let Some(name) = item.text(problems, "a label", MAX_GRID_LABEL) else {
            whole = false;
            continue;
        };
        let named = known.get(name).map_or(&[][..], Vec::as_slice);
        if named.is_empty() && rows.labels_known {
            let labels = rows.drafts.iter().map(|draft| draft.label.as_str());
            let message = || format!("no entry of `methods` has this label{}", did_you_mean(name, labels));
            problems.report_with(item.node.place, &item.path, message);
            whole = false;
        }
        for label in named {
            if !seen.insert(label) {
                item.report(problems, "this row stands in the table twice");
                whole = false;
            }
            labels.push((*label).to_owned());
        }
    }
    whole.then_some(labels)
}
