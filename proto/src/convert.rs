//! Wire <-> vocabulary: the only place where the two meet. What cannot be read is an error that names
//! the field.

use std::collections::BTreeSet;

use experiment_spec::{
    code::{CodeVersion, Revision},
    ids::{AttemptKey, AttemptNumber, ContentHash, LeaseToken, StepId},
    spec::Problem,
};

use crate::v1;

/// A field of a message that is missing or makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, found `{found}`")]
pub struct WireError {
    /// Name of the field, as in the proto file.
    pub field: &'static str,
    /// What would have been right.
    pub expected: &'static str,
    /// What was there, cut to 80 characters.
    pub found: String,
}

/// Reads a content hash.
///
/// # Errors
/// When the text is not one.
pub fn hash(field: &'static str, text: &str) -> Result<ContentHash, WireError> {
    text.parse().map_err(|_| WireError {
        field,
        expected: "a content hash (64 hexadecimal digits)",
        found: text.chars().take(80).collect(),
    })
}

/// Reads attempts that a worker holds.
#[must_use]
pub fn held(held: &[v1::Held]) -> BTreeSet<AttemptKey> {
    held.iter().map(AttemptKey::from).collect()
}

/// Reads the three parts of an attempt's key.
#[must_use]
pub fn attempt_key(step_id: i64, attempt: u32, lease: u64) -> AttemptKey {
    AttemptKey { step: StepId(step_id), attempt: AttemptNumber(attempt), lease: LeaseToken(lease) }
}

impl From<&v1::Held> for AttemptKey {
    fn from(held: &v1::Held) -> Self {
        attempt_key(held.step_id, held.attempt, held.lease)
    }
}

impl From<&v1::Assignment> for AttemptKey {
    fn from(assignment: &v1::Assignment) -> Self {
        attempt_key(assignment.step_id, assignment.attempt, assignment.lease)
    }
}

impl From<&v1::Report> for AttemptKey {
    fn from(report: &v1::Report) -> Self {
        attempt_key(report.step_id, report.attempt, report.lease)
    }
}

impl From<AttemptKey> for v1::Held {
    fn from(key: AttemptKey) -> Self {
        Self { step_id: key.step.0, attempt: key.attempt.0, lease: key.lease.0 }
    }
}

impl From<CodeVersion> for v1::CodeVersion {
    fn from(code: CodeVersion) -> Self {
        let CodeVersion { version, revision, compiler } = code;
        let dirty = revision.as_ref().is_some_and(|revision| revision.dirty);
        Self { version, revision: revision.map(|revision| revision.hash).unwrap_or_default(), dirty, compiler }
    }
}

impl From<v1::CodeVersion> for CodeVersion {
    fn from(code: v1::CodeVersion) -> Self {
        let v1::CodeVersion { version, revision: hash, dirty, compiler } = code;
        let revision = (!hash.is_empty()).then_some(Revision { hash, dirty });
        Self { version, revision, compiler }
    }
}

impl From<Problem> for v1::Problem {
    fn from(problem: Problem) -> Self {
        let Problem { line, column, key_path, message } = problem;
        Self { line, column, key_path, message }
    }
}

impl From<v1::Problem> for Problem {
    fn from(problem: v1::Problem) -> Self {
        let v1::Problem { line, column, key_path, message } = problem;
        Self { line, column, key_path, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_that_is_none_names_its_field() {
        let good = ContentHash::of(b"features");
        assert_eq!(hash("hash", &good.to_string()), Ok(good));
        let error = hash("features.hash", "").unwrap_err().to_string();
        assert_eq!(error, "features.hash: expected a content hash (64 hexadecimal digits), found ``");
    }

    #[test]
    fn a_code_version_reads_back() {
        let revision = |dirty| Some(Revision { hash: "5e18d9d".to_owned(), dirty });
        for revision in [None, revision(true), revision(false)] {
            let code = CodeVersion { version: "0.1.0".to_owned(), revision, compiler: "rustc 1.95.0".to_owned() };
            assert_eq!(CodeVersion::from(v1::CodeVersion::from(code.clone())), code);
        }
    }

    #[test]
    fn attempts_and_problems_read_back() {
        let key = attempt_key(7, 2, u64::MAX);
        assert_eq!(held(&[key.into()]), BTreeSet::from([key]));
        let problem = Problem { line: 3, column: 5, key_path: "seeds".to_owned(), message: "expected".to_owned() };
        assert_eq!(Problem::from(v1::Problem::from(problem.clone())), problem);
    }
}
