//! What a user's mistakes and questions are answered with: sentences, exit codes, and nothing changed.

mod common;

use std::{os::unix::fs::PermissionsExt, time::Duration};

use common::{Lab, text};

#[test]
fn a_wrong_specification_changes_nothing_and_names_every_mistake() {
    let lab = Lab::new();
    let spec = lab.write("wrong.yaml", "name: wrong\ndatasets: [emojy]\nseeds: 1\nmethods: [cm-gan]\nsedes: 3\n");
    let output = lab.run(&["run", spec.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    for wanted in ["wrong.yaml:2:", "emoji", "wrong.yaml:4:", "cm-gans", "wrong.yaml:5:1", "seeds", "3 mistakes"] {
        assert!(message.contains(wanted), "`{wanted}` is missing in:\n{message}");
    }
    assert!(!lab.home().exists(), "the state folder was made");
}

#[test]
fn a_missing_file_is_a_wrong_request() {
    let output = Lab::new().run(&["run", "nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("nowhere.yaml"), "{}", text(&output.stderr));
}

#[test]
fn without_a_coordinator_the_exit_code_is_3_and_the_cure_is_named() {
    let lab = Lab::new();
    let output = lab.run(&["status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("orchestrator serve"), "{}", text(&output.stderr));
    let output = lab.run(&["--coordinator", "http://127.0.0.1:9", "status"]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn serve_refuses_to_listen_open_to_a_network() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.home()).unwrap();
    let credentials = lab.home().join("credentials.toml");
    std::fs::write(&credentials, "somebody else may have read this").unwrap();
    std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = lab.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    let refused = text(&output.stderr);
    assert!(refused.contains("refusing to listen on 0.0.0.0:0 without TLS and tokens"), "{refused}");
    assert!(refused.contains("can be read by others (mode 644)") && refused.contains("chmod 600"), "{refused}");
    assert!(!lab.home().join("orchestrator.db").exists());
}

#[test]
fn a_second_coordinator_on_a_folder_is_told_who_holds_it() {
    let lab = Lab::new();
    let mut first = lab.start(&["serve", "--listen", "127.0.0.1:0"], "first.log");
    first.wait_for("start a worker with", Duration::from_secs(30));
    let output = lab.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(message.contains(&first.child.id().to_string()), "the holder's process is not named:\n{message}");
}

#[test]
fn the_registry_and_the_data_sets_are_listed_and_as_json_too() {
    let lab = Lab::new();
    let methods = text(&lab.run(&["methods", "cm-gans"]).stdout);
    for parameter in ["weight-sharing", "softmax-head", "mismatch-concat", "activation", "generator-steps"] {
        assert!(methods.contains(parameter), "{methods}");
    }
    let output = lab.run(&["methods", "cm-gan"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cm-gans"));
    let line = text(&lab.run(&["--json", "data", "list"]).stdout);
    let entry: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!(entry["key"], "emoji");
    assert_eq!(entry["splits"][0]["test"], 383);
    let line = text(&lab.run(&["--json", "data", "list"]).stdout);
    let absent: serde_json::Value = serde_json::from_str(line.lines().nth(1).unwrap()).unwrap();
    assert!(absent["key"] == "wikipedia" && absent["missing"] == true, "{absent}");
    assert_eq!(entry["classes"].as_array().unwrap().len(), 9);
}

#[test]
fn the_doctor_names_the_gpus_and_says_whether_this_build_can_use_them() {
    let lab = Lab::new();
    let tool = lab.write("nvidia-smi", "#!/bin/sh\necho '0, GPU-1, 24564, NVIDIA Test'\n");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let cuda = |path: String| {
        let mut command = lab.command(&["--json", "doctor"]);
        let output = command.env("PATH", path).env_remove("CUDA_VISIBLE_DEVICES").output().unwrap();
        let lines = text(&output.stdout);
        let mut findings = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        findings.find(|finding| finding["what"] == "CUDA").unwrap()
    };
    let build = if cfg!(feature = "cuda") { "CUDA build" } else { "CPU build" };
    let with = cuda(lab.folder.path().display().to_string());
    let without = cuda(String::new());
    for finding in [&with, &without] {
        assert!(finding["found"].as_str().unwrap().starts_with(build), "{finding}");
    }
    assert!(with["found"].as_str().unwrap().contains("GPU 0 NVIDIA Test"), "{with}");
    assert_eq!((&with["ok"], &without["ok"]), (&cfg!(feature = "cuda").into(), &cfg!(not(feature = "cuda")).into()));
}

#[test]
fn every_verb_has_help_with_an_example() {
    let lab = Lab::new();
    for verb in [
        "run",
        "serve",
        "worker",
        "submit",
        "status",
        "runs",
        "show",
        "why",
        "logs",
        "cancel",
        "retry",
        "export",
        "methods",
        "doctor",
        "completions",
    ] {
        let output = lab.run(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        assert!(
            text(&output.stdout).contains("Example: orchestrator "),
            "{verb} has no example:\n{}",
            text(&output.stdout)
        );
    }
    assert!(text(&lab.run(&["completions", "bash"]).stdout).contains("_orchestrator"));
    assert_eq!(lab.run(&["doctor"]).status.code(), Some(0));
}

#[test]
fn why_tells_what_a_run_waits_for() {
    let lab = Lab::new();
    let spec = lab.write("one.yaml", "name: one\ndatasets: [emoji]\nseeds: 1\nmethods: [cca]\n");
    let mut server = lab.start(&["serve", "--listen", "127.0.0.1:0"], "serve.log");
    server.wait_for("start a worker with", Duration::from_mins(1));
    assert!(lab.run(&["submit", spec.to_str().unwrap()]).status.success());
    let output = lab.run(&["why", "2"]);
    let told = text(&output.stdout);
    let lines: Vec<&str> = told.lines().collect();
    let expected = [
        "run 2 (CCA on emoji, seed 1): queued",
        "  it waits for its features, which extraction 1 makes",
        "  extraction 1 stands first in the queue",
        "  extraction 1 has no worker to go to: none is online; start one with `orchestrator worker`",
    ];
    assert_eq!(&lines[..4], expected, "{told}");
    assert!(lines[4].ends_with("queued by submission 1"), "{told}");
    let json: serde_json::Value = serde_json::from_str(text(&lab.run(&["--json", "why", "1"]).stdout).trim()).unwrap();
    assert_eq!((&json["state"], &json["standing"][0]), (&"queued".into(), &"it stands first in the queue".into()));
    let missing = lab.run(&["why", "99"]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing.stderr));
}

#[test]
fn a_mirror_is_refused_when_its_url_names_none_and_is_looked_at_when_it_does() {
    let lab = Lab::new();
    for verb in [&["worker", "--coordinator", "http://127.0.0.1:9"][..], &["gc"]] {
        let output = lab.run(&[verb, &["--mirror", "/shared/folder"]].concat());
        assert_eq!(output.status.code(), Some(2));
        let refused = text(&output.stderr);
        assert!(
            refused.contains("mirror /shared/folder: no such kind of mirror is known; expected s3://"),
            "{refused}"
        );
    }
    let folder = lab.folder.path().join("mirror");
    let url = format!("file://{}", folder.display());
    let doctor = || {
        let output = lab.command(&["--json", "doctor"]).env("ORCHESTRATOR_MIRROR", &url).output().unwrap();
        let findings = text(&output.stdout);
        let finding = findings.lines().find(|line| line.contains(r#""what":"mirror""#)).expect("it is looked at");
        serde_json::from_str::<serde_json::Value>(finding).unwrap()["ok"] == true
    };
    assert!(!doctor());
    std::fs::create_dir(&folder).unwrap();
    assert!(doctor());
    assert!(!text(&lab.run(&["doctor"]).stdout).contains("mirror"), "none is named");
}
