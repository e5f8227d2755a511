//! Which GPU an attempt sees, what it is told when there is none, and what kind its scores are of. No
//! GPU is needed: the attempts of these tests only look at what they are shown.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use orchestrator_proto::v1::{Assignment, Gpu, attempt_event::Event};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Test,
    coordinator::Coordinator,
    steps::{DEAD_GPU, state_after, step},
    worker::{Daemon, Fixture, ends_within},
};

pub(crate) const TESTS: &[Test] = &[
    ("an_attempt_sees_its_gpu_and_no_other", an_attempt_sees_its_gpu_and_no_other),
    ("an_attempt_without_a_gpu_sees_none", an_attempt_without_a_gpu_sees_none),
    ("what_cannot_use_a_gpu_is_of_the_processors_kind", what_cannot_use_a_gpu_is_of_the_processors_kind),
    ("a_gpu_that_does_not_answer_fails_the_attempt", a_gpu_that_does_not_answer_fails_the_attempt),
    ("a_checkpoint_of_another_kind_is_not_gone_on_from", a_checkpoint_of_another_kind_is_not_gone_on_from),
    ("a_build_without_cuda_offers_no_gpus", a_build_without_cuda_offers_no_gpus),
];

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A daemon with three GPUs.
fn with_gpus() -> (Fixture, Daemon) {
    let fixture = Fixture::new();
    let gpu = |index| Gpu { index, model: format!("Test {index}"), memory_bytes: 1 << 30 };
    let daemon = fixture.daemon(|config| config.gpus = [2, 5, DEAD_GPU].map(gpu).into());
    (fixture, daemon)
}

fn on_gpu(index: u32, share: f64) -> impl FnOnce(&mut Assignment) {
    move |assignment| {
        assignment.gpu_index = i32::try_from(index).unwrap();
        assignment.gpu_share = share;
    }
}

/// Kind of the attempt as it was said at its start.
fn kind(coordinator: &Coordinator, step_id: i64, attempt: u32) -> Option<String> {
    let state = coordinator.state();
    state.events(step_id, attempt).find_map(|event| match event {
        Event::Started(started) => Some(started.kind.clone()),
        _ => None,
    })
}

/// Kind at the start and kind of the scores, and what the attempt was shown.
fn seen(coordinator: &Coordinator, step_id: i64) -> (String, String) {
    let Event::Succeeded(succeeded) = coordinator.last_word(step_id, 1) else { panic!("step {step_id} failed") };
    assert_eq!(kind(coordinator, step_id, 1).as_deref(), Some(succeeded.scores_json.as_str()));
    (succeeded.scores_json, coordinator.state().log(step_id, 1).concat())
}

fn an_attempt_sees_its_gpu_and_no_other() {
    let (fixture, daemon) = with_gpus();
    let coordinator = &fixture.coordinator;
    coordinator.assign_with(1, 1, &step("devices", 1), on_gpu(5, 0.25));
    coordinator.assign_with(2, 1, &step("devices", 2), on_gpu(2, 1.0));
    assert_eq!(seen(coordinator, 1), (format!("cuda/Test 5/{VERSION}"), r#"[Ok("5"), Ok("PCI_BUS_ID")]"#.into()));
    assert_eq!(seen(coordinator, 2), (format!("cuda/Test 2/{VERSION}"), r#"[Ok("2"), Ok("PCI_BUS_ID")]"#.into()));
    let offered: Vec<u32> = coordinator.state().registrations[0].gpus.iter().map(|gpu| gpu.index).collect();
    assert_eq!(offered, [2, 5, DEAD_GPU]);
    fixture.end(daemon).unwrap();
}

fn an_attempt_without_a_gpu_sees_none() {
    let (fixture, daemon) = with_gpus();
    fixture.coordinator.assign(1, 1, &step("devices", 1));
    let (kind, shown) = seen(&fixture.coordinator, 1);
    assert!(kind.starts_with("cpu/"), "{kind}");
    assert!(shown.starts_with(r#"[Ok(""), "#), "{shown}");
    fixture.end(daemon).unwrap();
}

fn what_cannot_use_a_gpu_is_of_the_processors_kind() {
    let (fixture, daemon) = with_gpus();
    fixture.coordinator.assign_with(1, 1, &step("processor", 1), on_gpu(DEAD_GPU, 1.0));
    let (kind, log) = seen(&fixture.coordinator, 1);
    assert!(kind.starts_with("cpu/"), "{kind}");
    assert!(log.contains("computed on the processor"), "{log}");
    fixture.end(daemon).unwrap();
}

fn a_gpu_that_does_not_answer_fails_the_attempt() {
    let (fixture, daemon) = with_gpus();
    let coordinator = &fixture.coordinator;
    coordinator.assign_with(1, 1, &step("devices", 1), on_gpu(DEAD_GPU, 1.0));
    match coordinator.last_word(1, 1) {
        Event::Failed(failed) => {
            assert_eq!((failed.failure_kind.as_str(), failed.message.as_str()), ("killed", "GPU 9 does not answer"));
        }
        other => panic!("a failure expected, not {other:?}"),
    }
    assert_eq!(kind(coordinator, 1, 1), None, "it never began");
    fixture.end(daemon).unwrap();
}

fn a_checkpoint_of_another_kind_is_not_gone_on_from() {
    let (fixture, daemon) = with_gpus();
    let coordinator = &fixture.coordinator;
    let spec = step("toy", 400);
    let from = |attempt| {
        let state = coordinator.state();
        state
            .events(1, attempt)
            .find_map(|event| if let Event::Started(s) = event { Some(s.from_iteration) } else { None })
    };
    for attempt in [1, 2] {
        coordinator.assign_with(1, attempt, &spec, on_gpu(2, 1.0));
        coordinator.wait("a checkpoint", |state| {
            let saved = |event: &Event| matches!(event, Event::CheckpointSaved(saved) if saved.iteration >= 20);
            state.events(1, attempt).any(saved).then_some(())
        });
        let process = coordinator.process_of(1, attempt);
        kill_process(Pid::from_raw(process.cast_signed()).unwrap(), Signal::KILL).unwrap();
        ends_within(process, Duration::from_secs(2));
        assert!(matches!(coordinator.last_word(1, attempt), Event::Failed(_)));
    }
    assert!(from(2).is_some_and(|from| from >= 20), "one of the same kind is: {:?}", from(2));
    coordinator.assign(1, 3, &spec);
    match coordinator.last_word(1, 3) {
        Event::Succeeded(succeeded) => {
            assert_eq!(succeeded.scores_json.parse::<f64>().unwrap().to_bits(), state_after(400).to_bits());
        }
        other => panic!("a success expected, not {other:?}"),
    }
    assert_eq!(from(3), Some(0));
    let log = coordinator.state().log(1, 3).concat();
    assert!(log.contains("of kind `cuda/Test 2/") && log.contains("beginning again"), "{log}");
    fixture.end(daemon).unwrap();
}

fn a_build_without_cuda_offers_no_gpus() {
    let fixture = Fixture::new();
    let tools = tempfile::tempdir().unwrap();
    let tool = tools.path().join("nvidia-smi");
    fs::write(&tool, "#!/bin/sh\necho '0, GPU-1, 24564, Test 0'\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = fixture.daemon_process_with(|command| {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", tools.path().display())).env_remove("CUDA_VISIBLE_DEVICES");
    });
    let offered =
        fixture.coordinator.wait("a registration", |state| state.registrations.first().map(|worker| worker.gpus.len()));
    assert_eq!(offered, usize::from(cfg!(feature = "cuda")));
    if offered == 0 {
        fixture.coordinator.assign_with(1, 1, &step("devices", 1), on_gpu(0, 1.0));
        match fixture.coordinator.last_word(1, 1) {
            Event::Released(released) => assert_eq!(released.reason, "GPU 0 asked for, there is none"),
            other => panic!("it is given back, not {other:?}"),
        }
    }
    daemon.kill();
}
