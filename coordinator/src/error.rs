//! Why a coordinator could not be opened or closed, in sentences with the cure.

use std::{io, path::PathBuf};

/// Why a coordinator does not start or stop as it should.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on this folder.
    #[error("state folder {} is held by {holder}; stop it or use another folder", .home.display())]
    Held {
        /// The folder.
        home: PathBuf,
        /// Process, command line and since when.
        holder: String,
    },
    /// The folder or a file in it cannot be written.
    #[error("state folder {} is read-only; make it writable or use another folder", .home.display())]
    ReadOnly {
        /// The folder.
        home: PathBuf,
    },
    /// Locks do not hold there.
    #[error(
        "state folder {} lies on {kind}, a network file system: locks do not hold there, so two coordinators could write \
         one database; use a folder on a disk of this machine, and `orchestrator backup` for copies elsewhere",
        .home.display()
    )]
    Network {
        /// The folder.
        home: PathBuf,
        /// Name of the file system.
        kind: &'static str,
    },
    /// There is no room.
    #[error("the disk that holds state folder {} is full; make room or use another folder", .home.display())]
    Full {
        /// The folder.
        home: PathBuf,
    },
    /// The schema is not this program's.
    #[error("{}: {reason}; use the program that wrote it, or another folder", .database.display())]
    Schema {
        /// The file.
        database: PathBuf,
        /// What differs.
        reason: String,
    },
    /// The database cannot be used.
    #[error("{}: {reason}", .database.display())]
    Store {
        /// The file.
        database: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything else that the operating system says about the folder.
    #[error("state folder {} cannot be used", .home.display())]
    Io {
        /// The folder.
        home: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// What an error of the operating system means for the folder.
    pub(crate) fn io(home: &std::path::Path, source: io::Error) -> Self {
        let home = home.to_owned();
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly { home },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { home },
            _ => Self::Io { home, source },
        }
    }
}
