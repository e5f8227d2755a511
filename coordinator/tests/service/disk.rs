//! Real file systems that are full or read-only. They are mounted for the test, which needs the right to.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use orchestrator_coordinator::{Config, Coordinator};
use orchestrator_proto::v1::{self, SubmitRequest};
use tonic::Code;

use crate::support::{Worker, YAML, catalog, start, start_with};

/// A small file system of its own, gone with the value.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    /// `None`, and a line that says so, where mounting is not allowed.
    fn mount(test: &str) -> Option<Self> {
        Self::mount_sized(test, "2m")
    }

    pub(crate) fn mount_sized(test: &str, size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        if run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path())) {
            return Some(Self(folder));
        }
        println!("skipped: {test}: no right to mount a file system here");
        None
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.0.path().join("state")
    }

    /// Bytes that are taken.
    pub(crate) fn used(&self) -> u64 {
        let output = Command::new("df").args(["--output=used", "-B1"]).arg(self.0.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
    }

    fn remount(&self, option: &str) {
        assert!(run(Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(self.0.path())));
    }

    /// Takes every byte that is left; removing the file gives them back.
    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = File::create(&path).unwrap();
        let mut size = 64 << 10;
        while size > 0 {
            while file.write_all(&vec![1; size]).is_ok() {}
            size /= 2;
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.0.path()));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

async fn open_error(home: &Path) -> String {
    Coordinator::open(Config::new(home, catalog(), "0.1.0-test")).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_disk_that_fills_up_refuses_and_nothing_acknowledged_is_lost() {
    let Some(disk) = Disk::mount("a_disk_that_fills_up_refuses_and_nothing_acknowledged_is_lost") else { return };
    let mut server = start(&disk.home()).await;
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    let filler = disk.fill();
    let large = SubmitRequest { yaml: YAML.replace("seeds: 2", "seeds: 200"), ..Default::default() };
    let status = server.submissions.submit(large.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "nothing was changed: the disk that holds orchestrator.db is full");
    assert_eq!(server.states().await, ["queued"; 5]);
    fs::remove_file(filler).unwrap();
    server.submissions.submit(large).await.unwrap();
    assert_eq!(server.states().await.len(), 401);
    assert_eq!(worker.poll(&mut server).await.assignments[0].step_id, 1, "it works on");
    server.shutdown().await;
}

#[tokio::test]
async fn nothing_is_given_out_while_the_disk_is_nearly_full() {
    let Some(disk) = Disk::mount_sized("nothing_is_given_out_while_the_disk_is_nearly_full", "16m") else { return };
    let config = Config {
        min_free_bytes: 4 << 20,
        lease: Duration::from_secs(1),
        ..Config::new(disk.home(), catalog(), "0.1.0-test")
    };
    let mut server = start_with(config).await;
    server.submit(YAML).await;
    let mut worker = Worker::join(&mut server, "one", 1).await;
    let filler = disk.fill();
    // Looked at a fifth of the lease later at most.
    let halted = loop {
        let halted = server.submissions.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().halted;
        if !halted.is_empty() {
            break halted;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let expected = "has 0 MiB free, and 4 MiB are kept free (`serve --min-free`)";
    assert_eq!(halted, format!("the disk of {} {expected}", disk.home().display()));
    assert_eq!(worker.poll(&mut server).await.assignments, []);
    let standing = server.show(1).await.standing;
    assert_eq!(standing[0], format!("it is not given out, nor is anything else: {halted}"));
    fs::remove_file(filler).unwrap();
    while worker.poll(&mut server).await.assignments.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_full_or_read_only_disk_is_said_so_on_start() {
    let Some(disk) = Disk::mount("a_full_or_read_only_disk_is_said_so_on_start") else { return };
    let home = disk.home();
    let shown = home.display().to_string();
    let filler = disk.fill();
    let full = format!("the disk that holds state folder {shown} is full; make room or use another folder");
    assert_eq!(open_error(&home).await, full);
    // With room for the first files only.
    File::options().write(true).open(&filler).unwrap().set_len((2 << 20) - (64 << 10)).unwrap();
    assert_eq!(open_error(&home).await, full);
    fs::remove_file(filler).unwrap();
    start(&home).await.shutdown().await;
    disk.remount("ro");
    let read_only = format!("state folder {shown} is read-only; make it writable or use another folder");
    assert_eq!(open_error(&home).await, read_only);
}
