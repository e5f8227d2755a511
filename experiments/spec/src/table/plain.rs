//! Words and figures that every printed form shares.

use super::{Cell, Rank, Table};

/// A table as plain text cells, for whoever lays out the columns (a terminal, a page).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// One heading a column, the first for the labels.
    pub header: Vec<String>,
    /// One line a row: its label, then its cells. `*` marks the best of a column, `+` the second,
    /// `[1]` the first note.
    pub rows: Vec<Vec<String>>,
    /// Notes with their marks, then facts, each one line.
    pub below: Vec<String>,
}

/// The plain text cells of a table.
#[must_use]
pub fn grid(table: &Table) -> Grid {
    let heading = |index: usize| {
        let column = &table.columns[index];
        match table.data_sets.len() {
            1 => column.measure.name().to_owned(),
            _ => format!("{}: {}", line(&column.data_set), column.measure.name()),
        }
    };
    let header = std::iter::once("method".to_owned()).chain((0..table.columns.len()).map(heading)).collect();
    let rows = table
        .rows
        .iter()
        .map(|row| {
            let cells = row.cells.iter().map(|cell| plain_cell(cell, table.digits));
            std::iter::once(line(&row.label)).chain(cells).collect()
        })
        .collect();
    let notes = table.notes.iter().enumerate().map(|(index, note)| format!("[{}] {}", index + 1, line(note)));
    let facts = table.facts.iter().map(|fact| format!("{}: {}", fact.name, line(&fact.value)));
    let legend = ranked(table).then(|| "* best of its column, + second".to_owned());
    Grid { header, rows, below: legend.into_iter().chain(notes).chain(facts).collect() }
}

fn plain_cell(cell: &Cell, digits: u8) -> String {
    let Some(figure) = Figure::of(cell, digits) else { return format!("-{}", noted(cell, |n| format!(" [{n}]"))) };
    let mark = match figure.rank {
        Some(Rank::Best) => "*",
        Some(Rank::Second) => "+",
        None => "",
    };
    let std = figure.std.map(|std| format!(" ± {std}")).unwrap_or_default();
    let n = figure.n.map(|n| format!(" (n={n})")).unwrap_or_default();
    format!("{}{mark}{std}{n}{}", figure.mean, noted(cell, |n| format!(" [{n}]")))
}

/// The mark of a cell's note, counted from 1 as it is printed; nothing where it has none.
pub(super) fn noted(cell: &Cell, mark: impl Fn(usize) -> String) -> String {
    cell.note().map(|note| mark(note + 1)).unwrap_or_default()
}

/// Whether some cell carries a rank, so that the marks need a legend.
pub(super) fn ranked(table: &Table) -> bool {
    let has_rank = |cell: &Cell| matches!(cell, Cell::Scored { rank: Some(_), .. });
    table.rows.iter().flat_map(|row| &row.cells).any(has_rank)
}

/// The figures of a scored cell, rounded to the table's digits: what every printed form prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Place in its column.
    pub rank: Option<Rank>,
    /// Mean.
    pub mean: String,
    /// Sample standard deviation; none for a single seed.
    pub std: Option<String>,
    /// Number of seeds, set where the cell has fewer than others.
    pub n: Option<usize>,
}

impl Figure {
    /// Of this cell; none when it is empty.
    #[must_use]
    pub fn of(cell: &Cell, digits: u8) -> Option<Self> {
        let Cell::Scored { summary, rank, short, .. } = cell else { return None };
        let round = |value: f64| format!("{value:.*}", usize::from(digits));
        let n = short.then_some(summary.n);
        Some(Self { rank: *rank, mean: round(summary.mean), std: summary.std.map(round), n })
    }
}

/// One printable line: white space and control characters become single spaces, and so do the
/// characters that turn the direction of text around.
pub(super) fn line(text: &str) -> String {
    let printable = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns { ' ' } else { c }
    };
    let text: String = text.chars().map(printable).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As [`line`], cut after `limit` characters.
pub(super) fn clean(text: &str, limit: usize) -> String {
    // A line is never longer than its text, so no more of a huge text need be looked at.
    let start: String = text.chars().take(limit.saturating_mul(4)).collect();
    let text = line(&start);
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}...", text[..end].trim_end()),
        None => text,
    }
}

/// `seed 3`, `seeds 1-3, 7`.
pub(super) fn seed_list(seeds: &[u64]) -> String {
    let word = if seeds.len() == 1 { "seed" } else { "seeds" };
    format!("{word} {}", ranges(seeds))
}

/// `1-3, 7`: in rising order, three or more neighbours as a range.
pub(super) fn ranges(seeds: &[u64]) -> String {
    let mut sorted = seeds.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let neighbours = |a: &u64, b: &u64| a.checked_add(1) == Some(*b);
    let mut parts = Vec::new();
    for group in sorted.chunk_by(neighbours) {
        match group {
            [first, _, .., last] => parts.push(format!("{first}-{last}")),
            few => parts.extend(few.iter().map(u64::to_string)),
        }
    }
    parts.join(", ")
}

/// Seconds for people: `8.4 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let whole = seconds.clamp(0.0, 1e15).round() as u64;
    match whole {
        0..60 => format!("{:.1} s", seconds.max(0.0)),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_listed_in_ranges() {
        assert_eq!(seed_list(&[4]), "seed 4");
        assert_eq!(seed_list(&[7, 1, 3, 2]), "seeds 1-3, 7");
        assert_eq!(seed_list(&[1, 2, u64::MAX]), format!("seeds 1, 2, {}", u64::MAX));
    }

    #[test]
    fn a_line_has_no_control_characters_and_an_end() {
        assert_eq!(line(" a\tb\r\n\u{1b}[31mc\u{202e}d "), "a b [31mc d");
        assert_eq!(clean(&"ab ".repeat(1000), 5), "ab ab...");
        assert_eq!(clean("short", 5), "short");
    }

    #[test]
    fn durations_read_like_time() {
        assert_eq!(duration(8.44), "8.4 s");
        assert_eq!(duration(59.7), "1 min 00 s");
        assert_eq!(duration(200.0), "3 min 20 s");
        assert_eq!(duration(7_500.0), "2 h 05 min");
        assert_eq!(duration(273_700.0), "3 d 04 h");
        assert_eq!(duration(-1.0), "0.0 s");
    }
}
