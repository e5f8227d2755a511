//! `orchestrator serve` as a child process, and what it has cost so far.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use orchestrator_proto::v1::{
    GetCatalogRequest, ListSubmissionsRequest, SubmitRequest, SubmitResponse, submissions_client::SubmissionsClient,
};
use tonic::transport::{Channel, Endpoint};

/// A coordinator at work.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) submissions: SubmissionsClient<Channel>,
}

impl Server {
    /// Starts it on a state folder; returns when it has answered a first call.
    pub(crate) async fn start(home: &Path) -> Self {
        Self::start_with(home, &[]).await
    }

    /// The same, with further options.
    pub(crate) async fn start_with(home: &Path, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_orchestrator"))
            .args(["serve", "--listen", "127.0.0.1:0", "--json", "--home"])
            .arg(home)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("it says its address");
        let said: serde_json::Value = serde_json::from_str(&line).expect("it says so in JSON");
        let url = said["address"].as_str().expect("an address").to_owned();
        let mut submissions = SubmissionsClient::new(connect(&url).await);
        submissions.get_catalog(GetCatalogRequest {}).await.expect("it answers");
        Self { child, url, submissions }
    }

    /// Queues so many runs: a grid of 100 rows, seeds after seeds.
    pub(crate) async fn submit(&mut self, runs: usize, name: &str) -> SubmitResponse {
        self.submit_from(1, runs, name).await
    }

    /// Queues so many runs that no other submission of another index asks for.
    pub(crate) async fn submit_rows(&mut self, index: usize, runs: usize) -> SubmitResponse {
        self.submit_from(1_000 * (index + 1), runs, &format!("rows-{index}")).await
    }

    async fn submit_from(&mut self, first: usize, runs: usize, name: &str) -> SubmitResponse {
        let rows = runs.min(100);
        let seeds = runs.div_ceil(rows);
        let iterations: Vec<String> = (first..first + rows).map(|row| row.to_string()).collect();
        let yaml = format!(
            "name: {name}\ndatasets: [emoji]\nseeds: {seeds}\nmethods:\n  - {{ method: cm-gans, iterations: [{}] }}\n\
             resources: {{ cpus: 1 }}\nretries: 0\n",
            iterations.join(", ")
        );
        let request = SubmitRequest { yaml, file_name: "bench.yaml".to_owned(), ..Default::default() };
        let response = self.submissions.submit(request).await.expect("it is taken").into_inner();
        assert_eq!(response.problems, [], "the submission is in order");
        response
    }

    /// Checks that every run of the latest submission ended like this.
    pub(crate) async fn assert_all(&mut self, state: &str) {
        let request = ListSubmissionsRequest { name_or_id: String::new(), limit: 1 };
        let listed = self.submissions.list_submissions(request).await.expect("it answers").into_inner();
        let of = &listed.submissions[0];
        let found = [of.queued, of.assigned, of.running, of.failed, of.cancelled];
        assert_eq!(found, [0; 5], "all of its runs {state}");
    }

    /// Processor time of its process so far, in microseconds; the system counts it in hundredths of a second.
    pub(crate) fn cpu_us(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it is at work");
        let after_name = stat.rsplit(") ").next().expect("a name in brackets");
        let fields: Vec<f64> = after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        #[expect(clippy::cast_precision_loss, reason = "it is 100")]
        let tick_us = 1e6 / ticks_per_second as f64;
        fields.iter().sum::<f64>() * tick_us
    }

    /// Memory that its process has now.
    pub(crate) fn resident_bytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it is at work");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the system says so");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024.0
    }

    /// Kills it as a power loss would.
    pub(crate) fn kill(mut self) {
        self.stop();
    }

    /// The same, of one that is started again.
    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("it is at work");
        self.child.wait().expect("it ends");
    }
}

/// A connection of its own.
pub(crate) async fn connect(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("an address");
    endpoint.connect_timeout(Duration::from_secs(5)).connect().await.expect("it listens")
}
