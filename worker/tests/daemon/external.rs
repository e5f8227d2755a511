//! Programs of users' own: what they are given, what is made of what they leave, and every way they fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use experiment_spec::{
    ids::ContentHash,
    program::{Program, ProgramFile},
    run::{RunSpec, StepSpec},
    scores::Scores,
};
use orchestrator_proto::v1::{Artifact, Assignment, attempt_event::Event};
use retrieval::{
    datasets::synthetic::Synthetic,
    feature_file::FeatureFile,
    features::{Rows, Split},
    method::{Embedding, EmbeddingValues},
    metrics::map::evaluate,
};

use crate::{
    Test,
    coordinator::{Coordinator, artifact, held},
    steps::step,
    worker::{Fixture, ends_within},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_program_is_scored_like_a_method", a_program_is_scored_like_a_method),
    ("a_program_sees_no_test_label_and_no_pair", a_program_sees_no_test_label_and_no_pair),
    ("every_failure_of_a_program_is_named", every_failure_of_a_program_is_named),
    ("a_program_is_held_to_memory_and_time", a_program_is_held_to_memory_and_time),
    ("nothing_that_a_program_started_is_left", nothing_that_a_program_started_is_left),
    ("a_program_runs_only_where_it_is_allowed", a_program_runs_only_where_it_is_allowed),
];

/// Features as they are is an embedding, where both sides have as many columns.
const COPY: &str = "cp input/test_image.npy output/image.npy\ncp input/test_text.npy output/text.npy\n";

fn features() -> Synthetic {
    Synthetic { classes: 3, dims: (6, 6), noise: (0.5, 0.5), pairs: [30, 6, 24], patches: 0, seed: 1 }
}

/// Gives a run of a script at the next poll.
fn assign(fixture: &Fixture, step_id: i64, seed: u64, script: &str, change: impl FnOnce(&mut Assignment)) {
    let path = fixture.folder.path().join(format!("features-{step_id}.safetensors"));
    features().write(&path).unwrap();
    let features = artifact("features.safetensors", &fs::read(&path).unwrap());
    let mut state = fixture.coordinator.state();
    state.blobs.insert(features.hash.clone(), fs::read(&path).unwrap());
    let file =
        ProgramFile { name: "run.sh".into(), hash: ContentHash::of(script.as_bytes()), bytes: script.len() as u64 };
    state.blobs.insert(file.hash.to_string(), script.as_bytes().to_vec());
    drop(state);
    let program = Program { command: ["sh", "run.sh"].map(str::to_owned).into(), files: vec![file] };
    assign_program(&fixture.coordinator, step_id, seed, program, features, change);
}

fn assign_program(
    coordinator: &Coordinator,
    step_id: i64,
    seed: u64,
    program: Program,
    features: Artifact,
    change: impl FnOnce(&mut Assignment),
) {
    let StepSpec::Run(toy) = step("external", seed) else { unreachable!("a run") };
    let protocol = retrieval::protocol::REVISION;
    let spec = StepSpec::Run(RunSpec { program: Some(program), parameters: BTreeMap::new(), protocol, ..toy });
    coordinator.assign_with(step_id, 1, &spec, |assignment| {
        assignment.features = vec![features];
        assignment.commands_allowed = true;
        change(assignment);
    });
}

fn scores(coordinator: &Coordinator, step_id: i64) -> Scores {
    match coordinator.last_word(step_id, 1) {
        Event::Succeeded(succeeded) => serde_json::from_str(&succeeded.scores_json).unwrap(),
        other => panic!("a success expected, not {other:?}"),
    }
}

fn failure(coordinator: &Coordinator, step_id: i64) -> (String, String) {
    match coordinator.last_word(step_id, 1) {
        Event::Failed(failed) => (failed.failure_kind, failed.message),
        other => panic!("a failure expected, not {other:?}"),
    }
}

/// Lines of a log stream.
fn lines(coordinator: &Coordinator, step_id: i64, stream: &str) -> Vec<String> {
    let state = coordinator.state();
    let lines = state.events(step_id, 1).filter_map(|event| match event {
        Event::Log(line) if line.stream == stream => Some(line.text.clone()),
        _ => None,
    });
    lines.collect()
}

fn a_program_is_scored_like_a_method() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    let script = format!(
        "{COPY}
         echo '{{\"iteration\": 3, \"iterations\": 4, \"loss\": 0.5, \"metrics\": {{\"state\": 2.5}}}}'
         echo '{{\"iteration\": 2}}'
         echo to output; printf 'first\\rlast\\n' >&2
         echo \"$OMP_NUM_THREADS $PYTHONHASHSEED\"
         basename \"$TMPDIR\"; : > \"$TMPDIR/scratch\"
         sleep 0.3"
    );
    // The order in which the test features are given is drawn from the seed; the scores do not depend on it.
    for seed in [1_u64, 2] {
        assign(&fixture, seed.cast_signed(), seed, &script, |_| {});
    }
    let (first, second) = (scores(coordinator, 1), scores(coordinator, 2));
    assert_eq!(first.scores, second.scores);

    let path = fixture.folder.path().join("features-1.safetensors");
    let file = FeatureFile::open(&path).unwrap();
    let test = file.pairs(Split::Test);
    let embedding = |rows: Rows<'_>| {
        let mut values = vec![0.0; rows.rows() * rows.dims()];
        values.chunks_exact_mut(rows.dims()).enumerate().for_each(|(at, out)| rows.row(at).write_f32(out));
        Embedding { rows: rows.rows(), dims: rows.dims(), values: EmbeddingValues::F32(values) }
    };
    let known = evaluate(&embedding(test.image), &embedding(test.text), test.labels, 3).unwrap();
    assert_eq!(first.scores, known, "scored as if a method had embedded them so");

    assert!(first.kind.starts_with("program/"), "{}", first.kind);
    assert_eq!(first.selected_iteration, 3);
    assert!(first.notes.iter().any(|note| note == "computed by `sh run.sh`"), "{:?}", first.notes);
    assert!(first.notes.iter().any(|note| note.starts_with("transductive")), "{:?}", first.notes);
    assert!(first.facts["program-peak-memory-bytes"] > 0.0);
    assert_eq!(coordinator.state().points(1), BTreeMap::from([(3, 2.5)]));
    let out = ["{\"iteration\": 2}", "to output", "1 0", "tmp"];
    assert_eq!(lines(coordinator, 1, "stdout"), out, "what is no progress is for people");
    assert_eq!(lines(coordinator, 1, "stderr"), ["last"]);
    fixture.end(daemon).unwrap();
    assert_eq!(fixture.step_folders().len(), 0);
}

fn a_program_sees_no_test_label_and_no_pair() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    // The numbers of all rows: six of four bytes each, behind a header of 128 bytes.
    let rows = |name: &str| format!("od -An -v -w24 -t f4 -j 128 input/test_{name}.npy\n");
    let script = format!("{COPY}ls input\ncat input/description.json\n{}{}", rows("image"), rows("text"));
    assign(&fixture, 1, 1, &script, |_| {});
    scores(coordinator, 1);
    let printed = lines(coordinator, 1, "stdout");
    let names = [
        "description.json",
        "test_image.npy",
        "test_text.npy",
        "train_image.npy",
        "train_labels.npy",
        "train_text.npy",
        "validation_image.npy",
        "validation_labels.npy",
        "validation_text.npy",
    ];
    assert_eq!(printed[..names.len()], names);
    let end = printed.iter().position(|line| line == "}").unwrap() + 1;
    let description = printed[names.len()..end].concat();
    let description: serde_json::Value = serde_json::from_str(&description).unwrap();
    assert_eq!(description["version"], 1);
    assert_eq!(description["train"]["pairs"], 30);
    assert_eq!(description["validation"]["labels"], "input/validation_labels.npy");
    assert_eq!(description["test"]["texts"], 24);
    assert!(description["test"].get("labels").is_none());
    assert_eq!((&description["classes"], &description["gpu"]), (&3.into(), &serde_json::Value::Null));

    let file = FeatureFile::open(&fixture.folder.path().join("features-1.safetensors")).unwrap();
    let pairs = file.pairs(Split::Test);
    let order = |printed: &[String], rows: Rows<'_>| -> Vec<usize> {
        let is_row = |numbers: &[f64], at: usize| {
            let row = rows.row(at);
            numbers.len() == row.len() && numbers.iter().enumerate().all(|(n, found)| (found - row.get(n)).abs() < 1e-5)
        };
        let place = |line: &String| {
            let numbers: Vec<f64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
            (0..rows.rows()).find(|at| is_row(&numbers, *at)).unwrap_or_else(|| panic!("{line} is no row"))
        };
        printed.iter().map(place).collect()
    };
    let (image, text) = (order(&printed[end..end + 24], pairs.image), order(&printed[end + 24..], pairs.text));
    let sorted = |order: &Vec<usize>| order.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let own: Vec<usize> = (0..24).collect();
    assert_eq!((sorted(&image), sorted(&text)), (own.clone(), own.clone()), "every row is given once");
    assert!(
        image != own && text != own && image != text,
        "shuffled, each side in an order of its own: {image:?} {text:?}"
    );
    fixture.end(daemon).unwrap();
}

fn every_failure_of_a_program_is_named() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    let outside = fixture.folder.path().join("outside");
    let write_outside = format!("{COPY}echo evil > {}", outside.display());
    let nan =
        format!("{COPY}printf '\\000\\000\\300\\177' | dd of=output/text.npy bs=1 seek=132 conv=notrunc 2> tmp/dd");
    let table = [
        ("echo no luck >&2; exit 3", "user-error", "the program ended with code 3; it last printed: no luck"),
        ("kill -9 $$", "user-error", "the program was killed by signal 9"),
        ("echo {} > output/image.npy", "user-error", "output/image.npy: not a .npy file"),
        (
            "cp input/test_image.npy output/image.npy",
            "user-error",
            "output/text.npy: the program ended well and left no",
        ),
        (
            "cp input/train_image.npy output/image.npy",
            "user-error",
            "output/image.npy: 30 rows; 24 test images were given",
        ),
        (&nan, "nan", "output/text.npy: row 0, column 1 (counted from 0) is NaN, no number"),
        ("yes", "user-error", "the program printed more than 64 MiB or 1000000 lines on its standard output"),
        ("yes >&2", "user-error", "the program printed more than 64 MiB or 1000000 lines on its standard error"),
        (&write_outside, "user-error", "Permission denied"),
        ("kill -9 $PPID; true", "user-error", "output/image.npy: the program ended well and left no"),
        ("rm -r output; ln -s input output", "user-error", "output/image.npy: the program replaced the folder"),
    ];
    for (id, (script, _, _)) in (1..).zip(&table) {
        // One at a time: what another prints meanwhile is no concern of this test.
        assign(&fixture, id, 1, script, |_| {});
        coordinator.last_word(id, 1);
    }
    for (id, (script, kind, part)) in (1..).zip(&table) {
        let (found, message) = failure(coordinator, id);
        assert!(found == *kind && message.contains(part), "{script}: {found}: {message}");
    }
    assert!(!outside.exists());
    let features =
        artifact("features.safetensors", &fs::read(fixture.folder.path().join("features-1.safetensors")).unwrap());
    let none = Program { command: vec!["no-such-program".into()], files: Vec::new() };
    assign_program(coordinator, 20, 1, none, features.clone(), |_| {});
    let (kind, message) = failure(coordinator, 20);
    let part = "code 127; it last printed: `no-such-program` cannot be started";
    assert!(kind == "user-error" && message.contains(part), "{kind}: {message}");
    let lost = ProgramFile { name: "run.sh".into(), hash: ContentHash::of(b"lost"), bytes: 4 };
    let lost = Program { command: vec!["./run.sh".into()], files: vec![lost] };
    assign_program(coordinator, 21, 1, lost, features, |_| {});
    let (kind, message) = failure(coordinator, 21);
    assert!(kind == "data" && message.starts_with("run.sh: the coordinator does not have"), "{kind}: {message}");
    fixture.end(daemon).unwrap();
}

fn a_program_is_held_to_memory_and_time() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    // `tail` keeps the one line that it is given.
    assign(&fixture, 1, 1, "head -c 4000000000 /dev/zero | tail -n 1 | wc -c", |assignment| {
        assignment.memory_bytes = 100 << 20;
    });
    let (kind, message) = failure(coordinator, 1);
    assert!(kind == "out-of-memory" && message.contains("its limit is 100 MiB"), "{kind}: {message}");
    assign(&fixture, 2, 1, "trap '' TERM; sleep 60; sleep 60", |assignment| assignment.time_limit_s = 1);
    let (kind, message) = failure(coordinator, 2);
    assert!(kind == "timeout" && message.contains("did not end within 1 s"), "{kind}: {message}");
    assign(&fixture, 4, 1, "for n in $(seq 1100); do sleep 60 & done; wait", |_| {});
    let (kind, message) = failure(coordinator, 4);
    assert!(kind == "user-error" && message.contains("started more than 1000 processes"), "{kind}: {message}");
    let large = "dd if=/dev/zero of=large bs=1 count=1 seek=20000000000 2> tmp/dd; sleep 60";
    assign(&fixture, 5, 1, large, |_| {});
    let (kind, message) = failure(coordinator, 5);
    assert!(kind == "user-error" && message.contains("wrote more than 16 GiB into its folder"), "{kind}: {message}");
    fixture.end(daemon).unwrap();
}

/// Process id that a script printed first.
fn printed_process(coordinator: &Coordinator, step_id: i64) -> u32 {
    coordinator.wait("a process id", |state| {
        state.events(step_id, 1).find_map(|event| match event {
            Event::Log(line) if line.stream == "stdout" => line.text.parse().ok(),
            _ => None,
        })
    })
}

fn nothing_that_a_program_started_is_left() {
    let (fixture, daemon) = Fixture::at_work();
    let coordinator = &fixture.coordinator;
    // In a session of its own: no signal to the group of the attempt reaches it.
    let stray = "setsid sleep 60 &\necho $!\n";
    assign(&fixture, 1, 1, &format!("{stray}{COPY}"), |_| {});
    scores(coordinator, 1);
    ends_within(printed_process(coordinator, 1), Duration::ZERO);

    assign(&fixture, 2, 2, &format!("{stray}sleep 60"), |assignment| assignment.time_limit_s = 1);
    assert_eq!(failure(coordinator, 2).0, "timeout");
    ends_within(printed_process(coordinator, 2), Duration::ZERO);

    assign(&fixture, 3, 3, &format!("{stray}sleep 60"), |_| {});
    let process = printed_process(coordinator, 3);
    coordinator.state().stop = vec![held(3, 1)];
    ends_within(process, Duration::from_secs(4));

    assign(&fixture, 4, 4, &format!("{stray}sleep 60"), |_| {});
    let process = printed_process(coordinator, 4);
    fixture.end(daemon).unwrap();
    ends_within(process, Duration::ZERO);
    assert!(matches!(coordinator.state().events(4, 1).last(), None | Some(Event::Released(_) | Event::Log(_))));
}

fn a_program_runs_only_where_it_is_allowed() {
    let (fixture, daemon) = Fixture::at_work();
    assign(&fixture, 1, 1, COPY, |assignment| assignment.commands_allowed = false);
    let (kind, message) = failure(&fixture.coordinator, 1);
    assert!(kind == "user-error" && message.contains("without --allow-commands"), "{kind}: {message}");
    fixture.end(daemon).unwrap();
}
