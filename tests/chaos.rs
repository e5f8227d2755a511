//! `chaos`: a short trial passes, and one that is interrupted leaves nothing behind.

mod common;

use std::{fs, path::Path, process::Command, time::Duration};

use common::{Lab, eventually, text};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_mins(5);

/// Temporary folders go where the test can look at them.
fn chaos(lab: &Lab, args: &[&str]) -> Command {
    let mut command = lab.command(&[&["chaos"], args].concat());
    command.env("TMPDIR", temporary(lab));
    command
}

fn temporary(lab: &Lab) -> std::path::PathBuf {
    let folder = lab.folder.path().join("temporary");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Processes that have this path in their environment.
fn processes_of(folder: &Path) -> Vec<String> {
    let mark = folder.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let environment = |path: &Path| text(&fs::read(path.join("environ")).unwrap_or_default());
    let ours = processes.filter(|path| environment(path).contains(&mark));
    ours.map(|path| text(&fs::read(path.join("cmdline")).unwrap_or_default()).replace('\0', " ")).collect()
}

fn leaves_nothing(lab: &Lab) {
    let folder = temporary(lab);
    eventually("every process is gone", Duration::from_secs(5), || processes_of(&folder).is_empty());
    let left: Vec<_> = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(left, [] as [std::path::PathBuf; 0]);
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(&*folder.to_string_lossy()), "{mounts}");
}

#[test]
fn a_short_trial_passes_and_its_sheet_says_what_was_tried() {
    let lab = Lab::new();
    let output = chaos(&lab, &["--minutes", "0.5", "--workers", "2", "--seed", "3", "--json"]).output().unwrap();
    let sheet = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{sheet}\n{}", text(&output.stderr));
    let sheet: serde_json::Value = serde_json::from_str(&sheet).expect("one JSON object");
    assert_eq!((&sheet["passed"], &sheet["seed"], &sheet["workers"]), (&true.into(), &3.into(), &2.into()));
    assert_eq!(sheet["folder"], serde_json::Value::Null);
    let faults = sheet["faults"].as_object().unwrap();
    let carried_out: u64 = faults.values().map(|count| count.as_u64().unwrap()).sum();
    assert!(faults.len() == 19 && carried_out > 5, "{faults:?}");
    // Faults of the network are carried out, not only counted.
    let of_network = faults.iter().filter(|(name, _)| name.contains("network") || name.contains("connections"));
    let of_network: u64 = of_network.map(|(_, count)| count.as_u64().unwrap()).sum();
    assert!(of_network > 0 && sheet["network_hindrances"].as_u64() > Some(0), "{sheet}");
    let checks = sheet["checks"].as_array().unwrap();
    assert!(checks.len() == 9 && checks.iter().all(|check| check["passed"] == true), "{checks:?}");
    leaves_nothing(&lab);
}

#[test]
fn an_interrupted_trial_ends_everything_that_it_started() {
    let lab = Lab::new();
    let mut command = chaos(&lab, &["--minutes", "5", "--workers", "2", "--seed", "3"]);
    let mut trial = lab.start_command(&mut command, "chaos.log");
    // The first fault comes when the fleet is at work.
    trial.wait_for("coordinator", LIMIT);
    let processes = processes_of(&temporary(&lab));
    assert!(processes.len() > 2, "the trial and its fleet: {processes:?}");
    kill_process(Pid::from_raw(trial.child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    assert_eq!(trial.wait(Duration::from_secs(30)), 130, "{}", trial.output());
    assert!(trial.output().ends_with("interrupted; nothing is left of it\n"), "{}", trial.output());
    leaves_nothing(&lab);
}
