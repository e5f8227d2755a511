//! Everything that descends from this process: what it takes of the memory, and its end.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process};

/// Between two looks at what is left.
const PAUSE: Duration = Duration::from_millis(10);

/// Processes and the memory they hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) processes: usize,
    pub(super) memory_bytes: u64,
}

/// Has orphans of descendants become children of this process, so that they stay in sight.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn keep_in_sight() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// What the descendants hold now. Pages that several of them share are counted once where that decides anything: at
/// more than `limit` bytes.
pub(super) fn held(limit: u64) -> Held {
    let descendants = descendants();
    let page = rustix::param::page_size() as u64;
    let resident = |process: &i32| {
        let statm = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
        statm.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * page)
    };
    let mut memory_bytes: u64 = descendants.iter().filter_map(resident).sum();
    if memory_bytes > limit {
        memory_bytes =
            descendants.iter().filter_map(|process| proportional(*process).or_else(|| resident(process))).sum();
    }
    Held { processes: descendants.len(), memory_bytes }
}

/// Memory of a process, pages shared with n others to an n-th.
fn proportional(process: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// Kills all descendants and takes note of their ends. Whether none is left.
pub(super) fn end(patience: Duration) -> bool {
    let start = Instant::now();
    loop {
        let left = descendants();
        for process in left.iter().filter_map(|process| Pid::from_raw(*process)) {
            // It may have ended meanwhile.
            let _ = kill_process(process, Signal::KILL);
        }
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        if left.is_empty() {
            return true;
        }
        if start.elapsed() > patience {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// Descendants of this process, in no order; zombies among them.
fn descendants() -> Vec<i32> {
    let mut found = Vec::new();
    let mut open = vec![rustix::process::getpid().as_raw_nonzero().get()];
    while let Some(process) = open.pop() {
        for task in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|text| text.parse::<i32>().ok());
            open.extend(children.inspect(|child| found.push(*child)));
        }
    }
    found
}
