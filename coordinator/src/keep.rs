//! Keep rules: how long what runs leave beside their scores stays. Scores, metrics and history stay in every case.

use std::{fmt, str::FromStr, time::Duration};

use experiment_spec::{
    artifacts::{EMBEDDINGS, MODEL},
    spec::memory_bytes,
};

/// Which contents of one sort stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All of them.
    #[default]
    All,
    /// None: they go once the scores are accepted.
    Nothing,
    /// Those whose run was accepted no longer ago.
    For(Duration),
    /// The newest, so many bytes together; equal contents count once.
    Newest(u64),
}

/// A text that is no keep rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `all`, `none`, a time like 90d (so long after the run) or a size like 100GiB (the newest, together)")]
pub struct NoKeepRule;

impl FromStr for Keep {
    type Err = NoKeepRule;

    fn from_str(text: &str) -> Result<Self, NoKeepRule> {
        match text {
            "all" => Ok(Self::All),
            "none" => Ok(Self::Nothing),
            _ => match (memory_bytes(text), humantime::parse_duration(text)) {
                (Some(bytes), _) => Ok(Self::Newest(bytes)),
                (None, Ok(time)) if !time.is_zero() => Ok(Self::For(time)),
                _ => Err(NoKeepRule),
            },
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Nothing => f.write_str("none"),
            Self::For(time) => write!(f, "{}", humantime::format_duration(*time)),
            Self::Newest(bytes) => write!(f, "{} MiB", bytes >> 20),
        }
    }
}

/// The rules of a coordinator. Features always stay: runs to come read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepRules {
    /// For models.
    pub models: Keep,
    /// For embeddings of the test pairs.
    pub embeddings: Keep,
}

/// A rule for the contents of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// As the contents are called in the record.
    pub(crate) name: &'static str,
    /// The option that sets it, for people.
    pub(crate) option: &'static str,
    pub(crate) keep: Keep,
}

impl KeepRules {
    /// Those by which something goes.
    pub(crate) fn at_work(self) -> impl Iterator<Item = Rule> {
        let models = Rule { name: MODEL, option: "serve --keep-models", keep: self.models };
        let embeddings = Rule { name: EMBEDDINGS, option: "serve --keep-embeddings", keep: self.embeddings };
        [models, embeddings].into_iter().filter(|rule| rule.keep != Keep::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_all_or_none_or_a_time_or_a_size() {
        let rules = [
            ("all", Keep::All),
            ("none", Keep::Nothing),
            ("90d", Keep::For(Duration::from_hours(90 * 24))),
            ("36h", Keep::For(Duration::from_hours(36))),
            ("100GiB", Keep::Newest(100 << 30)),
            ("512MiB", Keep::Newest(512 << 20)),
        ];
        for (text, keep) in rules {
            assert_eq!(text.parse(), Ok(keep), "{text}");
            let again = keep.to_string().replace(' ', "");
            assert_eq!(again.parse(), Ok(keep), "{text} is shown as {again}");
        }
        for text in ["", "0s", "0", "some", "-1d", "12", "1e3GiB"] {
            assert_eq!(text.parse::<Keep>(), Err(NoKeepRule), "{text}");
        }
    }

    #[test]
    fn only_what_takes_something_away_is_at_work() {
        assert_eq!(KeepRules::default().at_work().count(), 0);
        let rules = KeepRules { embeddings: Keep::Nothing, ..KeepRules::default() };
        let at_work: Vec<_> = rules.at_work().map(|rule| (rule.name, rule.keep)).collect();
        assert_eq!(at_work, [("embeddings.safetensors", Keep::Nothing)]);
    }
}
