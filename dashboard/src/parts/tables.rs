//! The paper's tables as they fill.

use experiment_spec::table::{Cell, Figure, Rank, Table};
use maud::{Markup, html};

use super::scrolling;
use crate::overview::Shown;

pub(crate) fn section(shown: &Shown) -> Markup {
    html! {
        section #tables aria-labelledby="tables-title" {
            h2 #tables-title { "Tables of " (shown.summary.name) }
            @match &shown.tables {
                Ok(tables) => @for (index, table) in tables.iter().enumerate() { (one(table, index)) },
                Err(why) => p .failure { "They cannot be shown: " (why) },
            }
        }
    }
}

fn one(table: &Table, index: usize) -> Markup {
    html! {
        h3 { (table.title) }
        (scrolling(&table.title, &grid(table)))
        @if !table.notes.is_empty() {
            ol .notes { @for note in &table.notes { li { (note) } } }
        }
        details #{ "facts-" (index) } {
            summary #{ "facts-summary-" (index) } { "How these numbers came about" }
            ul { @for fact in &table.facts { li { (fact.name) ": " (fact.value) } } }
        }
    }
}

fn grid(table: &Table) -> Markup {
    let width = table.columns.len() / table.data_sets.len().max(1);
    html! {
        table {
            thead {
                @if table.data_sets.len() > 1 {
                    tr {
                        td {}
                        @for data_set in &table.data_sets { th scope="colgroup" colspan=(width) { (data_set) } }
                    }
                }
                tr {
                    th scope="col" { "method" }
                    @for column in &table.columns { th scope="col" { (column.measure.name()) } }
                }
            }
            tbody {
                @for row in &table.rows {
                    tr {
                        th scope="row" { (row.label) }
                        @for cell in &row.cells { td .figure { (figure(cell, table.digits)) } }
                    }
                }
            }
        }
    }
}

fn figure(cell: &Cell, digits: u8) -> Markup {
    html! {
        @if let Some(figure) = Figure::of(cell, digits) {
            @match figure.rank {
                Some(Rank::Best) => strong { (figure.mean) },
                Some(Rank::Second) => u { (figure.mean) },
                None => (figure.mean),
            }
            @if let Some(std) = &figure.std { " ± " (std) }
            @if let Some(n) = figure.n { small { " n=" (n) } }
        } @else {
            "-"
        }
        @if let Some(note) = cell.note() { sup { (note + 1) } }
    }
}
