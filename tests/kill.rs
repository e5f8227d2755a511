//! `kill -9` of `run` at any moment, then `run` again: it goes on, computes nothing finished again, and the
//! final `scores.csv` is byte for byte that of an undisturbed run.

mod common;

use std::{
    collections::HashMap,
    fs,
    hash::{BuildHasher, RandomState},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    time::Duration,
};

use common::{Lab, Running, attempts_of, eventually, text};

const SPEC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/specs/kill.yaml");
const LIMIT: Duration = Duration::from_mins(10);
/// An attempt whose daemon is gone ends by itself within this.
const ORPHANS_END: Duration = Duration::from_secs(2);

/// When the process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after the extraction's process has come up.
    Extraction(Duration),
    /// So long after the first run that ends in this sitting.
    Training(Duration),
    /// While a process stands still at this fail point.
    At(&'static str, u64),
}

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Process,
    Group,
}

fn start(lab: &Lab, moment: Moment, name: &str) -> (Running, PathBuf) {
    let mark = lab.folder.path().join(format!("{name}.mark"));
    let mut command = lab.command(&["run", SPEC, "--checkpoint-every", "20", "--cpus", "2"]);
    command.process_group(0).env("ORCHESTRATOR_FAIL_POINT_MARK", &mark);
    if let Moment::At(place, passage) = moment {
        command.env("ORCHESTRATOR_FAIL_POINT", format!("{place}:{passage}:pause"));
    }
    (lab.start_command(&mut command, name), mark)
}

fn kill_at(lab: &Lab, moment: Moment, victim: Victim, name: &str) {
    let (mut run, mark) = start(lab, moment, name);
    match moment {
        Moment::Extraction(after) => {
            eventually("the extraction's process", LIMIT, || !attempts_of(&lab.home()).is_empty());
            std::thread::sleep(after);
        }
        Moment::Training(after) => {
            run.wait_for("bi-modal average", LIMIT);
            std::thread::sleep(after);
        }
        Moment::At(..) => eventually("the fail point", LIMIT, || mark.exists()),
    }
    assert!(run.child.try_wait().unwrap().is_none(), "{moment:?}: it ended before it was killed:\n{}", run.output());
    let id = rustix::process::Pid::from_raw(i32::try_from(run.child.id()).unwrap()).unwrap();
    let killed = match victim {
        Victim::Process => rustix::process::kill_process(id, rustix::process::Signal::KILL),
        Victim::Group => rustix::process::kill_process_group(id, rustix::process::Signal::KILL),
    };
    killed.expect("the process is there");
    run.wait(Duration::from_secs(5));
    eventually("its attempts end by themselves", ORPHANS_END, || attempts_of(&lab.home()).is_empty());
}

/// Attempt number of every step that has succeeded, by step.
fn finished(lab: &Lab) -> HashMap<i64, u64> {
    let output = lab.run(&["--json", "runs", "--extractions"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let steps = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line"));
    let done = steps.filter(|step| step["state"] == "succeeded");
    done.map(|step| (step["id"].as_i64().unwrap(), step["attempt"].as_u64().unwrap())).collect()
}

/// Files below a folder that were never finished.
fn partial_files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    let partial = files.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "partial"));
    partial.chain(folders.iter().flat_map(|folder| partial_files(folder))).collect()
}

fn scores(lab: &Lab) -> String {
    common::scores(&lab.home(), "kill")
}

#[test]
fn killed_twenty_times_a_run_ends_with_the_bytes_of_an_undisturbed_one() {
    let undisturbed = Lab::new();
    let output = undisturbed.run(&["run", SPEC, "--cpus", "2"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let wanted = scores(&undisturbed);
    assert_eq!(wanted.lines().count(), 1 + 6 * 9 * 2);

    let seed = RandomState::new().hash_one(0);
    println!("moments from seed {seed}");
    let mut state = seed;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let checkpoints = ["checkpoint-before-rename", "checkpoint-before-write", "checkpoint-written"];
    let handovers = ["score-before-report", "score-before-outbox", "outbox-before-send", "outbox-before-ack"];
    for round in 0..4usize {
        let lab = Lab::new();
        let moments = [
            Moment::Extraction(Duration::from_millis(below(3000))),
            // Counted in each process: 200 iterations make ten.
            Moment::At(checkpoints[round % 3], 1 + below(9)),
            Moment::Training(Duration::from_millis(below(700))),
            Moment::At(handovers[round], 1),
            Moment::At("export-before-write", 1 + below(5)),
        ];
        let mut before = HashMap::new();
        for (index, moment) in moments.into_iter().enumerate() {
            let victim = if (round + index) % 2 == 0 { Victim::Process } else { Victim::Group };
            println!("round {round}: {moment:?}, {victim:?}");
            kill_at(&lab, moment, victim, &format!("{index}.log"));
            let now = finished(&lab);
            for (step, attempt) in before {
                assert_eq!(now.get(&step), Some(&attempt), "step {step} was computed again after {moment:?}");
            }
            before = now;
        }
        let output = lab.run(&["run", SPEC, "--cpus", "2"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(finished(&lab).len(), 7);
        for (step, attempt) in before {
            assert_eq!(finished(&lab).get(&step), Some(&attempt), "step {step} was computed again at last");
        }
        assert!(scores(&lab) == wanted, "round {round}: other scores:\n{}\nwanted:\n{wanted}", scores(&lab));
        let left: Vec<_> = fs::read_dir(lab.home().join("reports/kill")).unwrap().flatten().map(|e| e.path()).collect();
        assert_eq!(left.len(), 6, "{left:?}");
        assert_eq!(partial_files(&lab.home()), [] as [PathBuf; 0], "what was half written stays nowhere");
    }
}
