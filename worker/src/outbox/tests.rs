use std::{
    fs,
    path::{Path, PathBuf},
};

use experiment_spec::run::FailureKind;
use orchestrator_proto::{
    convert::attempt_key,
    v1::{Artifact, CheckpointSaved, MetricPoint, Metrics, Succeeded},
};

use super::{
    journal::{GIVE_UP_BYTES, event},
    *,
};

fn unsent(outbox: &Outbox) -> Vec<Report> {
    outbox.batch().unwrap().reports
}

fn open(folder: &Path) -> Outbox {
    Outbox::open(folder, LIMIT_BYTES, false).unwrap()
}

fn first() -> AttemptKey {
    attempt_key(5, 1, 501)
}

fn metrics(iteration: u64) -> Event {
    let point = MetricPoint { name: "loss".into(), iteration, value: 0.5 };
    Event::Metrics(Metrics { points: vec![point; 40] })
}

fn succeeded(artifacts: &[&str]) -> Event {
    let artifacts = artifacts.iter().map(|name| Artifact { name: (*name).into(), ..Artifact::default() }).collect();
    Event::Succeeded(Succeeded { scores_json: "{}".into(), artifacts, seconds: 1.0 })
}

fn sequences(reports: &[Report]) -> Vec<u64> {
    reports.iter().map(|report| report.sequence).collect()
}

fn segment_files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn reports_survive_with_their_numbers_until_they_are_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path());
    for iteration in 1..=3 {
        outbox.append(first(), metrics(iteration)).unwrap();
    }
    outbox.append(first(), succeeded(&[])).unwrap();
    let sent = unsent(&outbox);
    assert_eq!(sequences(&sent), [1, 2, 3, 4]);
    drop(outbox);

    let outbox = open(folder.path());
    assert_eq!(unsent(&outbox), sent);
    assert_eq!(outbox.ended(), [first()]);
    assert_eq!(outbox.acknowledge(2), []);
    assert_eq!(unsent(&outbox), sent[2..]);
    outbox.append(first(), metrics(4)).unwrap();
    drop(outbox);

    let outbox = open(folder.path());
    let rest = unsent(&outbox);
    assert!(rest == sent[2..], "what was acknowledged is not sent again after a restart");
    assert_eq!(outbox.acknowledge(4), [(first(), succeeded(&[]))]);
    let last = unsent(&outbox).pop().unwrap().sequence;
    assert!(last > 4);
    outbox.acknowledge(last);
    assert!(outbox.is_empty() && outbox.ended().is_empty());
}

#[test]
fn numbers_rise_across_restarts_even_when_everything_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = 0;
    for _ in 0..5 {
        let outbox = open(folder.path());
        outbox.append(first(), metrics(1)).unwrap();
        outbox.note_progress(first(), Progress { iteration: 3, ..Progress::default() });
        let sent = sequences(&unsent(&outbox));
        assert_eq!(sent.len(), 2);
        assert!(last < sent[0] && sent[0] < sent[1], "{sent:?} after {last}");
        last = sent[1];
        outbox.acknowledge(last);
        drop(outbox);
        for path in segment_files(folder.path()) {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_torn_tail_is_cut_off_and_a_flipped_byte_costs_one_report() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path());
    let ends: Vec<u64> = (1..=4)
        .map(|iteration| {
            outbox.append(first(), metrics(iteration)).unwrap();
            outbox.inner().bytes()
        })
        .collect();
    let sent = unsent(&outbox);
    drop(outbox);
    let path = segment_files(folder.path()).remove(0);
    let whole = fs::read(&path).unwrap();

    fs::write(&path, &whole[..whole.len() - 7]).unwrap();
    assert_eq!(unsent(&open(folder.path())), sent[..3]);
    assert_eq!(fs::metadata(&path).unwrap().len(), ends[2], "the tail is gone from the file too");

    let mut damaged = whole.clone();
    damaged[usize::try_from(ends[0]).unwrap() + 40] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let outbox = open(folder.path());
    assert_eq!(unsent(&outbox), [&sent[..1], &sent[2..]].concat());
    outbox.append(first(), metrics(5)).unwrap();
    outbox.acknowledge(4);
    assert!(unsent(&outbox)[0].sequence > 4, "the number of the damaged report is not given again");
}

#[test]
fn a_full_outbox_drops_metrics_then_log_lines_and_never_what_ends_an_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(folder.path(), 40_000, false).unwrap();
    let mut kept = 0;
    while outbox.append(first(), metrics(kept)).unwrap() == Kept::Yes {
        kept += 1;
        assert!(kept < 1000);
    }
    assert!(outbox.inner().bytes() > 30_000);
    let line = || events::log(events::WORKER, &"x".repeat(2000));
    assert_eq!(outbox.append(first(), line()).unwrap(), Kept::Yes);
    while outbox.append(first(), line()).unwrap() == Kept::Yes {}
    for durable in [
        Event::CheckpointSaved(CheckpointSaved { iteration: 9, bytes: 1, ..CheckpointSaved::default() }),
        events::failed(FailureKind::Nan, "loss is not a number"),
    ] {
        assert_eq!(outbox.append(first(), durable).unwrap(), Kept::Yes);
    }
    assert_eq!(outbox.ended(), [first()]);
    while !outbox.is_empty() {
        let last = unsent(&outbox).last().unwrap().sequence;
        outbox.acknowledge(last);
    }
    outbox.append(first(), metrics(1)).unwrap();
    while outbox.inner().bytes() < GIVE_UP_BYTES {
        outbox.append(first(), events::released(0, "x".repeat(50_000))).unwrap();
    }
    let last = unsent(&outbox).last().unwrap().sequence;
    outbox.acknowledge(last);
    assert_eq!(outbox.append(first(), metrics(1)).unwrap(), Kept::Yes, "there is room again");
}

#[test]
fn many_segments_are_sent_in_order_in_limited_batches_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path());
    let large = "x".repeat(100_000);
    for _ in 0..100 {
        outbox.append(first(), events::released(0, large.clone())).unwrap();
    }
    for iteration in 0..1500 {
        outbox.append(first(), metrics(iteration)).unwrap();
    }
    assert!(segment_files(folder.path()).len() >= 3);
    outbox.note_progress(first(), Progress { iteration: 1500, ..Progress::default() });
    let mut received = Vec::new();
    while !outbox.is_empty() {
        let batch = unsent(&outbox);
        assert!(!batch.is_empty() && batch.len() <= BATCH_REPORTS + 1);
        let progress = batch.iter().filter(|report| matches!(event(report), Some(Event::Progress(_)))).count();
        received.extend(sequences(&batch));
        outbox.acknowledge(*received.last().unwrap());
        assert_eq!(progress, usize::from(outbox.is_empty()), "progress travels behind everything else");
    }
    assert_eq!(received, (1..=1601).collect::<Vec<u64>>());
    assert!(segment_files(folder.path()).len() <= 1);
}

#[test]
fn a_report_of_artifacts_waits_for_their_upload() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(folder.path(), LIMIT_BYTES, true).unwrap();
    let second = attempt_key(6, 2, 602);
    outbox.append(first(), metrics(1)).unwrap();
    outbox.append(first(), succeeded(&["model.safetensors"])).unwrap();
    outbox.append(second, succeeded(&["model.safetensors"])).unwrap();
    drop(outbox);
    let outbox = Outbox::open(folder.path(), LIMIT_BYTES, true).unwrap();
    assert_eq!(sequences(&unsent(&outbox)), [1]);
    assert_eq!(outbox.waits_for_upload().unwrap().sequence, 2);
    outbox.uploaded(2);
    assert_eq!(sequences(&unsent(&outbox)), [1, 2]);
    let lost = events::failed(FailureKind::Data, "model.safetensors is damaged");
    outbox.replace(3, lost.clone());
    assert_eq!(event(unsent(&outbox).last().unwrap()), Some(&lost));
    assert_eq!(outbox.acknowledge(3).len(), 2);
}

#[test]
fn an_acknowledgement_of_numbers_not_given_yet_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path());
    outbox.append(first(), metrics(1)).unwrap();
    outbox.acknowledge(1000);
    outbox.append(first(), metrics(2)).unwrap();
    assert_eq!(sequences(&unsent(&outbox)), [2]);
}

#[test]
fn what_is_acknowledged_is_let_go_of_also_when_the_disk_cannot_note_it() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path());
    outbox.append(first(), succeeded(&[])).unwrap();
    let segment = segment_files(folder.path()).remove(0);
    let whole = fs::read(&segment).unwrap();
    // Opened for reading only: every write is refused, as on a full disk.
    outbox.inner().writer = Some(std::sync::Arc::new(fs::File::open(&segment).unwrap()));
    assert_eq!(outbox.acknowledge(1), [(first(), succeeded(&[]))]);
    assert!(outbox.is_empty() && outbox.ended().is_empty());
    assert_eq!(fs::read(&segment).unwrap(), whole);
    let refused = outbox.append(first(), metrics(1)).unwrap_err().to_string();
    assert!(refused.contains(segment.to_str().unwrap()), "{refused}");
}

#[test]
fn what_is_not_on_the_disk_is_not_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path());
    outbox.append(first(), metrics(1)).unwrap();
    assert_eq!(sequences(&unsent(&outbox)), [1]);
    // As if the second one was written while the disk was waited for.
    outbox.append(first(), metrics(2)).unwrap();
    let writer = outbox.inner().writer.take();
    assert_eq!(sequences(&unsent(&outbox)), [1]);
    outbox.inner().writer = writer;
    assert_eq!(sequences(&unsent(&outbox)), [1, 2]);
}
