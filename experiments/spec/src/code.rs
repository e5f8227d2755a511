//! Which program computed. It stands in a run's record and never in its identity: what a step is does not
//! depend on who computes it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The code of a program and the compiler that built it, as [`fmt::Display`] tells them:
/// `0.1.0 (5e18d9d, clean), rustc 1.95.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CodeVersion {
    /// Version of the program.
    pub version: String,
    /// The commit it was built from; `None` when it was built outside a git checkout.
    pub revision: Option<Revision>,
    /// What `rustc --version` said, build of the compiler included; empty when it said nothing.
    pub compiler: String,
}

/// A commit, and whether the code is just that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Revision {
    /// Short hash of the commit.
    pub hash: String,
    /// Whether a tracked file differed from the commit when the program was built.
    pub dirty: bool,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.hash, if self.dirty { "uncommitted changes" } else { "clean" })
    }
}

impl fmt::Display for CodeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "{} ({revision})", self.version)?,
            None => write!(f, "{} (no git revision)", self.version)?,
        }
        let compiler = self.compiler.split(" (").next().unwrap_or_default();
        if compiler.is_empty() { f.write_str(", unknown compiler") } else { write!(f, ", {compiler}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_the_code_is_told_in_words() {
        let revision = |dirty| Some(Revision { hash: "5e18d9d".to_owned(), dirty });
        let told = |revision, compiler: &str| {
            CodeVersion { version: "0.1.0".to_owned(), revision, compiler: compiler.to_owned() }.to_string()
        };
        let rustc = "rustc 1.95.0 (59807616e 2026-04-14)";
        assert_eq!(told(revision(false), rustc), "0.1.0 (5e18d9d, clean), rustc 1.95.0");
        assert_eq!(told(revision(true), rustc), "0.1.0 (5e18d9d, uncommitted changes), rustc 1.95.0");
        assert_eq!(told(None, ""), "0.1.0 (no git revision), unknown compiler");
    }
}
