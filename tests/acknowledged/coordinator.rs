//! The coordinator: a process of the real binary on a port that it can come back to.

use std::{net::TcpListener, os::unix::process::ExitStatusExt, time::Duration};

use orchestrator_proto::content::ContentStore;
use tonic::transport::{Channel, Endpoint};

use crate::common::{Lab, Running};

/// For a process that is about to end.
const LIMIT: Duration = Duration::from_mins(1);

/// Features of every extraction.
pub(crate) const FEATURES: &[u8] = b"features";

pub(crate) struct Coordinator {
    lab: Lab,
    address: String,
    lease: &'static str,
    process: Option<Running>,
}

impl Coordinator {
    pub(crate) fn new(lease: &'static str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let lab = Lab::new();
        // What extractions of played workers leave.
        ContentStore::open(lab.home().join("blobs")).unwrap().put_bytes(FEATURES).unwrap();
        Self { lab, address: free.to_string(), lease, process: None }
    }

    /// Starts it, with a fail point if there is one; it may not listen yet when this returns.
    pub(crate) fn start(&mut self, fail_point: Option<&str>) {
        let mut command =
            self.lab.command(&["serve", "--listen", &self.address, "--lease", self.lease, "--min-free", "0"]);
        command.env("RUST_LOG", "warn");
        if let Some(fail_point) = fail_point {
            command.env("ORCHESTRATOR_FAIL_POINT", fail_point);
        }
        self.process = Some(self.lab.start_command(&mut command, "serve.log"));
    }

    /// `kill -9`; it must have been at work until then.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("a process");
        let ended = process.child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself ({ended:?}):\n{}", process.output());
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }

    /// Waits until it has ended at its fail point.
    pub(crate) async fn ends_at(&mut self, place: &str) {
        let process = self.process.as_mut().expect("a process");
        let end = std::time::Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = process.child.try_wait().unwrap() {
                break status;
            }
            assert!(std::time::Instant::now() < end, "{place} is never passed:\n{}", process.output());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(status.signal(), Some(6), "{place}: {}", process.output());
    }

    pub(crate) fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect_timeout(Duration::from_secs(5)).connect_lazy()
    }
}
