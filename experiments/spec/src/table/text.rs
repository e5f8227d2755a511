//! A table as aligned plain text.

use unicode_width::UnicodeWidthStr;

use super::{
    Table,
    plain::{grid, line},
};

/// Aligned plain text without control codes: title, heading, a rule, rows, then notes and facts.
#[must_use]
pub fn text(table: &Table) -> String {
    let grid = grid(table);
    let lines: Vec<&[String]> = std::iter::once(&grid.header).chain(&grid.rows).map(Vec::as_slice).collect();
    let widths: Vec<usize> = (0..grid.header.len())
        .map(|column| lines.iter().map(|cells| cells[column].width()).max().unwrap_or(0))
        .collect();
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));

    let mut out = format!("{}\n", line(&table.title));
    for (index, cells) in lines.iter().enumerate() {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
        if index == 0 {
            out.push_str(&rule);
            out.push('\n');
        }
    }
    for line in &grid.below {
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Pads to a width on the terminal, where an emoji or a CJK character takes two columns.
fn pad(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
}
