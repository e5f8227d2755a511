//! A small file system of its own for a folder, where we have the right to mount one: then it can really be full.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Room for a daemon's folder: several times what the small submissions leave.
const SIZE: &str = "256m";
/// What fills it.
const FILLER: &str = "filler";
/// For so long after there is room again, what did not go well is put down to the lack of it.
const AFTERMATH: Duration = Duration::from_secs(5);

/// A mounted file system; gone with the value.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    /// Since when it is full, or until when it was.
    full: Option<(bool, Instant)>,
    keep: bool,
}

impl Disk {
    /// Mounts one at `folder`; none where that is not allowed.
    pub(super) fn mount(folder: &Path) -> Option<Self> {
        let options = format!("size={SIZE}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "orchestrator-chaos"]).arg(folder);
        quietly(&mut mount).then(|| Self { folder: folder.to_owned(), full: None, keep: false })
    }

    /// Takes every byte that is left.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        let mut file = File::create(self.folder.join(FILLER))?;
        self.full = Some((true, Instant::now()));
        let zeros = vec![0; 1 << 20];
        let mut size = zeros.len();
        while size > 0 {
            while file.write_all(&zeros[..size]).is_ok() {}
            size /= 2;
        }
        Ok(())
    }

    /// Gives them back.
    pub(super) fn make_room(&mut self) {
        // Nothing else removes it: it is there, or there is room already.
        let _ = fs::remove_file(self.folder.join(FILLER));
        self.full = Some((false, Instant::now()));
    }

    /// Whether a daemon may have ended, or not have started, for want of room.
    pub(super) fn excuses(&self) -> bool {
        self.full.is_some_and(|(is_full, since)| is_full || since.elapsed() < AFTERMATH)
    }

    /// Leaves it mounted, so that what is in it can be looked at.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !self.keep {
            quietly(Command::new("umount").arg("--lazy").arg(&self.folder));
        }
    }
}

fn quietly(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|ended| ended.success())
}
