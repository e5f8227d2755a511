//! Programs of users' own: which files go along, and what makes two of them different runs.

mod common;

use std::collections::BTreeMap;

use common::catalog;
use experiment_spec::{
    catalog::Catalog,
    ids::ContentHash,
    plan::{Plan, plan},
    program::{Files, ProgramFile},
    run::StepSpec,
    spec::{Submission, parse_with},
};

/// Files of a folder that there is not, by name.
struct Folder(BTreeMap<&'static str, &'static str>);

impl Files for Folder {
    fn find(&mut self, name: &str) -> Result<Option<ProgramFile>, String> {
        let file = |content: &&str| ProgramFile {
            name: name.to_owned(),
            hash: ContentHash::of(content.as_bytes()),
            bytes: content.len() as u64,
        };
        match self.0.get(name) {
            Some(&"unreadable") => Err(format!("{name}: permission denied")),
            found => Ok(found.map(file)),
        }
    }
}

fn folder() -> Folder {
    let files = [("my.py", "print(1)"), ("lib/help.py", "x = 1"), ("data", "1 2"), ("secret.py", "unreadable")];
    Folder([&files[..], &[("input/x", "taken")]].concat().into_iter().collect())
}

fn read(methods: &str, catalog: &Catalog, mut folder: Folder) -> Result<Submission, String> {
    let yaml = format!("name: own\ndatasets: [emoji]\nseeds: 2\nmethods:\n{methods}\n");
    let problems = |problems: Vec<experiment_spec::spec::Problem>| {
        problems.iter().map(|problem| problem.render("own.yaml")).collect::<Vec<_>>().join("\n")
    };
    parse_with(&yaml, catalog, &mut folder).map_err(problems)
}

fn planned(methods: &str, folder: Folder) -> Plan {
    plan(&read(methods, &catalog(), folder).unwrap(), &catalog())
}

#[test]
fn a_program_takes_along_the_files_that_it_names() {
    let line =
        "  - { command: [python3, ./my.py, --with, data, --rate, '0.1'], files: [lib/help.py], label: Mine }\n  - cca";
    let plan = planned(line, folder());
    assert_eq!(plan.runs.len(), 4);
    let own = &plan.runs[0];
    assert_eq!((own.label.as_str(), own.spec.method.as_str()), ("Mine", "external"));
    let program = own.spec.program.as_ref().unwrap();
    assert_eq!(program.line(), "python3 ./my.py --with data --rate 0.1");
    let files: Vec<&str> = program.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(files, ["data", "lib/help.py", "my.py"]);
    assert_eq!(program.files[2].hash, ContentHash::of(b"print(1)"));
    assert_eq!(plan.runs[1].spec.program, None);
    let text = StepSpec::Run(plan.runs[1].spec.clone()).canonical_json();
    assert!(!text.contains("program"), "runs of methods keep the fingerprints they had: {text}");
}

#[test]
fn command_and_content_decide_what_a_run_is_and_the_label_does_not() {
    let fingerprint = |line: &str, folder| planned(line, folder).runs[0].fingerprint;
    let line = "  - { command: [python3, my.py], label: Mine }";
    let own = fingerprint(line, folder());
    assert_eq!(own, fingerprint(&line.replace("Mine", "Other"), folder()));
    assert_ne!(own, fingerprint(&line.replace("my.py]", "my.py, -v]"), folder()));
    let mut edited = folder();
    edited.0.insert("my.py", "print(2)");
    assert_ne!(own, fingerprint(line, edited));
}

#[test]
fn files_that_cannot_go_along_are_named() {
    let said = |line: &str| read(line, &catalog(), folder()).unwrap_err();
    let unreadable = said("  - { command: [python3, secret.py], label: Mine }");
    assert_eq!(unreadable, "own.yaml:5:26: methods[0].command[1]: secret.py: permission denied");
    let taken = said("  - { command: [cat, input/x], label: Mine }");
    assert!(taken.contains("a run keeps `input`, `output` and `tmp` itself"), "{taken}");
    let many: Vec<String> = (0..65).map(|n| format!("f{n}")).collect();
    let many = said(&format!("  - {{ command: [a], files: [{}], label: Mine }}", many.join(", ")));
    assert!(many.contains("at most 64 entries, found 65"), "{many}");
    let long = said(&format!("  - {{ command: [{0}, {0}], label: Mine }}", "x".repeat(5_000)));
    assert!(long.contains("a command may have 8192 bytes, here 10000"), "{long}");
}

#[test]
fn where_no_programs_are_run_they_are_refused() {
    let closed = Catalog { external: None, ..catalog() };
    let said = read("  - { command: [python3, my.py], label: Mine }", &closed, folder()).unwrap_err();
    assert!(said.contains("methods[0].command: this coordinator runs no programs of its users"), "{said}");
    assert!(said.contains("--allow-commands"), "{said}");
}
