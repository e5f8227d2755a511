//! Running a coordinator for long: what a monitoring system reads of it, copies of it and back.

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use common::{Lab, eventually, text};

const LIMIT: Duration = Duration::from_mins(2);
const SPEC: &str =
    "name: small\ndatasets: [emoji]\nencoder-epochs: 1\nseeds: 2\nmethods: [cca]\nresources: { cpus: 1 }\n";

/// Body of an answer with status 200.
fn get(address: &str, path: &str) -> String {
    let (head, body) = ask(address, path).expect("somebody listens and answers");
    assert!(is_fine(&head), "{head}");
    body
}

fn is_fine(head: &str) -> bool {
    head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200")
}

/// Head and body of an answer; none where nobody listens.
fn ask(address: &str, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

/// Whether a program is installed; says so by the name of the test where it is not.
fn is_there(program: &str, test: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: {test}: {program} is not there");
    }
    found
}

/// A coordinator that has queued a small submission, and its address.
fn serve(lab: &Lab) -> (common::Running, String) {
    let mut server = lab.start(&["serve", "--listen", "127.0.0.1:0"], "serve.log");
    let line = server.wait_for("coordinator and dashboard on http://", LIMIT);
    let address = line.split_once("http://").expect("an address").1.trim().to_owned();
    let spec = lab.write("small.yaml", SPEC);
    let sent = lab.run(&["submit", spec.to_str().unwrap()]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    (server, address)
}

#[test]
fn metrics_are_in_the_format_of_prometheus() {
    let lab = Lab::new();
    let (_server, address) = serve(&lab);
    let metrics = get(&address, "/metrics");
    for line in [
        "orchestrator_steps{state=\"queued\"} 1",
        "orchestrator_steps{state=\"waiting\"} 2",
        "orchestrator_workers{state=\"taking work\"} 0",
        "orchestrator_attempts_total 0",
        "orchestrator_commit_seconds_count 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no line `{line}` in:\n{metrics}");
    }
    if !is_there("promtool", "metrics_are_in_the_format_of_prometheus") {
        return;
    }
    let mut check = Command::new("promtool");
    let mut check = check.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let found = check.wait_with_output().unwrap();
    assert!(found.status.success() && found.stderr.is_empty(), "{}", text(&found.stderr));
}

#[test]
fn prometheus_scrapes_a_coordinator_at_work() {
    if !is_there("prometheus", "prometheus_scrapes_a_coordinator_at_work") {
        return;
    }
    let lab = Lab::new();
    let (_server, address) = serve(&lab);
    let config = format!(
        "scrape_configs:\n  - {{ job_name: lab, scrape_interval: 200ms, scrape_timeout: 200ms, static_configs: [{{ targets: ['{address}'] }}] }}\n"
    );
    let config = lab.write("prometheus.yml", &config);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut prometheus = Command::new("prometheus");
    prometheus
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", lab.folder.path().join("series").display()))
        .arg(format!("--web.listen-address={free}"));
    let _prometheus = lab.start_command(&mut prometheus, "prometheus.log");
    let query = "/api/v1/query?query=orchestrator_steps%7Bstate%3D%22waiting%22%7D";
    // It listens before it answers questions.
    eventually("Prometheus is ready", LIMIT, || ask(&free, "/-/ready").is_some_and(|(head, _)| is_fine(&head)));
    eventually("the scraped value is there", LIMIT, || {
        let found = get(&free, query);
        found.contains("\"state\":\"waiting\"") && found.contains(",\"2\"]")
    });
}

#[test]
fn a_backup_of_a_coordinator_at_work_is_a_state_folder_of_its_own() {
    let lab = Lab::new();
    let (_server, _) = serve(&lab);
    let copy = lab.folder.path().join("copy");
    let made = lab.run(&["backup", copy.to_str().unwrap()]);
    let told = "1 submissions, 3 runs and extractions, 0 contents of 0 bytes, all of them checked";
    assert_eq!(text(&made.stdout), format!("{}: {told}\n", copy.display()), "{}", text(&made.stderr));
    let again = lab.run(&["backup", copy.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(text(&again.stderr), format!("{} is there already; name a folder that is not\n", copy.display()));
    let other = lab.folder.path().join("other");
    let restored = lab.run(&["--home", other.to_str().unwrap(), "restore", copy.to_str().unwrap()]);
    assert_eq!(text(&restored.stdout), format!("{}: {told}\n", other.display()), "{}", text(&restored.stderr));
    let runs = lab.run(&["--home", other.to_str().unwrap(), "runs", "--submission", "small", "--quiet"]);
    assert_eq!(text(&runs.stdout).matches("queued").count(), 2, "{}", text(&runs.stdout));
    let held = lab.run(&["restore", copy.to_str().unwrap()]);
    assert_eq!(held.status.code(), Some(2));
    assert!(text(&held.stderr).contains("is held by process"), "{}", text(&held.stderr));
}
