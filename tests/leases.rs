//! Leases with the real binary: a coordinator that is gone for longer than one, a worker that stands still for longer.

mod common;

use std::{net::TcpListener, thread, time::Duration};

use common::{Lab, Running, attempts_of, eventually, scores, text};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_mins(10);
/// Long enough for a busy machine to write down what was kept while the coordinator was gone.
const LEASE: Duration = Duration::from_secs(6);
/// Some seconds of training, so that there is an attempt to disturb.
const SPEC: &str = "name: leases\ndatasets: [emoji]\nencoder-epochs: 1\nseeds: 1\nmethods: [cm-gans]\n\
                    defaults: { hidden: 16, inter-hidden: 8, iterations: 5000, batch-size: 16 }\nresources: { cpus: 1 }\n";

fn signal(process: &Running, signal: Signal) {
    kill_process(Pid::from_raw(process.child.id().cast_signed()).unwrap(), signal).expect("the process is there");
}

/// A coordinator on a port that it can come back to, and what it takes to be started again.
struct Fleet {
    lab: Lab,
    url: String,
}

impl Fleet {
    fn new() -> (Self, Running) {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let fleet = Self { lab: Lab::new(), url: format!("http://{free}") };
        let server = fleet.serve("serve.log");
        (fleet, server)
    }

    fn serve(&self, log: &str) -> Running {
        let (address, lease) = (self.url.strip_prefix("http://").unwrap(), format!("{}s", LEASE.as_secs()));
        let mut server = self.lab.start(&["serve", "--listen", address, "--lease", &lease], log);
        server.wait_for("start a worker with", LIMIT);
        server
    }

    fn worker(&self, name: &str) -> Running {
        let folder = self.lab.folder.path().join(name);
        let args = ["worker", "--coordinator", &self.url, "--folder", folder.to_str().unwrap(), "--cpus", "1"];
        self.lab.start(&[&args[..], &["--name", name, "--checkpoint-every", "20"]].concat(), &format!("{name}.log"))
    }

    /// Sends the submission and waits until its run is at work: the answer says which run.
    fn submit(&self) -> Running {
        let spec = self.lab.write("leases.yaml", SPEC);
        let submit = self.lab.start(&["submit", spec.to_str().unwrap(), "--wait"], "submit.log");
        eventually("the run is at work", LIMIT, || self.run_is("running"));
        submit
    }

    fn run_is(&self, state: &str) -> bool {
        text(&self.lab.run(&["runs", "--state", state]).stdout).contains("CM-GANs")
    }

    fn attempts(&self) -> Vec<serde_json::Value> {
        let shown = self.lab.run(&["--json", "show", "2"]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("one JSON object");
        shown["attempts"].as_array().unwrap().clone()
    }
}

fn undisturbed() -> String {
    let lab = Lab::new();
    let spec = lab.write("leases.yaml", SPEC);
    let output = lab.run(&["run", spec.to_str().unwrap(), "--cpus", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    scores(&lab.home(), "leases")
}

#[test]
fn a_coordinator_that_is_gone_for_longer_than_a_lease_restarts_no_work() {
    let (fleet, mut server) = Fleet::new();
    let worker = fleet.worker("node");
    let submit = fleet.submit();
    let before = attempts_of(&fleet.lab.home());
    assert_eq!(before.len(), 1);
    signal(&server, Signal::KILL);
    server.wait(Duration::from_secs(5));
    thread::sleep(2 * LEASE);
    let after = attempts_of(&fleet.lab.home());
    assert!(after == before || after.is_empty(), "the attempt trains on, perhaps to its end: {before:?}, {after:?}");
    let _server = fleet.serve("again.log");
    eventually("the run has ended", LIMIT, || fleet.run_is("succeeded"));
    let attempts = fleet.attempts();
    assert_eq!(
        (attempts.len(), &attempts[0]["outcome"]),
        (1, &"succeeded".into()),
        "{attempts:?}\n{}",
        worker.output()
    );
    let exported = fleet.lab.folder.path().join("tables");
    let output = fleet.lab.run(&["export", "leases", "--format", "csv", "--out", exported.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(exported.join("scores.csv")).unwrap(), undisturbed());
    drop((worker, submit));
}

#[test]
fn a_worker_that_stands_still_for_longer_than_its_lease_loses_its_run_and_no_bit() {
    let (fleet, _server) = Fleet::new();
    let still = fleet.worker("still");
    let mut submit = fleet.submit();
    signal(&still, Signal::STOP);
    let other = fleet.worker("other");
    eventually("the run is given to the other worker", LIMIT, || fleet.attempts().len() == 2);
    signal(&still, Signal::CONT);
    assert_eq!(submit.wait(LIMIT), 0, "{}", submit.output());
    let attempts = fleet.attempts();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["lost", "succeeded"], "{attempts:?}");
    let why = text(&fleet.lab.run(&["why", "2"]).stdout);
    assert!(why.contains("its lease ran out") && why.contains("its result counts"), "{why}");
    assert_eq!(scores(&fleet.lab.home(), "leases"), undisturbed());
    drop((still, other));
}
