//! Files without mistakes: what they mean.

mod common;

use common::catalog;
use experiment_spec::{
    catalog::ParameterValue::{self, Bool, Float, Integer, Text},
    run::{Device, Resources},
    scores::Normalisation,
    spec::{DataSetChoice, Spread, Submission, TableKind, TableSpec, parse},
};

/// Parses a file that is expected to be right.
fn read(yaml: &str) -> Submission {
    parse(yaml, &catalog()).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|problem| problem.render("test.yaml") + "\n").collect::<String>())
    })
}

/// A small file with these lines added or put in place of its own.
fn small(lines: &str) -> Submission {
    let own = [
        ("name", "name: small"),
        ("datasets", "datasets: [emoji]"),
        ("seeds", "seeds: 2"),
        ("methods", "methods: [cca]"),
    ];
    let mut yaml = String::new();
    for (key, line) in own {
        if !lines.lines().any(|line| line.starts_with(&format!("{key}:"))) {
            yaml += line;
            yaml.push('\n');
        }
    }
    read(&(yaml + lines))
}

fn labels(submission: &Submission) -> Vec<&str> {
    submission.rows.iter().map(|row| row.label.as_str()).collect()
}

fn value<'s>(submission: &'s Submission, row: usize, data_set: &str, key: &str) -> &'s ParameterValue {
    &submission.rows[row].parameters[data_set][key]
}

#[test]
fn what_is_not_said_has_its_documented_default() {
    let submission = small("");
    assert_eq!(submission.seeds, [1, 2]);
    assert_eq!(submission.data_sets[0].encoder, "small-cnn");
    assert_eq!((submission.encoder_seeds.as_slice(), submission.retries), (&[1][..], 3));
    assert_eq!(submission.resources, Resources::default());
    assert_eq!(labels(&submission), ["CCA"]);
    let table = TableSpec {
        kind: TableKind::Main,
        title: "small".to_owned(),
        rows: vec!["CCA".to_owned()],
        normalisation: Normalisation::None,
        digits: 3,
        spread: Spread::Both,
    };
    assert_eq!(submission.tables, [table]);
}

#[test]
fn everything_that_is_said_is_kept() {
    let submission = small(concat!(
        "encoder: random\nencoder-seed: 7\nretries: 0\nseeds: [9, 3]\n",
        "datasets: [wikipedia, emoji]\n",
        "resources: { gpus: 0.25, cpus: 2, memory: 2GiB, time-limit: 1h30m, device: cuda, labels: [rack-2, a100] }\n",
        "tables: [{ title: T, rows: [CCA], normalisation: authors, digits: 2, kind: ablation }]\n",
    ));
    assert_eq!(submission.seeds, [9, 3]);
    assert_eq!((submission.encoder_seeds.as_slice(), submission.retries), (&[7][..], 0));
    assert!(submission.data_sets.iter().all(|choice| choice.encoder == "random"));
    let labels = ["a100", "rack-2"].map(str::to_owned).into();
    let resources =
        Resources { cpus: 2, gpus: 0.25, memory_bytes: 2 << 30, time_limit_s: 5400, device: Device::Cuda, labels };
    assert_eq!(submission.resources, resources);
    let table = &submission.tables[0];
    assert_eq!((table.kind, table.normalisation, table.digits), (TableKind::Ablation, Normalisation::Authors, 2));
}

#[test]
fn cuda_takes_a_whole_gpu_unless_a_share_is_named() {
    assert!((small("resources: { device: cuda }\n").resources.gpus - 1.0).abs() < f64::EPSILON);
}

#[test]
fn the_more_specific_wins() {
    // entry default < preset < defaults < the entry's own line < overrides in the order of the file
    let yaml = |line: &str, defaults: &str, overrides: &str| {
        small(&format!(
            "datasets: [emoji, wikipedia]\nmethods: [{{ method: cm-gans{line} }}]\n{defaults}overrides: [{overrides}{{ dataset: wikipedia, hidden: 8 }}]\n"
        ))
    };
    let activation = |submission: &Submission| value(submission, 0, "emoji", "activation").clone();
    let text = |name: &str| Text(name.to_owned());
    let none = "";
    assert_eq!(activation(&yaml(none, none, none)), text("relu"));
    assert_eq!(activation(&yaml(", preset: released", none, none)), text("leaky-relu"));
    let defaults = "defaults: { activation: relu }\n";
    assert_eq!(activation(&yaml(", preset: released", defaults, none)), text("relu"));
    assert_eq!(activation(&yaml(", activation: leaky-relu", defaults, none)), text("leaky-relu"));
    let overrides = "{ dataset: emoji, activation: relu }, ";
    assert_eq!(activation(&yaml(", activation: leaky-relu", none, overrides)), text("relu"));
    let twice = "{ method: cm-gans, activation: relu }, { label: CM-GANs, activation: leaky-relu }, ";
    assert_eq!(activation(&yaml(none, none, twice)), text("leaky-relu"));
    let submission = yaml(none, "defaults: { preset: released }\n", none);
    assert_eq!(activation(&submission), text("leaky-relu"));
    assert_eq!(value(&submission, 0, "emoji", "hidden"), &Integer(1024));
    assert_eq!(value(&submission, 0, "wikipedia", "hidden"), &Integer(8));
}

#[test]
fn defaults_reach_the_methods_that_have_the_parameter() {
    let submission = small("methods: [cca, cm-gans]\ndefaults: { dims: 5, hidden: 16 }\n");
    assert_eq!(value(&submission, 0, "emoji", "dims"), &Integer(5));
    assert_eq!(value(&submission, 1, "emoji", "hidden"), &Integer(16));
    assert!(!submission.rows[0].parameters["emoji"].contains_key("hidden"));
}

#[test]
fn every_parameter_is_present_and_whole_numbers_become_real_where_the_parameter_is() {
    let submission =
        small("methods: [{ method: cm-gans, learning-rate: 1, recon-loss-weight: 1e-3, adversarial: false }]\n");
    assert_eq!(submission.rows[0].parameters["emoji"].len(), 20);
    assert_eq!(value(&submission, 0, "emoji", "learning-rate"), &Float(1.0));
    assert_eq!(value(&submission, 0, "emoji", "recon-loss-weight"), &Float(0.001));
    assert_eq!(value(&submission, 0, "emoji", "adversarial"), &Bool(false));
}

#[test]
fn lists_are_grids_with_labels_that_say_where_a_row_stands() {
    let submission = small(concat!(
        "methods:\n- { method: cm-gans, learning-rate: [1e-3, 0.01], preset: [paper, released], hidden: [64] }\n- cca\n",
        "defaults: { penalty: [0, 1] }\ntables: [{ title: A, rows: [CM-GANs, CCA (penalty=1)] }, { title: B }]\n",
    ));
    let expected = [
        "CM-GANs (preset=paper, learning-rate=0.001)",
        "CM-GANs (preset=paper, learning-rate=0.01)",
        "CM-GANs (preset=released, learning-rate=0.001)",
        "CM-GANs (preset=released, learning-rate=0.01)",
        "CCA (penalty=0)",
        "CCA (penalty=1)",
    ];
    assert_eq!(labels(&submission), expected);
    assert_eq!(value(&submission, 3, "emoji", "activation"), &Text("leaky-relu".to_owned()));
    assert_eq!(value(&submission, 3, "emoji", "hidden"), &Integer(64));
    assert_eq!(submission.tables[0].rows, [&expected[..4], &expected[5..]].concat());
    assert_eq!(submission.tables[1].rows, expected);
    assert_eq!(submission.run_count(), 12);
}

#[test]
fn overrides_select_by_data_set_method_and_label() {
    let submission = small(concat!(
        "datasets: [emoji, wikipedia]\nmethods: [cca, { method: cm-gans, label: A }, { method: cm-gans, label: B, hidden: [4, 8] }]\n",
        "overrides:\n- { dataset: [emoji, wikipedia], label: [A, B (hidden=4)], iterations: 7 }\n",
        "- { dataset: wikipedia, method: [cca, cm-gans], dims: 3, batch-size: 16 }\n- { label: B, select-every: 9 }\n",
    ));
    let iterations = |row| value(&submission, row, "emoji", "iterations");
    assert_eq!([iterations(1), iterations(2), iterations(3)], [&Integer(7), &Integer(7), &Integer(26_000)]);
    assert_eq!(value(&submission, 0, "emoji", "dims"), &Integer(10));
    assert_eq!(value(&submission, 0, "wikipedia", "dims"), &Integer(3));
    assert_eq!(value(&submission, 1, "wikipedia", "batch-size"), &Integer(16));
    assert_eq!(value(&submission, 3, "emoji", "select-every"), &Integer(9));
    assert_eq!(value(&submission, 1, "emoji", "select-every"), &Integer(100));
}

#[test]
fn a_submission_reads_back_from_its_json() {
    let submission = small("methods: [{ method: cm-gans, learning-rate: [1, 0.1] }]\nresources: { time-limit: 90s }\n");
    let json = serde_json::to_string(&submission).unwrap();
    assert_eq!(serde_json::from_str::<Submission>(&json).unwrap(), submission);
}

#[test]
fn labels_may_be_any_text_of_one_line() {
    let submission = small("methods: [{ method: cca, label: 'Größe: 1 & 2' }, { method: cca, label: 7, dims: 2 }]\n");
    assert_eq!(labels(&submission), ["Größe: 1 & 2", "7"]);
}

#[test]
fn one_data_set_may_stand_with_each_of_its_splits_and_its_key_reaches_both() {
    let submission = parse(
        concat!(
            "name: splits\nseeds: 1\nmethods: [cca]\n",
            "datasets: [wikipedia, { dataset: wikipedia, split: paper }, { dataset: uci-mfeat, if-present: true }, emoji]\n",
            "overrides:\n- { dataset: wikipedia, dims: 3 }\n- { dataset: 'wikipedia:paper', penalty: 2 }\n",
            "- { dataset: uci-mfeat, dims: 9 }\n",
        ),
        &catalog(),
    )
    .unwrap();
    let shown: Vec<String> = submission.data_sets.iter().map(DataSetChoice::shown).collect();
    assert_eq!(shown, ["wikipedia", "wikipedia:paper", "emoji"]);
    assert_eq!(submission.left_out, ["uci-mfeat"]);
    let both = |data_set| ["dims", "penalty"].map(|key| value(&submission, 0, data_set, key).clone());
    assert_eq!(both("wikipedia"), [Integer(3), Float(1.0)]);
    assert_eq!(both("wikipedia:paper"), [Integer(3), Float(2.0)]);
    assert_eq!(both("emoji"), [Integer(10), Float(1.0)]);
}
