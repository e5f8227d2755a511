//! Programs of the user's own with the real binary: scored here without asking, on a coordinator only with its leave; the
//! example beside our own CCA.

mod common;

use std::{fs, path::Path, process::Command, time::Duration};

use common::{Lab, scores, text};

const LIMIT: Duration = Duration::from_mins(5);

/// One good program, one that crashes, one that is not there; features of one pass.
const SPEC: &str = "
name: own
datasets: [emoji]
encoder-epochs: 1
seeds: 1
methods:
  - { command: [sh, own/copy.sh], label: Features cut short }
  - { command: [./crash, now], files: [own/copy.sh], label: Crash }
retries: 0
";

fn lab() -> (Lab, String) {
    let lab = Lab::new();
    fs::create_dir(lab.folder.path().join("own")).unwrap();
    // Texts as they are; of the images, which have more columns, as many numbers under the header of the texts.
    let copy = "cp input/test_text.npy output/text.npy
        bytes=$(wc -c < output/text.npy)
        head -c 128 output/text.npy > output/image.npy
        tail -c +129 input/test_image.npy | head -c $((bytes - 128)) >> output/image.npy
        echo copied";
    lab.write("own/copy.sh", copy);
    lab.write("crash", "#!/bin/sh\necho out of luck at $1, home ${ORCHESTRATOR_HOME-hidden} >&2\nexit 5\n");
    let spec = lab.write("own.yaml", SPEC);
    let spec = spec.to_str().unwrap().to_owned();
    (lab, spec)
}

#[test]
fn a_program_has_its_row_and_a_crash_is_named() {
    let (lab, spec) = lab();
    let output = lab.run(&["run", &spec]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let why =
        "seed 1 failed: user-error: the program ended with code 5; it last printed: out of luck at now, home hidden";
    assert!(table.contains(why), "{table}");
    assert!(table.contains("Features cut short: computed by `sh own/copy.sh`"), "{table}");
    let csv = scores(&lab.home(), "own");
    assert!(csv.contains(",external,Features cut short,1,image->text,none,"), "{csv}");
    assert!(!csv.contains("Crash"), "{csv}");
    let list = text(&lab.run(&["--json", "runs", "--method", "external"]).stdout);
    let runs: Vec<serde_json::Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(runs.len(), 2);
    for run in &runs {
        let id = run["id"].to_string();
        let logs = text(&lab.run(&["logs", &id]).stdout);
        let printed = if run["state"] == "succeeded" { "copied" } else { "out of luck at now" };
        assert!(logs.contains(printed), "{logs}");
    }

    let figures =
        "dataset,label,task,map,tolerance\nemoji,Features cut short,image->text,0,1\nemoji,Crash,image->text,1,0\n";
    let figures = lab.write("figures.csv", figures);
    let out = lab.folder.path().join("out");
    let export = |figures: &Path| {
        lab.run(&[
            "export",
            "own",
            "--format",
            "results",
            "--figures",
            figures.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ])
    };
    assert!(export(&figures).status.success());
    let results = fs::read_to_string(out.join("RESULTS.md")).unwrap();
    assert!(results.contains("export own --format results --figures figures.csv"), "{results}");
    assert!(
        results.contains("2 are of rows that stand here; 1 of these are met within their tolerance, 1 are not"),
        "{results}"
    );
    let refused = export(Path::new(&spec));
    assert_eq!(refused.status.code(), Some(2));
    let told = text(&refused.stderr);
    assert!(told.contains("own.yaml: line 1: there is no column `dataset`"), "{told}");

    // Edited, it is another run; the file itself has not changed.
    lab.write("crash", "#!/bin/sh\nexit 6\n");
    let again = text(&lab.run(&["run", &spec]).stdout);
    assert!(again.contains("the program ended with code 6"), "{again}");
    assert_eq!(scores(&lab.home(), "own"), csv);
    fs::remove_file(lab.folder.path().join("own/copy.sh")).unwrap();
    let gone = lab.run(&["run", &spec]);
    assert_eq!(gone.status.code(), Some(2));
    let told = text(&gone.stderr);
    assert!(told.contains("own.yaml:7:21: methods[0].command[1]: there is no file `own/copy.sh` beside"), "{told}");
    assert!(told.contains("own.yaml:8:40: methods[1].files[0]: there is no file `own/copy.sh`"), "{told}");
}

#[test]
fn a_coordinator_runs_programs_only_with_its_leave() {
    let (lab, spec) = lab();
    let mut closed = lab.start(&["serve", "--listen", "127.0.0.1:0"], "closed.log");
    closed.wait_for("start a worker with", LIMIT);
    let refused = lab.run(&["submit", &spec]);
    assert_eq!(refused.status.code(), Some(2));
    let why =
        "methods[0].command: this coordinator runs no programs of its users: start it with `serve --allow-commands`";
    assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    drop(closed);

    let mut open = lab.start(&["serve", "--listen", "127.0.0.1:0", "--allow-commands"], "open.log");
    open.wait_for("start a worker with", LIMIT);
    // A folder of its own: everything it needs comes over the wire.
    let folder = lab.folder.path().join("elsewhere");
    let _worker = lab.start(&["worker", "--folder", folder.to_str().unwrap()], "worker.log");
    let submitted = lab.run(&["submit", &spec, "--wait"]);
    assert_eq!(submitted.status.code(), Some(1), "{}", text(&submitted.stderr));
    assert!(text(&submitted.stdout).contains("the program ended with code 5"), "{}", text(&submitted.stdout));
    assert!(scores(&lab.home(), "own").contains("Features cut short"));
}

/// The scores that the example gets are those of our CCA with next to no ridge, up to the rounding of its features to f32.
#[test]
fn the_example_agrees_with_our_own_cca() {
    let name = "the_example_agrees_with_our_own_cca";
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let learn = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        Command::new(python).args(["-c", "import sklearn"]).output().is_ok_and(|it| it.status.success())
    });
    let (Some(python), true) = (learn, data.is_dir()) else {
        println!("skipped: {name}: python3 with scikit-learn, or ../shared, is not there");
        return;
    };
    let lab = Lab::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/external/cca.py");
    lab.write("cca.py", &fs::read_to_string(example).unwrap());
    let yaml = format!(
        "name: example\ndatasets: [wikipedia]\nseeds: 1\nmethods:\n  - {{ command: [{python}, cca.py, --dims, '9'], label: \
         Theirs }}\n  - {{ method: cca, label: Ours, ridge: 1e-4, dims: 9 }}\n"
    );
    let spec = lab.write("example.yaml", &yaml);
    let output = lab.command(&["run", spec.to_str().unwrap()]).env("ORCHESTRATOR_DATA", &data).output().unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let csv = scores(&lab.home(), "example");
    let map = |label: &str, task: &str| -> f64 {
        let line = csv.lines().find(|line| line.contains(&format!(",{label},1,{task},none,")));
        line.and_then(|line| line.rsplit(',').next()).unwrap().parse().unwrap()
    };
    for task in ["image->text", "text->image", "image->all", "text->all"] {
        let (theirs, ours) = (map("Theirs", task), map("Ours", task));
        println!("{task}: {theirs} by scikit-learn, {ours} here");
        assert!((theirs - ours).abs() < 0.003, "{task}: {theirs} by scikit-learn, {ours} here");
    }
}
