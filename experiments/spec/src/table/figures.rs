//! Figures from elsewhere that the rows of a submission are held to: read from a CSV file, set beside what came out here.

use std::fmt::Write;

use super::{Measure, RunRecord, Summary, markdown::escape};
use crate::scores::Normalisation;

/// Most lines that are read.
const MAX_LINES: usize = 10_000;

/// One figure: the MAP that a row has elsewhere, and how far ours may be from it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceFigure {
    /// Data set as it is shown.
    pub data_set: String,
    /// Label of the row.
    pub label: String,
    /// What is measured.
    pub measure: Measure,
    /// The figure.
    pub map: f64,
    /// Largest difference that counts as met.
    pub tolerance: f64,
}

/// Reads a CSV file with the columns `dataset`, `task`, `map`, `tolerance` and either `label` or `method` and `settings`, which
/// stand for the label `METHOD SETTINGS`. Without normalisation, like the main columns of every table.
///
/// # Errors
/// A sentence that names the line and what is wrong with it.
pub fn reference_figures(text: &str) -> Result<Vec<ReferenceFigure>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let column = |name: &str| header.iter().position(|found| found == name);
    let required = |name: &str| column(name).ok_or_else(|| format!("line 1: there is no column `{name}`"));
    let [data_set, task, map, tolerance] =
        [required("dataset")?, required("task")?, required("map")?, required("tolerance")?];
    let label = match (column("label"), column("method"), column("settings")) {
        (Some(label), ..) => vec![label],
        (None, Some(method), Some(settings)) => vec![method, settings],
        _ => return Err("line 1: there is neither a column `label` nor `method` and `settings`".to_owned()),
    };
    let mut figures = Vec::new();
    for (number, line) in (2..).zip(reader.records()) {
        let line = line.map_err(|error| format!("line {number}: {error}"))?;
        if figures.len() == MAX_LINES {
            return Err(format!("more than {MAX_LINES} lines"));
        }
        let field = |at: usize| line.get(at).unwrap_or_default().trim();
        let real = |at: usize| {
            let value = field(at).parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
            value.ok_or_else(|| format!("line {number}: `{}` is no number of 0 or more", field(at)))
        };
        let measure = Measure::ALL.into_iter().find(|measure| measure.name() == field(task));
        figures.push(ReferenceFigure {
            data_set: field(data_set).to_owned(),
            label: label.iter().map(|at| field(*at)).collect::<Vec<_>>().join(" "),
            measure: measure.ok_or_else(|| format!("line {number}: there is no task `{}`", field(task)))?,
            map: real(map)?,
            tolerance: real(tolerance)?,
        });
    }
    Ok(figures)
}

/// The differences as a section of a Markdown document; `source` names where the figures are from.
#[must_use]
pub(super) fn differences(records: &[RunRecord], figures: &[ReferenceFigure], source: &str) -> String {
    let (mut lines, mut met, mut compared, mut elsewhere) = (String::new(), 0, 0, 0);
    for figure in figures {
        let same = |record: &&RunRecord| record.data_set == figure.data_set && record.label == figure.label;
        let row: Vec<&RunRecord> = records.iter().filter(same).collect();
        if row.is_empty() {
            elsewhere += 1;
            continue;
        }
        compared += 1;
        let maps: Vec<f64> =
            row.iter().filter_map(|record| figure.measure.value(record.counted()?, Normalisation::None).ok()).collect();
        let found = Summary::of(&maps).map(|summary| (summary.n, summary.mean));
        let difference = found.map(|(_, mean)| mean - figure.map);
        let is_met = difference.is_some_and(|difference| difference.abs() <= figure.tolerance);
        met += usize::from(is_met);
        let (n, here) = found.map_or((0, "-".to_owned()), |(n, mean)| (n, format!("{mean:.6}")));
        let difference = difference.map_or_else(|| "not scored".to_owned(), |difference| format!("{difference:+.6}"));
        let _ = writeln!(
            lines,
            "| {} | {} | {} | {n} | {:.6} | {here} | {}{difference} | {} |",
            escape(&figure.data_set),
            escape(&figure.label),
            figure.measure.name(),
            figure.map,
            if is_met { "" } else { "**beyond** " },
            figure.tolerance,
        );
    }
    let mut text = format!("\n## Differences to `{}`\n\n", escape(source));
    let _ = write!(
        text,
        "Of {} figures, {compared} are of rows that stand here; {met} of these are met within their tolerance, {} are not.",
        figures.len(),
        compared - met
    );
    if elsewhere > 0 {
        let _ = write!(text, " {elsewhere} are of no row of this submission.");
    }
    text.push('\n');
    if compared > 0 {
        text += "\n| data set | row | task | n | figure | here | difference | tolerance |\n\
                 | :--- | :--- | :--- | ---: | ---: | ---: | ---: | ---: |\n";
        text += &lines;
    }
    text
}
