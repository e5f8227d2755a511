//! Programs of users' own: their files, kept and told of, and only where they are allowed.

use experiment_spec::{
    catalog::{Catalog, MethodEntry},
    ids::ContentHash,
};
use orchestrator_coordinator::Config;
use orchestrator_proto::{
    MAX_MESSAGE_BYTES,
    v1::{GetRequest, SentFile, SubmitRequest},
};

use crate::support::{Server, Worker, catalog, extracted, start, start_with};

const YAML: &str =
    "name: own\ndatasets: [points]\nseeds: 1\nmethods:\n  - { command: [python3, my.py], label: Mine }\n";

fn request(content: &str) -> SubmitRequest {
    let file = SentFile { name: "my.py".to_owned(), content: content.as_bytes().to_vec() };
    SubmitRequest { yaml: YAML.to_owned(), files: vec![file], ..Default::default() }
}

async fn open_to_commands(home: &std::path::Path) -> Server {
    let entry = MethodEntry { key: "external".to_owned(), parameters: Vec::new(), ..catalog().methods[0].clone() };
    start_with(Config::new(home, Catalog { external: Some(entry), ..catalog() }, "0.1.0-test")).await
}

/// The specification of the only run, as a worker is told it, and whether it may run it.
async fn told(server: &mut Server) -> (String, bool) {
    let mut worker = Worker::join(server, "one", 4).await;
    let extraction = worker.poll(server).await.assignments.remove(0);
    worker.started(extraction.step_id, 1, 0);
    worker.succeed(extraction.step_id, 1, extracted());
    let run = worker.poll(server).await.assignments.remove(0);
    (run.spec_json, run.commands_allowed)
}

#[tokio::test]
async fn the_files_of_a_program_are_kept_and_told_by_their_content() {
    let home = tempfile::tempdir().unwrap();
    let mut server = open_to_commands(home.path()).await;
    let hash = ContentHash::of(b"print(1)").to_string();
    let dry = server.submit_with(SubmitRequest { dry_run: true, ..request("print(1)") }).await;
    assert_eq!((dry.problems.len(), dry.runs, dry.submission_id), (0, 1, 0));
    let get = GetRequest { hash: hash.clone(), ..Default::default() };
    let absent = server.blobs.get(get.clone()).await.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(absent.code(), tonic::Code::NotFound, "a dry run keeps nothing");

    assert_eq!(server.submit_with(request("print(1)")).await.problems, []);
    let kept = server.blobs.get(get).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!(kept.data, b"print(1)");
    let (spec, allowed) = told(&mut server).await;
    assert!(allowed && spec.contains(&format!("{{\"name\":\"my.py\",\"hash\":\"{hash}\",\"bytes\":8}}")), "{spec}");

    let edited = server.submit_with(SubmitRequest { dry_run: true, ..request("print(2)") }).await;
    assert_eq!(edited.already_scored, 0);
    let steps = server.steps().await.len();
    server.submit_with(SubmitRequest { resume: true, ..request("print(2)") }).await;
    assert_eq!(server.steps().await.len(), steps + 1, "an edited program is another run");
    server.submit_with(SubmitRequest { resume: true, ..request("print(2)") }).await;
    assert_eq!(server.steps().await.len(), steps + 1);
}

#[tokio::test]
async fn without_leave_nothing_of_a_users_runs_whenever_it_was_submitted() {
    let home = tempfile::tempdir().unwrap();
    let mut server = start(home.path()).await;
    let refused = server.submit_with(request("print(1)")).await;
    assert_eq!(refused.problems[0].key_path, "methods[0].command");
    assert!(refused.problems[0].message.contains("--allow-commands"), "{refused:?}");
    server.shutdown().await;

    let mut server = open_to_commands(home.path()).await;
    server.submit_with(request("print(1)")).await;
    server.shutdown().await;
    let mut server = start(home.path()).await;
    let (spec, allowed) = told(&mut server).await;
    assert!(spec.contains("my.py") && !allowed, "queued while it was allowed, assigned when it is not");
}

#[tokio::test]
async fn files_beyond_the_limits_are_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let mut server = open_to_commands(home.path()).await;
    server.submissions = server.submissions.clone().max_encoding_message_size(MAX_MESSAGE_BYTES);
    let refused = async |server: &mut Server, files: Vec<(String, usize)>| {
        let files = files.into_iter().map(|(name, bytes)| SentFile { name, content: vec![b'#'; bytes] }).collect();
        let request = SubmitRequest { yaml: YAML.to_owned(), files, ..Default::default() };
        let status = server.submissions.submit(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        status.message().to_owned()
    };
    let large = refused(&mut server, vec![("my.py".to_owned(), (1 << 20) + 1)]).await;
    assert!(large.contains("my.py has 1048577 bytes"), "{large}");
    let many = refused(&mut server, (0..5).map(|n| (format!("f{n}"), 1 << 20)).collect()).await;
    assert!(many.contains("4194304 of all files"), "{many}");
    let crowd = refused(&mut server, (0..1_001).map(|n| (format!("f{n}"), 0)).collect()).await;
    assert!(crowd.contains("files: 1001, at most 1000 are taken"), "{crowd}");
    for name in ["../up.py", "/etc/passwd", "a//b", ""] {
        let message = refused(&mut server, vec![(name.to_owned(), 1)]).await;
        assert!(message.contains("is no name below the submission's folder"), "{message}");
    }
    assert_eq!(server.steps().await.len(), 0);
}
