//! Whole runs with the real binary: a coordinator and workers as daemons, interruption, failures.

mod common;

use std::{fs, time::Duration};

use common::{Lab, attempts_of, eventually, scores, text};

const SPEC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/specs/kill.yaml");
const LIMIT: Duration = Duration::from_mins(10);

fn kill(id: u32, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    rustix::process::kill_process(id, signal).expect("the process is there");
}

/// The table of two daemons, one of them killed in the middle, is that of `run`; and what was asked for
/// once is not computed again.
#[test]
fn two_workers_one_killed_mid_run_give_the_same_table() {
    let undisturbed = Lab::new();
    let output = undisturbed.run(&["run", SPEC]);
    assert!(output.status.success(), "{}", text(&output.stderr));

    let lab = Lab::new();
    let mut server = lab.start(&["serve", "--listen", "127.0.0.1:0"], "serve.log");
    server.wait_for("start a worker with", LIMIT);
    let folders = ["one", "two"].map(|name| lab.folder.path().join(name));
    let worker = |index: usize, log: &str| {
        let folder = folders[index].to_str().unwrap();
        lab.start(&["worker", "--folder", folder, "--cpus", "1", "--checkpoint-every", "20"], log)
    };
    let mut first = worker(0, "first.log");
    let second = worker(1, "second.log");
    let mut submit = lab.start(&["submit", SPEC, "--wait"], "submit.log");
    submit.wait_for("bi-modal average", LIMIT);
    kill(first.child.id(), rustix::process::Signal::KILL);
    first.wait(Duration::from_secs(5));
    let revived = worker(0, "revived.log");
    assert_eq!(submit.wait(LIMIT), 0, "{}", submit.output());
    assert_eq!(scores(&lab.home(), "kill"), scores(&undisturbed.home(), "kill"));

    let again = lab.run(&["--json", "submit", SPEC]);
    let answer: serde_json::Value = serde_json::from_str(text(&again.stdout).trim()).expect("one JSON object");
    assert_eq!((answer["runs"].as_u64(), answer["already_scored"].as_u64()), (Some(6), Some(6)));
    let plan = lab.run(&["submit", SPEC, "--dry-run"]);
    assert!(text(&plan.stdout).contains("6 runs, 6 already scored"), "{}", text(&plan.stdout));
    drop((second, revived));
}

#[test]
fn an_interrupted_run_says_how_to_go_on_and_goes_on() {
    let lab = Lab::new();
    let mut run = lab.start(&["run", SPEC, "--checkpoint-every", "20"], "run.log");
    run.wait_for("bi-modal average", LIMIT);
    kill(run.child.id(), rustix::process::Signal::INT);
    assert_eq!(run.wait(Duration::from_secs(20)), 130, "{}", run.output());
    assert!(run.output().contains("goes on where it was"), "{}", run.output());
    eventually("its attempts end", Duration::from_secs(2), || attempts_of(&lab.home()).is_empty());
    let status = text(&lab.run(&["status", "kill"]).stdout);
    assert!(status.contains("kill"), "{status}");
    let output = lab.run(&["run", SPEC]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("going on with submission 1"), "{}", text(&output.stderr));
    let exported = lab.folder.path().join("tables");
    let output = lab.run(&["export", "kill", "--format", "latex", "--out", exported.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let latex = fs::read_to_string(exported.join("tables.tex")).expect("tables.tex was written");
    assert!(latex.contains("CM-GANs without ws\\&sc") && latex.contains("\\textbf{"), "{latex}");
}

#[test]
fn a_second_run_on_a_state_folder_is_told_who_holds_it() {
    let lab = Lab::new();
    let mut run = lab.start(&["run", SPEC], "run.log");
    run.wait_for("dashboard", LIMIT);
    let output = lab.run(&["run", SPEC]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(&run.child.id().to_string()), "{}", text(&output.stderr));
}

#[test]
fn a_run_that_fails_empties_its_cell_and_the_others_go_on() {
    let lab = Lab::new();
    let spec = lab.write(
        "broken.yaml",
        "name: broken\ndatasets: [emoji]\nencoder-epochs: 1\nseeds: 1\nmethods:\n  \
         - { method: cm-gans, label: fine }\n  - { method: cm-gans, label: broken, learning-rate: 1.0, recon-loss-weight: 1000 }\n\
         defaults: { hidden: 8, inter-hidden: 4, iterations: 40, batch-size: 16 }\nresources: { cpus: 1 }\n",
    );
    // Steps so large that every unit dies: all codes are equal, which is refused before it becomes a score.
    let output = lab.run(&["run", spec.to_str().unwrap()]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("failed: user-error") && message.contains("are tied"), "{message}");
    let table = text(&output.stdout);
    assert!(table.contains("fine") && table.contains("user-error"), "{table}");
    // The program stands under the table and with every attempt.
    let program = text(&lab.run(&["--version"]).stdout).replace("orchestrator ", "");
    assert!(table.contains(&format!("Code: {program}")), "{table}");
    assert!(text(&lab.run(&["show", "2"]).stdout).contains(&format!("code      {program}")));
    let shown: serde_json::Value = serde_json::from_slice(&lab.run(&["--json", "show", "2"]).stdout).unwrap();
    let code = &shown["attempts"][0]["code"];
    assert_eq!(code["version"], env!("CARGO_PKG_VERSION"), "{shown}");
    assert!(code["compiler"].as_str().unwrap().starts_with("rustc "), "{shown}");
}

#[test]
fn a_state_folder_that_cannot_be_made_is_a_sentence() {
    let lab = Lab::new();
    let file = lab.write("file", "no folder");
    for home in [file.join("state"), "/proc/nowhere".into()] {
        let output = lab.command(&["run", SPEC]).env("ORCHESTRATOR_HOME", &home).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let message = text(&output.stderr);
        assert!(message.contains(home.to_str().unwrap()) && !message.contains("panicked"), "{message}");
    }
}
