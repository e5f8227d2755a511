//! Files with mistakes and the messages that users get: `mistakes/NAME.yaml` and `mistakes/NAME.expected`.
//! With `UPDATE_EXPECTED=1` in the environment the second is written anew; read the difference before committing it.

mod common;

use std::{fs, path::Path};

use common::catalog;
use experiment_spec::spec::parse;

#[test]
fn every_mistake_is_reported_with_its_place_and_its_cure() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() > 20, "the corpus is gone from {}", folder.display());
    let mut different = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let problems = parse(&fs::read_to_string(&file).unwrap(), &catalog()).expect_err(name);
        let messages: String = problems.iter().map(|problem| problem.render(name) + "\n").collect();
        let expected = file.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &messages).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != messages {
            different.push(format!("{name} now says:\n{messages}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn what_cannot_stand_in_a_text_file_is_refused_with_its_place() {
    let render = |yaml: &str| -> Vec<String> {
        parse(yaml, &catalog()).unwrap_err().iter().map(|problem| problem.render("t.yaml")).collect()
    };
    assert_eq!(render("name: a\nseeds: 1\0"), ["t.yaml:2:9: a NUL character: a submission is plain text"]);
    assert_eq!(render(&" ".repeat((1 << 20) + 1)), ["t.yaml:1:1: longer than 1048576 bytes"]);
    let many = format!("[{}]", "1,".repeat(100_001));
    assert_eq!(render(&many), ["t.yaml:1:200002: more than 100000 values"]);
}

#[test]
fn a_grid_beyond_the_limit_is_refused_before_it_is_made() {
    let grid = format!("{:?}", (1..=100).collect::<Vec<_>>());
    let yaml = |lines: &str| format!("name: grid\ndatasets: [emoji]\nseeds: 1\nmethods:\n{lines}");
    let line = format!("- {{ method: cm-gans, hidden: {grid}, iterations: {grid} }}\n");
    assert_eq!(parse(&yaml(&line), &catalog()).unwrap().rows.len(), 10_000);
    let message = |lines: &str| parse(&yaml(lines), &catalog()).unwrap_err()[0].message.clone();
    let limits = "too many runs: data sets x rows may be 10000 and times seeds 100000, here";
    assert_eq!(message(&format!("{line}- cca\n")), format!("{limits} 10001 and 10001"));
    let keys =
        ["batch-size", "generator-steps", "select-every", "inter-hidden", "lr-decay-every", "iterations", "hidden"];
    let all = keys.map(|key| format!("{key}: {}", grid.replacen("1,", "", 1)));
    let line = format!("- {{ method: cm-gans, {}, learning-rate: [{}] }}\n", all.join(", "), "0.5, 0.25");
    assert_eq!(message(&line), format!("{limits} {0} and {0}", 99_u64.pow(7) * 2));
    let switches = "weight-sharing: [tied, init-only, none], softmax-head: [shared, per-modality], cae-norm: [l2, l1]";
    let line = format!(
        "- {{ method: cm-gans, {}, learning-rate: {}, recon-loss-weight: {grid}, activation: [relu, leaky-relu], {switches} }}\n",
        all.join(", "),
        grid.replace(',', "e-4,").replace(']', "e-4]")
    );
    assert_eq!(message(&line), format!("{limits} far more and far more"));
}

#[test]
fn an_encoder_that_is_not_installed_is_a_mistake_and_no_panic() {
    let mut catalog = catalog();
    catalog.encoders.clear();
    let problems = parse("name: a\ndatasets: [emoji]\nseeds: 1\nmethods: [cca]\n", &catalog).unwrap_err();
    assert_eq!(problems[0].key_path, "datasets[0]");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_mistake() {
    let yaml = "\u{feff}name: bom\r\ndatasets: [emoji]\r\nseeds: 1\r\nmethods: [cca]\r\n";
    assert_eq!(parse(yaml, &catalog()).unwrap().name, "bom");
}
