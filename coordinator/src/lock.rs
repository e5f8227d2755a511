//! One process a state folder: an advisory lock, released by the operating system when the process
//! ends in whatever way. The file says who holds it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use crate::clock::{Clock, SystemClock};

/// Name of the lock file in the state folder.
pub(crate) const LOCK_FILE: &str = "orchestrator.lock";
/// Longest description of a holder that is believed.
const MAX_HOLDER_BYTES: u64 = 4_096;

/// Why the lock was not to be had.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it: its own words.
    Held(String),
    /// The file cannot be opened or written.
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A held lock; dropping it gives the folder free.
#[derive(Debug)]
pub(crate) struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Takes the lock or says who has it; never waits.
    pub(crate) fn take(home: &Path) -> Result<Self, LockError> {
        let path = home.join(LOCK_FILE);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.take(MAX_HOLDER_BYTES).read_to_string(&mut holder)?;
                return Err(LockError::Held(holder.trim().replace('\n', ", ")));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        let command: Vec<String> = std::env::args().collect();
        write!(file, "process {} ({})\nsince {}\n", std::process::id(), command.join(" "), utc(SystemClock.now_ms()))?;
        file.sync_all()?;
        Ok(Self { file })
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing the file releases the lock anyway; what it said no longer holds.
        drop(self.file.set_len(0));
    }
}

/// Date and time in UTC, like `2026-11-23 15:04:05 UTC`.
fn utc(ms: i64) -> String {
    let seconds = ms.div_euclid(1_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: years are
/// counted from March, so that the leap day ends a year, in eras of 400 years (146,097 days).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_first_and_gets_it_afterwards() {
        let home = tempfile::tempdir().unwrap();
        let first = FolderLock::take(home.path()).unwrap();
        let Err(LockError::Held(holder)) = FolderLock::take(home.path()) else { panic!("taken twice") };
        assert!(holder.starts_with(&format!("process {} (", std::process::id())), "{holder}");
        assert!(holder.contains("), since 20") && holder.ends_with(" UTC"), "{holder}");
        drop(first);
        FolderLock::take(home.path()).unwrap();
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @N`
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_827_696_789), "2000-02-29 12:34:56 UTC");
        assert_eq!(utc(1_767_225_599_000), "2025-12-31 23:59:59 UTC");
        assert_eq!(utc(4_107_542_400_000), "2100-03-01 00:00:00 UTC");
    }
}
