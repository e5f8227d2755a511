//! Workers that share nothing, with the real binary: what one has computed is not lost with it.

mod common;

use std::{collections::HashSet, ffi::OsString, fs, path::Path, time::Duration};

use common::{Lab, Running, eventually, scores, text};
use experiment_spec::ids::ContentHash;
use retrieval::npy;
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_mins(10);
/// Some seconds of training, so that there is an attempt to disturb.
const SPEC: &str = "name: travel\ndatasets: [emoji]\nencoder-epochs: 1\nseeds: 1\nmethods: [cm-gans]\n\
                    defaults: { hidden: 16, inter-hidden: 8, iterations: 5000, batch-size: 16 }\nresources: { cpus: 1 }\n";

/// A coordinator, and workers that each have a folder of their own.
struct Fleet {
    lab: Lab,
    url: String,
    _server: Running,
}

impl Fleet {
    fn new() -> Self {
        Self::on(Lab::new())
    }

    fn on(lab: Lab) -> Self {
        let mut server = lab.start(
            &["serve", "--listen", "127.0.0.1:0", "--lease", "3s", "--keep-models", "none", "--max-size", "1TiB"],
            "serve.log",
        );
        let line = server.wait_for("start a worker with", LIMIT);
        let url = line.rsplit(' ').next().unwrap().to_owned();
        Self { lab, url, _server: server }
    }

    fn worker(&self, name: &str, more: &[&str]) -> Running {
        let folder = self.lab.folder.path().join(name);
        let args = ["worker", "--coordinator", &self.url, "--folder", folder.to_str().unwrap(), "--cpus", "1"];
        let named = ["--name", name, "--checkpoint-every", "20"];
        // Another state folder: what is in the coordinator's must come over the wire.
        let mut command = self.lab.command(&[&args[..], &named, more].concat());
        command.env("ORCHESTRATOR_HOME", self.lab.folder.path().join(format!("home of {name}")));
        self.lab.start_command(&mut command, &format!("{name}.log"))
    }

    fn submit(&self, spec: &str) -> Running {
        let spec = self.lab.write("travel.yaml", spec);
        self.lab.start(&["submit", spec.to_str().unwrap(), "--wait"], "submit.log")
    }

    /// The history of the run, newest last.
    fn history(&self) -> Vec<String> {
        let shown = self.lab.run(&["--json", "show", "2"]);
        let Ok(shown) = serde_json::from_slice::<serde_json::Value>(&shown.stdout) else { return Vec::new() };
        let lines = shown["history"].as_array().unwrap().iter();
        lines.map(|line| line["sentence"].as_str().unwrap().to_owned()).collect()
    }

    /// Contents of checkpoints that the coordinator has.
    fn checkpoints(&self) -> Vec<OsString> {
        let folders = fs::read_dir(self.lab.home().join("checkpoints")).into_iter().flatten().flatten();
        let folders = folders.filter(|entry| entry.file_name() != "partial");
        let files = folders.flat_map(|entry| fs::read_dir(entry.path())).flatten().flatten();
        files.map(|entry| entry.file_name()).collect()
    }
}

/// How many connections a process has to an address.
fn connections(process: &Running, url: &str) -> usize {
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let sockets: HashSet<String> = fs::read_dir(format!("/proc/{}/fd", process.child.id()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    // Columns: number, local and remote address in hexadecimal digits, state (01: established), ..., inode.
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let columns = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let to_port = format!(":{port:04X}");
    columns.filter(|of| of[2].ends_with(&to_port) && of[3] == "01" && sockets.contains(of[9])).count()
}

fn undisturbed() -> String {
    let lab = Lab::new();
    let spec = lab.write("travel.yaml", SPEC);
    let output = lab.run(&["run", spec.to_str().unwrap(), "--cpus", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    scores(&lab.home(), "travel")
}

#[test]
fn a_run_goes_on_on_another_worker_where_the_killed_one_was_and_ends_with_the_same_bits() {
    let fleet = Fleet::new();
    let first = fleet.worker("first", &["--send-checkpoints", "500ms"]);
    let mut submit = fleet.submit(SPEC);
    // The extraction before it has checkpoints too, which have gone by then.
    eventually("the run is at work", LIMIT, || fleet.history().iter().any(|line| line.starts_with("started")));
    // The content of a checkpoint goes when the coordinator has written down the next one.
    eventually("a checkpoint is with the coordinator", LIMIT, || !fleet.checkpoints().is_empty());
    let before = fleet.checkpoints();
    // Heartbeats go over a connection of their own: behind a large content on a slow network they would come too late.
    assert_eq!(connections(&first, &fleet.url), 2);
    eventually("it is written down", LIMIT, || !fleet.checkpoints().contains(&before[0]));
    kill_process(Pid::from_raw(first.child.id().cast_signed()).unwrap(), Signal::KILL).unwrap();
    let second = fleet.worker("second", &[]);
    assert_eq!(submit.wait(LIMIT), 0, "{}", submit.output());

    let history = fleet.history();
    let went_on = history.iter().find_map(|line| line.split_once("goes on from iteration "));
    let (_, went_on) = went_on.unwrap_or_else(|| panic!("{history:?}\n{}", second.output()));
    let (iteration, made_by) = went_on.split_once(", made by worker ").expect("it was made by another worker");
    assert!(iteration.parse::<u64>().unwrap() > 0 && made_by.starts_with("first-"), "{went_on}");
    let why = text(&fleet.lab.run(&["why", "2"]).stdout);
    assert!(why.contains(went_on) && why.contains("its lease ran out"), "{why}");
    assert_eq!(scores(&fleet.lab.home(), "travel"), undisturbed());
    // Nobody asks for the model any more.
    let no_model = "its model.safetensors is kept no more (`serve --keep-models none`)";
    eventually("the model has gone", LIMIT, || fleet.history().last().is_some_and(|line| line == no_model));
    let thinned = text(&fleet.lab.run(&["thin", "travel", "--points", "10"]).stdout);
    assert!(thinned.starts_with("2 runs and extractions with more keep "), "{thinned}");
    let said = fleet.history().pop().unwrap();
    assert!(said.starts_with("its metrics were thinned from 85000 to "), "{said}");
}

/// `wikipedia-cnn` with features that mean nothing, so that nothing need be there to test with.
fn made_up(folder: &Path) {
    let npy = |name: &str, descr: &str, shape: &str, values: Vec<u8>| {
        fs::write(folder.join(name), [npy::header(descr, shape), values].concat()).unwrap();
    };
    let numbers = |columns: u32| (0..2866 * columns).flat_map(|at| (f64::from(at) * 0.7).sin().to_le_bytes()).collect();
    npy("image_128_f32.npy", "<f8", "(2866, 128)", numbers(128));
    npy("text_100_f32.npy", "<f8", "(2866, 100)", numbers(100));
    npy("labels_u8.npy", "|u1", "(2866,)", (0u8..10).cycle().map(|class| class + 1).take(2866).collect());
}

#[test]
fn a_worker_needs_no_data_set_of_its_own() {
    let lab = Lab::new();
    let data = lab.home().join("data/wikipedia-cnn");
    fs::create_dir_all(&data).unwrap();
    made_up(&data);
    let fleet = Fleet::on(lab);
    let bare = fleet.worker("bare", &[]);
    let spec = "name: travel\ndatasets: [wikipedia-cnn]\nseeds: 1\nmethods: [{ method: cfa, dims: 5 }]\n";
    let mut submit = fleet.submit(spec);
    assert_eq!(submit.wait(LIMIT), 0, "{}\n{}", submit.output(), bare.output());
    let images = fs::read(data.join("image_128_f32.npy")).unwrap();
    let name = ContentHash::of(&images).to_string();
    let below = |folder: &str| fleet.lab.folder.path().join(folder).join("blobs").join(&name[..2]).join(&name);
    assert!(below("bare").is_file() && !below("state").exists(), "fetched, and served from where it was");
}

#[test]
fn a_second_worker_gets_from_the_mirror_what_the_first_one_got_and_made() {
    let lab = Lab::new();
    let data = lab.home().join("data/wikipedia-cnn");
    fs::create_dir_all(&data).unwrap();
    made_up(&data);
    let mirror = lab.folder.path().join("mirror");
    fs::create_dir(&mirror).unwrap();
    let url = format!("file://{}", mirror.display());
    let fleet = Fleet::on(lab);
    let first = fleet.worker("first", &["--mirror", &url]);
    let spec = |dims: u8| {
        format!("name: travel\ndatasets: [wikipedia-cnn]\nseeds: 1\nmethods: [{{ method: cfa, dims: {dims} }}]\n")
    };
    assert_eq!(fleet.submit(&spec(5)).wait(LIMIT), 0, "{}", first.output());
    let objects = || -> Vec<OsString> {
        let folders = fs::read_dir(&mirror).unwrap().flatten();
        folders.flat_map(|entry| fs::read_dir(entry.path()).unwrap().flatten()).map(|it| it.file_name()).collect()
    };
    eventually("three files and their features are in the mirror", LIMIT, || objects().len() == 4);
    drop(first);
    let mut submit = fleet.submit(&spec(4));
    let is_queued = || text(&fleet.lab.run(&["--json", "show", "3"]).stdout).contains("queued");
    eventually("another run is queued", LIMIT, is_queued);
    // The coordinator loses the features now: there is one place left to get them from.
    let blob = |name: &OsString| fleet.lab.home().join("blobs").join(&name.to_str().unwrap()[..2]).join(name);
    let removed = objects().iter().filter(|name| fs::remove_file(blob(name)).is_ok()).count();
    assert_eq!(removed, 1);
    let second = fleet.worker("second", &["--mirror", &url]);
    assert_eq!(submit.wait(LIMIT), 0, "{}", second.output());
    let shown = text(&fleet.lab.run(&["--json", "show", "1"]).stdout);
    assert_eq!(shown.matches("started on").count(), 1, "the features were made once: {shown}");
}
