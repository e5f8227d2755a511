//! From records of runs to the paper's tables and to long-form CSV. Pure: values in, text out.
//!
//! [`assemble()`] makes a [`Table`]; [`markdown()`], [`latex()`], [`text()`] and [`json()`] print it;
//! [`scores_csv`] and [`cells_csv`] print the records themselves, [`results()`] a whole document. There is no column of published
//! figures: none of our data sets is the paper's own with the paper's features.

mod assemble;
mod csv;
mod figures;
mod footer;
mod json;
mod latex;
mod markdown;
mod measure;
mod model;
mod orders;
mod plain;
mod record;
mod results;
mod text;

pub use self::{
    assemble::assemble,
    csv::{cells_csv, scores_csv},
    figures::{ReferenceFigure, reference_figures},
    json::{Document, json},
    latex::{escape as escape_latex, latex},
    markdown::{escape as escape_markdown, markdown},
    measure::Measure,
    model::{Cell, Fact, Rank, Row, Summary, Table},
    orders::{Claim, Orders, Verdict, orders},
    plain::{Figure, Grid, duration, grid},
    record::RunRecord,
    results::results,
    text::text,
};
