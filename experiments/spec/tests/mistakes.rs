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
fn a_byte_order_mark_and_windows_line_ends_are_no_mistake() {
    let yaml = "\u{feff}name: bom\r\ndatasets: [emoji]\r\nseeds: 1\r\nmethods: [cca]\r\n";
    assert_eq!(parse(yaml, &catalog()).unwrap().name, "bom");
}
