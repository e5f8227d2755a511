//! What stands beside the code: the submissions of the project and the page that documents every key.

mod common;

use std::{fs, path::PathBuf};

use common::catalog;
use experiment_spec::{
    catalog::ParameterValue::{Bool, Float, Integer, Text},
    plan::plan,
    spec::{Submission, keys, parse},
};

fn read(file: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap()
}

fn submission(file: &str) -> Submission {
    parse(&read(file), &catalog()).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|problem| problem.render(file) + "\n").collect::<String>())
    })
}

#[test]
fn every_key_is_documented() {
    let page = read("README.md");
    let section = |title: &str| -> &str {
        let start = page.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
        let rest = &page[start + 4..];
        &rest[..rest.find("\n## ").unwrap_or(rest.len())]
    };
    let tables = [
        ("The file", keys::SUBMISSION),
        ("`datasets`", keys::DATA_SET),
        ("`methods`", keys::METHOD),
        ("Programs of your own", keys::PROGRAM),
        ("`overrides`", keys::OVERRIDE),
        ("`resources`", keys::RESOURCES),
        ("`tables`", keys::TABLE),
    ];
    for (title, keys) in tables {
        for key in keys {
            // The parser must know the key, and its line must have all five columns.
            let line = section(title).lines().find(|line| line.starts_with(&format!("| `{key}` |")));
            let line = line.unwrap_or_else(|| panic!("`{key}` has no line under {title}"));
            assert_eq!(line.replace("\\|", "").matches('|').count(), 6, "{line}");
        }
        let documented = section(title).lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(documented, keys.len(), "{title} documents a key that the parser does not know");
    }
    for parameter in &catalog().method("cm-gans").unwrap().parameters {
        assert!(page.contains(&format!("`{}`", parameter.key)), "{}", parameter.key);
    }
}

/// Label and what sets it apart, of the six rows of the paper's ablations.
fn assert_is_the_papers_ablations(submission: &Submission) {
    let expected = [
        ("CM-GANs", "tied", [true, true, true]),
        ("CM-GANs without ws&sc", "none", [false, true, true]),
        ("CM-GANs with ws", "tied", [false, true, true]),
        ("CM-GANs with sc", "none", [true, true, true]),
        ("CM-GANs only inter", "tied", [true, false, true]),
        ("CM-GANs-CAE", "tied", [true, true, false]),
    ];
    assert_eq!(submission.rows.len(), expected.len());
    for (row, (label, sharing, switches)) in submission.rows.iter().zip(expected) {
        let parameters = &row.parameters["emoji"];
        assert_eq!(row.label, label);
        assert_eq!(parameters["weight-sharing"], Text(sharing.to_owned()), "{label}");
        let keys = ["semantic-constraint", "intra-discriminators", "adversarial"];
        assert_eq!(keys.map(|key| parameters[key].clone()), switches.map(Bool), "{label}");
    }
    let tables: Vec<_> = submission.tables.iter().map(|table| (table.title.as_str(), table.rows.join("; "))).collect();
    let generative = "CM-GANs; CM-GANs without ws&sc; CM-GANs with ws; CM-GANs with sc".to_owned();
    let expected = [
        ("Generative model", generative),
        ("Discriminative model", "CM-GANs; CM-GANs only inter".to_owned()),
        ("Adversarial training", "CM-GANs; CM-GANs-CAE".to_owned()),
    ];
    assert_eq!(tables, expected);
}

#[test]
fn quickstart_is_the_small_version_of_the_papers_ablations() {
    let submission = submission("quickstart.yaml");
    assert_eq!((submission.name.as_str(), submission.seeds.as_slice()), ("quickstart", &[1, 2, 3][..]));
    assert_is_the_papers_ablations(&submission);
    for row in &submission.rows {
        let sizes = ["hidden", "inter-hidden", "iterations"].map(|key| row.parameters["emoji"][key].clone());
        assert_eq!(sizes, [256, 128, 400].map(Integer));
    }
    assert_eq!(submission.resources.cpus, 1);
    assert_eq!(plan(&submission, &catalog()).runs.len(), 18);
}

#[test]
fn ablations_have_the_papers_sizes_and_five_seeds() {
    let submission = submission("ablations.yaml");
    assert_eq!((submission.name.as_str(), submission.seeds.len()), ("ablations", 5));
    assert_is_the_papers_ablations(&submission);
    let parameters = &submission.rows[0].parameters["emoji"];
    let sizes = ["hidden", "inter-hidden", "batch-size", "generator-steps", "iterations"];
    assert_eq!(sizes.map(|key| parameters[key].clone()), [1024, 512, 64, 5, 2000].map(Integer));
    assert_eq!(parameters["learning-rate"], Float(1e-3));
    assert_eq!(submission.resources.memory_bytes, 2 << 30);
}

#[test]
fn the_rows_are_those_of_the_published_tables() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/published.csv");
    let Ok(published) = fs::read_to_string(path) else {
        println!("skipped: the_rows_are_those_of_the_published_tables: ../shared is not there");
        return;
    };
    for file in ["quickstart.yaml", "ablations.yaml"] {
        let tables = ["ablation-generative", "ablation-discriminative", "ablation-adversarial"];
        for (name, table) in tables.into_iter().zip(submission(file).tables) {
            let mut rows: Vec<&str> = published
                .lines()
                .map(|line| line.split(',').collect::<Vec<_>>())
                .filter(|cells| cells[0] == name && cells[1] == "Wikipedia")
                .map(|cells| cells[2])
                .collect();
            rows.dedup();
            assert_eq!(rows, table.rows, "{name}");
        }
    }
}
