//! A table as Markdown (the dialect with pipe tables).

use super::{
    Cell, Rank, Table,
    plain::{Figure, line, noted, ranked},
};

/// Heading, pipe table, notes and facts. Best mean bold, second underlined.
#[must_use]
pub fn markdown(table: &Table) -> String {
    let headings = table.columns.iter().map(|column| match table.data_sets.len() {
        1 => column.measure.name().to_owned(),
        _ => format!("{}: {}", escape(&column.data_set), column.measure.name()),
    });
    let mut lines = vec![
        format!("### {}", escape(&table.title)),
        String::new(),
        pipes(std::iter::once("method".to_owned()).chain(headings)),
        pipes(std::iter::once(":---".to_owned()).chain(table.columns.iter().map(|_| ":---:".to_owned()))),
    ];
    for row in &table.rows {
        let cells = row.cells.iter().map(|cell| markdown_cell(cell, table.digits));
        lines.push(pipes(std::iter::once(escape(&row.label)).chain(cells)));
    }
    lines.push(String::new());
    let notes = table.notes.iter().enumerate();
    lines.extend(notes.map(|(index, note)| format!("- <sup>{}</sup> {}", index + 1, escape(note))));
    if ranked(table) {
        lines.push("- **Best** mean of each column bold, <u>second</u> underlined".to_owned());
    }
    lines.extend(table.facts.iter().map(|fact| format!("- {}: {}", fact.name, escape(&fact.value))));
    lines.join("\n") + "\n"
}

fn pipes(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

fn markdown_cell(cell: &Cell, digits: u8) -> String {
    let note = noted(cell, |n| format!("<sup>{n}</sup>"));
    let Some(figure) = Figure::of(cell, digits) else { return format!("-{note}") };
    let mean = match figure.rank {
        Some(Rank::Best) => format!("**{}**", figure.mean),
        Some(Rank::Second) => format!("<u>{}</u>", figure.mean),
        None => figure.mean,
    };
    let std = figure.std.map(|std| format!(" ± {std}")).unwrap_or_default();
    let n = figure.n.map(|n| format!(" (n={n})")).unwrap_or_default();
    format!("{mean}{std}{n}{note}")
}

/// Text that means itself inside a line or a cell of Markdown, whatever it holds.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in line(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '$' | '#' | '&') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
