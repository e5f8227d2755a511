//! Exit codes and the sentences that go with them: 0 done; 1 some run failed; 2 the request was wrong
//! (nothing was changed); 3 the coordinator could not be reached; 130 interrupted.

use std::process::ExitCode;

/// Why a command ends with another code than 0.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Some run failed; what was asked for was carried out.
    RunFailed(String),
    /// The request was wrong, or could not be carried out here; nothing was changed.
    Request(String),
    /// The coordinator could not be reached.
    Unreachable(String),
    /// The user interrupted the command.
    Interrupted(String),
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn request(sentence: impl Into<String>) -> Self {
        Self::Request(sentence.into())
    }

    /// What there is to say.
    #[cfg(test)]
    pub(crate) fn sentence(self) -> String {
        match self {
            Self::RunFailed(sentence)
            | Self::Request(sentence)
            | Self::Unreachable(sentence)
            | Self::Interrupted(sentence) => sentence,
        }
    }

    /// Prints the sentence to standard error and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (code, sentence) = match self {
            Self::RunFailed(sentence) => (1, sentence),
            Self::Request(sentence) => (2, sentence),
            Self::Unreachable(sentence) => (3, sentence),
            Self::Interrupted(sentence) => (130, sentence),
        };
        if !sentence.is_empty() {
            eprintln!("{sentence}");
        }
        ExitCode::from(code)
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => {
                Self::Unreachable(format!("the coordinator could not be reached: {}", status.message()))
            }
            _ => Self::Request(status.message().to_owned()),
        }
    }
}
