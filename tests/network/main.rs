//! Machines on a network of their own: TLS, tokens, nothing shared but the wire, and the wire at its worst. Whatever
//! happens on the way, scores are those of an undisturbed run on one machine, byte for byte.

#[path = "../common/mod.rs"]
mod common;
mod wire;

use std::{path::Path, process::Command, sync::OnceLock, time::Duration};

use common::{Lab, Running, eventually, scores, text};
use wire::{Machine, Wire};

const LIMIT: Duration = Duration::from_mins(10);
const LEASE: Duration = Duration::from_secs(6);
/// Some leases of training for each of two runs, so that there is something to disturb.
const SPEC: &str = "name: network\ndatasets: [emoji]\nencoder-epochs: 1\nseeds: 2\nmethods: [cm-gans]\n\
                    defaults: { hidden: 16, inter-hidden: 8, iterations: 12000, batch-size: 16 }\nresources: { cpus: 1 }\n";
const PORT: u16 = 7117;

/// A coordinator on a machine of its own and two nodes, each at the end of a wire.
struct Network {
    lab: Lab,
    hub: Machine,
    nodes: [Machine; 2],
    wires: [Wire; 2],
    workers: Vec<Running>,
    server: Option<Running>,
}

impl Network {
    fn new(lease: Duration) -> Self {
        let (hub, nodes) = (Machine::new("hub"), [Machine::new("node1"), Machine::new("node2")]);
        let wires = [Wire::between(&hub, &nodes[0], 1), Wire::between(&hub, &nodes[1], 2)];
        let mut network = Self { lab: Lab::new(), hub, nodes, wires, workers: Vec::new(), server: None };
        let (listen, lease) = (format!("0.0.0.0:{PORT}"), format!("{}s", lease.as_secs()));
        let serve = network.lab.command(&["serve", "--listen", &listen, "--lease", &lease]);
        let mut server = network.lab.start_command(&mut network.hub.on(&serve), "serve.log");
        let told = server.wait_for("start a worker with", LIMIT);
        assert!(told.contains("https://10.77."), "{told}");
        assert!(!server.output().contains(&network.token("worker")), "what goes to a file has no secrets");
        network.server = Some(server);
        for number in [1, 2] {
            network.start_worker(number);
        }
        network
    }

    /// A command of the user on the coordinator's machine.
    fn run(&self, args: &[&str]) -> std::process::Output {
        self.hub.on(&self.lab.command(args)).output().expect("the binary starts")
    }

    fn token(&self, name: &str) -> String {
        text(&self.run(&["tokens", "show", name]).stdout).trim().to_owned()
    }

    /// A node with nothing but the program, a token and the address, as they are pasted.
    fn node(&self, number: usize, args: &[&str]) -> Command {
        let mut command = self.lab.command(args);
        command.env("ORCHESTRATOR_HOME", self.lab.folder.path().join(format!("node{number}")));
        command.env("ORCHESTRATOR_TOKEN", self.token("worker"));
        self.nodes[number - 1].on(&command)
    }

    fn start_worker(&mut self, number: usize) {
        let url = format!("https://10.77.{number}.1:{PORT}");
        let name = format!("node{number}");
        let args = ["worker", "--coordinator", &url, "--name", &name, "--cpus", "1"];
        let often = ["--checkpoint-every", "20", "--send-checkpoints", "1s"];
        let mut command = self.node(number, &[&args[..], &often].concat());
        self.workers.push(self.lab.start_command(&mut command, &format!("{name}.log")));
    }

    /// Sends the submission and waits until both of its runs are at work.
    fn submit(&self) -> Running {
        let spec = self.lab.write("network.yaml", SPEC);
        let submit = self.lab.command(&["submit", spec.to_str().unwrap(), "--wait"]);
        let submit = self.lab.start_command(&mut self.hub.on(&submit), "submit.log");
        eventually("both runs are at work", LIMIT, || self.runs("running").len() == 2);
        submit
    }

    fn runs(&self, state: &str) -> Vec<serde_json::Value> {
        let output = self.run(&["--json", "runs", "--state", state]);
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("a run a line")).collect()
    }

    fn outcomes(&self, run: i64) -> Vec<String> {
        let shown: serde_json::Value =
            serde_json::from_slice(&self.run(&["--json", "show", &run.to_string()]).stdout).expect("one object");
        let attempts = shown["attempts"].as_array().unwrap().iter();
        attempts.map(|attempt| attempt["outcome"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits for the end; then nothing has two accepted scores, and all are those of an undisturbed run.
    fn check(&self, mut submit: Running) {
        assert_eq!(submit.wait(LIMIT), 0, "{}\n{}", submit.output(), self.logs());
        for run in [2, 3] {
            let outcomes = self.outcomes(run);
            assert_eq!(outcomes.iter().filter(|outcome| *outcome == "succeeded").count(), 1, "run {run}: {outcomes:?}");
            assert_eq!(outcomes.last().unwrap(), "succeeded", "run {run}: {outcomes:?}");
        }
        assert_eq!(scores(&self.lab.home(), "network"), undisturbed(), "{}", self.logs());
    }

    /// How many checkpoints have come to the coordinator.
    fn checkpoints(&self) -> usize {
        fn files(folder: &Path) -> usize {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
        }
        files(&self.lab.home().join("checkpoints"))
    }

    fn logs(&self) -> String {
        self.workers.iter().map(Running::output).collect::<Vec<_>>().join("\n--\n")
    }
}

/// The same submission on one machine, without a network; made once for all tests.
fn undisturbed() -> &'static str {
    static SCORES: OnceLock<String> = OnceLock::new();
    SCORES.get_or_init(|| {
        let lab = Lab::new();
        let spec = lab.write("network.yaml", SPEC);
        let output = lab.run(&["run", spec.to_str().unwrap(), "--cpus", "1"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        scores(&lab.home(), "network")
    })
}

/// One network after the other: their addresses are the same.
fn network(test: &str, lease: Duration) -> Option<(std::sync::MutexGuard<'static, ()>, Network)> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    if let Some(why) = wire::unavailable() {
        println!("skipped: {test}: {why}");
        return None;
    }
    let turn = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    Some((turn, Network::new(lease)))
}

#[test]
fn a_node_that_is_cut_off_for_longer_than_its_lease_costs_no_bit() {
    let Some((_turn, network)) = network("a_node_that_is_cut_off", LEASE) else { return };
    let submit = network.submit();
    eventually("both runs have sent a checkpoint", LIMIT, || network.checkpoints() >= 2);
    // It counts once it has been told of, in the poll after it.
    std::thread::sleep(Duration::from_secs(2));
    network.wires[0].cut(true);
    let lost = || [2, 3].into_iter().find(|run| network.outcomes(*run).contains(&"lost".to_owned()));
    eventually("the run of the node that is cut off is taken from it", LIMIT, || lost().is_some());
    let run = lost().unwrap();
    eventually("the other node has it", LIMIT, || network.outcomes(run).len() >= 2);
    network.wires[0].cut(false);
    network.check(submit);
    let why = text(&network.run(&["why", &run.to_string()]).stdout);
    assert!(why.contains("its lease ran out") && why.contains("its result counts"), "{why}");
    let show = text(&network.run(&["show", &run.to_string()]).stdout);
    assert!(show.contains("goes on from iteration") && show.contains("made by worker node1"), "{show}");
}

#[test]
fn a_node_whose_words_arrive_and_that_hears_nothing_costs_no_bit() {
    let Some((_turn, network)) = network("a_node_whose_words_arrive", LEASE) else { return };
    let submit = network.submit();
    network.wires[0].there.cut(true);
    std::thread::sleep(2 * LEASE);
    let ended = || network.workers[0].output().contains("the lease is over");
    eventually("the worker has ended its attempt by itself", LIMIT, ended);
    network.wires[0].there.cut(false);
    network.check(submit);
}

/// Both wires from now on, both ways.
fn worsen(network: &Network, loss_percent: u32, delay: Duration) {
    for way in network.wires.iter().flat_map(|wire| [&wire.there, &wire.back]) {
        way.worsen(loss_percent, delay);
    }
}

#[test]
fn a_network_that_loses_three_packets_of_ten_costs_no_bit() {
    let Some((_turn, network)) = network("a_network_that_loses", Duration::from_secs(15)) else { return };
    let submit = network.submit();
    worsen(&network, 30, Duration::ZERO);
    network.check(submit);
}

#[test]
fn a_network_that_is_half_a_second_late_costs_no_bit() {
    let Some((_turn, network)) = network("a_network_that_is_late", Duration::from_secs(15)) else { return };
    let submit = network.submit();
    worsen(&network, 0, Duration::from_millis(500));
    network.check(submit);
}
