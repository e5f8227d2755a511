//! A table as LaTeX with the package booktabs.

use super::{
    Cell, Rank, Table,
    plain::{Figure, line, noted, ranked},
};

/// Columns beyond these do not fit one column of a two-column page.
const NARROW_COLUMNS: usize = 6;

/// A floating table: caption, rows, notes and facts. Best mean bold, second underlined. Needs the
/// package booktabs and nothing else.
#[must_use]
pub fn latex(table: &Table) -> String {
    let environment = if table.columns.len() > NARROW_COLUMNS { "table*" } else { "table" };
    let mut lines = vec![
        "% needs \\usepackage{booktabs}".to_owned(),
        format!("\\begin{{{environment}}}"),
        "\\centering".to_owned(),
        format!("\\caption{{{}}}", escape(&table.title)),
        format!("\\label{{tab:{}}}", slug(&[&table.submission, &table.title])),
        format!("\\begin{{tabular}}{{l{}}}", "c".repeat(table.columns.len())),
        "\\toprule".to_owned(),
    ];
    lines.extend(heading(table));
    lines.push("\\midrule".to_owned());
    for row in &table.rows {
        let cells = row.cells.iter().map(|cell| latex_cell(cell, table.digits));
        lines.push(row_line(std::iter::once(escape(&row.label)).chain(cells)));
    }
    lines.push("\\bottomrule".to_owned());
    lines.push("\\end{tabular}".to_owned());
    lines.push("\\par\\smallskip".to_owned());
    lines.push("\\begin{minipage}{\\linewidth}\\footnotesize\\raggedright".to_owned());
    for (index, note) in table.notes.iter().enumerate() {
        lines.push(format!("\\textsuperscript{{{}}} {}\\par", index + 1, escape(note)));
    }
    if ranked(table) {
        lines.push("Best mean of each column bold, second underlined.\\par".to_owned());
    }
    for fact in &table.facts {
        lines.push(format!("{}: {}\\par", escape(fact.name), escape(&fact.value)));
    }
    lines.push("\\end{minipage}".to_owned());
    lines.push(format!("\\end{{{environment}}}"));
    lines.join("\n") + "\n"
}

/// One heading line, and above it one with the data sets where there are several.
fn heading(table: &Table) -> Vec<String> {
    let mut lines = Vec::new();
    let width = table.columns.len() / table.data_sets.len().max(1);
    if table.data_sets.len() > 1 {
        let groups = table.data_sets.iter().map(|name| format!("\\multicolumn{{{width}}}{{c}}{{{}}}", escape(name)));
        lines.push(row_line(std::iter::once(String::new()).chain(groups)));
        let rules = (0..table.data_sets.len()).map(|group| {
            let first = 2 + group * width;
            format!("\\cmidrule(lr){{{first}-{}}}", first + width - 1)
        });
        lines.push(rules.collect::<Vec<_>>().join(" "));
    }
    let names = table.columns.iter().map(|column| column.measure.name().replace("->", "$\\rightarrow$"));
    lines.push(row_line(std::iter::once("Method".to_owned()).chain(names)));
    lines
}

fn row_line(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(" & ") + " \\\\"
}

fn latex_cell(cell: &Cell, digits: u8) -> String {
    let note = noted(cell, |n| format!("\\textsuperscript{{{n}}}"));
    let Some(figure) = Figure::of(cell, digits) else { return format!("--{note}") };
    let mean = match figure.rank {
        Some(Rank::Best) => format!("\\textbf{{{}}}", figure.mean),
        Some(Rank::Second) => format!("\\underline{{{}}}", figure.mean),
        None => figure.mean,
    };
    let std = figure.std.map(|std| format!(" $\\pm$ {std}")).unwrap_or_default();
    let n = figure.n.map(|n| format!(" ($n={n}$)")).unwrap_or_default();
    format!("{mean}{std}{n}{note}")
}

/// Text that means itself in LaTeX, whatever it holds. Brackets and stars are put into braces: at
/// the start of a row the `\\` before them would take them for its own argument.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut previous = ' ';
    for c in line(text).chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '\\' => out.push_str("\\textbackslash{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '±' => out.push_str("$\\pm$"),
            '[' | ']' | '*' => out.extend(['{', c, '}']),
            // Two of these in a row would melt into a dash or a quotation mark.
            '-' | '\'' | '`' if previous == c => out.extend(['{', '}', c]),
            other => out.push(other),
        }
        previous = c;
    }
    out
}

/// Key of a `\label`: lower-case ASCII letters, digits and single hyphens.
fn slug(parts: &[&str]) -> String {
    let lower = parts.join("-").to_ascii_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}
