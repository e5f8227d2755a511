//! Printed forms, byte for byte. `UPDATE_GOLDEN=1 cargo test -p experiment-spec` writes them anew.

use std::{fs, path::Path};

use crate::fixture::{catalog, records, table_spec};
use experiment_spec::{
    spec::TableKind,
    table::{Table, assemble, cells_csv, json, latex, markdown, scores_csv, text},
};

fn check(name: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/table/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, printed).expect("the golden folder can be written");
    }
    let golden = fs::read_to_string(&path).expect("the golden file is part of the repository");
    assert!(printed == golden, "{name} differs; printed:\n{printed}");
}

/// One data set: a full row, a row with a failed seed, a row without any score.
fn ablation() -> Table {
    let rows = ["CM-GANs", "CM-GANs without ws&sc", "CM-GANs with ws"];
    let spec = table_spec(TableKind::Ablation, "Generative model", &rows);
    assemble(&records(), &spec, &["emoji".to_owned()], &catalog())
}

/// Two data sets, all six columns, every label.
fn main_table() -> Table {
    assemble(&records(), &table_spec(TableKind::Main, "Main_table 50%", &[]), &[], &catalog())
}

#[test]
fn markdown_is_as_printed_before() {
    check("ablation.md", &markdown(&ablation()));
    check("main.md", &markdown(&main_table()));
}

#[test]
fn latex_is_as_printed_before() {
    check("ablation.tex", &latex(&ablation()));
    check("main.tex", &latex(&main_table()));
}

#[test]
fn plain_text_is_as_printed_before() {
    check("ablation.txt", &text(&ablation()));
}

#[test]
fn json_is_as_printed_before() {
    check("ablation.json", &json(&[ablation()]));
}

#[test]
fn csv_is_as_printed_before() {
    check("scores.csv", &scores_csv(&records()));
    check("cells.csv", &cells_csv(&records()));
}
