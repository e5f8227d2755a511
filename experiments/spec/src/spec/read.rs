//! Reading a node as what is expected of it. Every reader reports what is wrong and goes on with `None`,
//! so that all mistakes of a file come out at once.

use std::{collections::HashSet, fmt::Display, ops::RangeInclusive};

use super::{
    node::{Key, Node, Value},
    problem::{Place, Problems, clip, did_you_mean},
};
use crate::catalog::ParameterValue::Float;

/// A node and the path of keys that leads to it.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
}

/// Entries of a mapping, each key once.
#[derive(Clone, Debug)]
pub(super) struct Fields<'n> {
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) entries: Vec<(&'n Key, Cursor<'n>)>,
}

impl<'n> Cursor<'n> {
    /// The root of a file.
    pub(super) fn root(node: &'n Node) -> Self {
        Self { node, path: String::new() }
    }

    /// Reports `message` here.
    pub(super) fn report(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.report(self.node.place, &self.path, message);
    }

    /// Reports that something else was expected here.
    pub(super) fn expected(&self, problems: &mut Problems, what: impl Display) {
        if !matches!(self.node.value, Value::Refused) {
            let message = || format!("expected {what}, found {}", self.found());
            problems.report_with(self.node.place, &self.path, message);
        }
    }

    /// Reports that one of these names was expected here, with the one nearest to what was found.
    pub(super) fn expected_one_of<'c>(
        &self,
        problems: &mut Problems,
        what: &str,
        names: &(impl IntoIterator<Item = &'c str> + Clone),
    ) {
        let near = |wrong: &str| did_you_mean(wrong, names.clone());
        let hint = || if let Value::Scalar { text, .. } = &self.node.value { near(text) } else { String::new() };
        if !matches!(self.node.value, Value::Refused) {
            let message = || format!("expected {what}{}, found {}{}", listed(names.clone()), self.found(), hint());
            problems.report_with(self.node.place, &self.path, message);
        }
    }

    /// What stands here, in words.
    fn found(&self) -> String {
        match &self.node.value {
            Value::Scalar { text, quoted: true } => format!("the text \"{}\"", clip(text)),
            Value::Scalar { text, .. } if is_null(text) => "nothing".to_owned(),
            Value::Scalar { text, .. } => format!("`{}`", clip(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Refused => "a value that is not supported".to_owned(),
        }
    }

    /// Whether this bare word stands here.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.node.value, Value::Scalar { text, quoted: false } if text == word)
    }

    /// Whether a list stands here.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// Whether a mapping stands here.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// A mapping; `what` says of what.
    pub(super) fn fields(&self, problems: &mut Problems, what: &str) -> Option<Fields<'n>> {
        let Value::Map(entries) = &self.node.value else {
            self.expected(problems, what);
            return None;
        };
        let mut seen = HashSet::new();
        let mut fields = Fields { place: self.node.place, path: self.path.clone(), entries: Vec::new() };
        for (key, node) in entries {
            let path =
                if self.path.is_empty() { clip(&key.name) } else { format!("{}.{}", self.path, clip(&key.name)) };
            if seen.insert(key.name.as_str()) {
                fields.entries.push((key, Cursor { node, path }));
            } else {
                problems.report(key.place, &path, "this key stands here twice");
            }
        }
        Some(fields)
    }

    /// A list of at least one and at most `longest` things, named by `what`.
    pub(super) fn list(&self, problems: &mut Problems, what: &str, longest: usize) -> Option<Vec<Self>> {
        let Value::List(items) = &self.node.value else {
            self.expected(problems, what);
            return None;
        };
        if items.is_empty() {
            self.report(problems, format!("expected {what}, found an empty list"));
            return None;
        }
        if items.len() > longest {
            self.report(problems, format!("expected at most {longest} entries, found {}", items.len()));
            return None;
        }
        Some(items.iter().enumerate().map(|(i, node)| Self { node, path: format!("{}[{i}]", self.path) }).collect())
    }

    /// A text of one line, of 1 to `longest` characters; `what` names it.
    pub(super) fn text(&self, problems: &mut Problems, what: &str, longest: usize) -> Option<&'n str> {
        let text = match &self.node.value {
            Value::Scalar { text, quoted } if *quoted || !is_null(text) => text,
            _ => {
                self.expected(problems, what);
                return None;
            }
        };
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            self.expected(problems, format_args!("{what} on one line"));
            return None;
        }
        if text.chars().nth(longest).is_some() {
            self.report(problems, format!("expected {what} of at most {longest} characters"));
            return None;
        }
        Some(text)
    }

    /// One of these names; `what` says of what.
    pub(super) fn choice<'c>(
        &self,
        problems: &mut Problems,
        what: &str,
        names: &(impl IntoIterator<Item = &'c str> + Clone),
    ) -> Option<&'c str> {
        if let Value::Scalar { text, .. } = &self.node.value
            && let Some(name) = names.clone().into_iter().find(|name| name == text)
        {
            return Some(name);
        }
        self.expected_one_of(problems, what, names);
        None
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        match &self.node.value {
            Value::Scalar { text, quoted: false } if matches!(text.as_str(), "true" | "True" | "TRUE") => Some(true),
            Value::Scalar { text, quoted: false } if matches!(text.as_str(), "false" | "False" | "FALSE") => {
                Some(false)
            }
            _ => {
                self.expected(problems, "`true` or `false`");
                None
            }
        }
    }

    /// A whole number in a range.
    pub(super) fn integer(&self, problems: &mut Problems, range: &RangeInclusive<i64>) -> Option<i64> {
        self.integer_as(problems, range, format_args!("a whole number from {} to {}", range.start(), range.end()))
    }

    /// The same, with other words for what is expected.
    pub(super) fn integer_as(
        &self,
        problems: &mut Problems,
        range: &RangeInclusive<i64>,
        what: impl Display,
    ) -> Option<i64> {
        let number = match &self.node.value {
            Value::Scalar { text, quoted: false } => whole(text),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.expected(problems, what);
        }
        number
    }

    /// A number in a range; whole ones are read as real ones.
    pub(super) fn float(&self, problems: &mut Problems, range: &RangeInclusive<f64>) -> Option<f64> {
        let number = match &self.node.value {
            Value::Scalar { text, quoted: false } => real(text),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.expected(problems, format_args!("a number from {} to {}", Float(*range.start()), Float(*range.end())));
        }
        number
    }
}

impl<'n> Fields<'n> {
    /// The value of a key, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&Cursor<'n>> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, cursor)| cursor)
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, problems: &mut Problems, name: &str) -> Option<&Cursor<'n>> {
        let cursor = self.get(name);
        if cursor.is_none() {
            problems.report(self.place, &self.path, format!("the key `{name}` is missing"));
        }
        cursor
    }

    /// The value of a key as `read` reads it, or its default where the key is absent.
    pub(super) fn read_or<T>(&self, name: &str, default: T, read: impl FnOnce(&Cursor<'n>) -> Option<T>) -> Option<T> {
        self.get(name).map_or(Some(default), read)
    }

    /// Reports every key that is not one of these.
    pub(super) fn refuse_unknown(&self, problems: &mut Problems, known: &[&str]) {
        for (key, cursor) in &self.entries {
            if !known.contains(&key.name.as_str()) {
                let message = || unknown("key", &key.name, known.iter().copied());
                problems.report_with(key.place, &cursor.path, message);
            }
        }
    }
}

/// `unknown KIND, did you mean ...?`, or the names that are known.
pub(super) fn unknown<'c>(kind: &str, name: &str, known: impl IntoIterator<Item = &'c str> + Clone) -> String {
    let hint = did_you_mean(name, known.clone());
    if hint.is_empty() { format!("unknown {kind}, expected{}", listed(known)) } else { format!("unknown {kind}{hint}") }
}

/// ` a, b or c`, cut when there are many.
fn listed<'c>(names: impl IntoIterator<Item = &'c str>) -> String {
    const MOST: usize = 30;
    let names: Vec<_> = names.into_iter().take(MOST + 1).collect();
    let shown: Vec<_> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    match shown.as_slice() {
        [] => " none".to_owned(),
        [only] => format!(" {only}"),
        [first @ .., last] if names.len() <= MOST => format!(" {} or {last}", first.join(", ")),
        all => format!(" {}, ...", all.join(", ")),
    }
}

/// YAML 1.2's ways to write nothing.
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A whole number as YAML 1.2 writes it in base 10.
fn whole(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// A finite number; -0 becomes 0, so that equal numbers have equal fingerprints.
fn real(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(number + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_yaml() {
        assert_eq!(whole("-3"), Some(-3));
        assert_eq!(whole("1e3"), None);
        assert_eq!(whole("9223372036854775808"), None);
        assert_eq!(real("1e-3"), Some(0.001));
        assert_eq!(real("5"), Some(5.0));
        for wrong in ["inf", "nan", ".inf", "1e999", "1_000", "0x10", "", "infinity"] {
            assert_eq!(real(wrong), None, "{wrong}");
        }
        assert!(real("-0.0").unwrap().is_sign_positive());
    }

    #[test]
    fn lists_of_names_read_as_sentences() {
        assert_eq!(listed([]), " none");
        assert_eq!(listed(["a"]), " `a`");
        assert_eq!(listed(["a", "b", "c"]), " `a`, `b` or `c`");
        let many: Vec<_> = (0..40).map(|i| i.to_string()).collect();
        assert!(listed(many.iter().map(String::as_str)).ends_with("`29`, ..."));
    }
}
