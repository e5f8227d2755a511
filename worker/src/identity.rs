//! Who a worker is: a name that outlives its daemons, a lock against a second daemon, and what the
//! machine offers.

use std::{
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read, Seek, Write},
    path::Path,
};

use experiment_spec::ids::ContentHash;
use retrieval::{
    kind::Backend,
    nn::gemm::{SimdLevel, force_simd_level},
};

use crate::error::{WorkerError, at};

/// Longest name that is taken from a setting or a host, in characters.
const NAME_CHARACTERS: usize = 40;

/// Holds the folder of a worker as long as it lives; the system lets go of it when the process ends.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

/// Takes the folder for this daemon.
pub(crate) fn lock(folder: &Path) -> Result<FolderLock, WorkerError> {
    fs::create_dir_all(folder).map_err(at(folder)).map_err(WorkerError::State)?;
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(at(&path))
        .map_err(WorkerError::State)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut holder);
            return Err(WorkerError::Held { folder: folder.into(), holder: holder.trim().into() });
        }
        Err(fs::TryLockError::Error(error)) => return Err(WorkerError::State(at(&path)(error))),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(at(&path)).map_err(WorkerError::State)?;
    Ok(FolderLock { _file: file })
}

/// The identity kept in the folder; made there at the first start, from a name and random digits.
pub(crate) fn identity(folder: &Path, name: Option<&str>) -> io::Result<String> {
    let path = folder.join("worker-id");
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
        _ => {}
    }
    let host = host();
    let plain: String = name
        .unwrap_or(&host)
        .chars()
        .take(NAME_CHARACTERS)
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    // A fresh `RandomState` is seeded by the operating system.
    let random = RandomState::new().build_hasher().finish();
    let digits = ContentHash::of(format!("{random} {} {host}", std::process::id()).as_bytes()).short();
    let identity = format!("{plain}-{digits}");
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(at(folder))?;
    writeln!(file, "{identity}").map_err(at(&path))?;
    file.as_file().sync_all().map_err(at(&path))?;
    file.persist(&path).map_err(|refused| at(&path)(refused.error))?;
    Ok(identity)
}

/// Name of this machine.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Memory of this machine in bytes; 0 = not known.
pub(crate) fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|total| total.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Settles the SIMD level of this process; its attempts are told the same.
pub(crate) fn force_simd(name: &str) -> Result<(), String> {
    let level = SimdLevel::from_name(name)
        .ok_or_else(|| format!("SIMD level `{name}` is not known: expected scalar, avx2 or avx512"))?;
    force_simd_level(level)
}

/// Kind of the scores computed here on the processor: backend, SIMD level, program version.
pub(crate) fn kind() -> String {
    retrieval::kind::kind(Backend::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_stays() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = identity(one.path(), Some("node 7/../x")).unwrap();
        assert!(made.starts_with("node-7-..-x-"), "{made}");
        assert_eq!(identity(one.path(), Some("renamed")).unwrap(), made);
        assert_ne!(identity(two.path(), Some("node 7/../x")).unwrap(), made);
    }

    #[test]
    fn a_second_daemon_is_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let refused = lock(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(held);
        lock(folder.path()).unwrap();
    }

    #[test]
    fn an_unknown_simd_level_is_refused_with_the_known_ones() {
        assert!(force_simd("sse9").unwrap_err().contains("scalar, avx2 or avx512"));
    }
}
