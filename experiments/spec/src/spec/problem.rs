//! A mistake in a submission, and the list of all of them.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::limits::MAX_PROBLEMS;

/// One mistake of a file: where it is, what was expected there and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Path of the key, like `methods[2].weight-sharing` (lists count from 0); empty for the whole file.
    pub key_path: String,
    /// What was expected and found, and the nearest correct name where there is one.
    pub message: String,
}

impl Problem {
    /// One line for people and editors: `file:line:column: key.path: message`.
    #[must_use]
    pub fn render(&self, file: &str) -> String {
        let mut line = format!("{file}:{}:{}: ", self.line, self.column);
        if !self.key_path.is_empty() {
            let _ = write!(line, "{}: ", self.key_path);
        }
        line + &self.message
    }
}

/// Where something stands in a file: line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    /// The first character.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// The problems found so far. The same mistake met on two ways (a default read for two methods) counts once.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    more: bool,
}

impl Problems {
    /// Adds one.
    pub(super) fn report(&mut self, place: Place, key_path: &str, message: impl Into<String>) {
        self.report_with(place, key_path, || message.into());
    }

    /// Adds one whose message costs something to make: it is made only while there is room, so that a file of
    /// nothing but mistakes costs no more than one of a hundred.
    pub(super) fn report_with(&mut self, place: Place, key_path: &str, message: impl FnOnce() -> String) {
        if self.found.len() == MAX_PROBLEMS {
            self.more = true;
            return;
        }
        let problem = Problem { line: place.line, column: place.column, key_path: clip(key_path), message: message() };
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them, in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| (problem.line, problem.column));
        if let (Some(last), true) = (self.found.last(), self.more) {
            let message = "and more problems, which are not listed: mend these first".to_owned();
            self.found.push(Problem { key_path: String::new(), message, ..*last });
        }
        self.found
    }
}

/// A text of the user's, cut to a length that fits a message, on one line.
pub(super) fn clip(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut short: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

/// The name most like `wrong`, if one is near enough to be what was meant. Case, `_` and `-` do not count.
pub(super) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // From experience with the keys of submissions: `iters` and `iterations` are 0.87 alike, unrelated keys below 0.8.
    const NEAR: f64 = 0.84;
    // A grid may have thousands of labels, which nobody mistypes by hand.
    const MOST: usize = 1000;
    let plain = |text: &str| text.chars().take(100).collect::<String>().to_lowercase().replace('_', "-");
    let wrong = plain(wrong);
    names
        .into_iter()
        .take(MOST)
        .map(|name| (strsim::jaro_winkler(&wrong, &plain(name)), name))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// `, did you mean `x`?` where a name is near, else the empty text.
pub(super) fn did_you_mean<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, names).map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_that_editors_can_jump_to() {
        let problem =
            Problem { line: 7, column: 5, key_path: "methods[2].hiden".into(), message: "unknown key".into() };
        assert_eq!(problem.render("a.yaml"), "a.yaml:7:5: methods[2].hiden: unknown key");
        assert_eq!(Problem { key_path: String::new(), ..problem }.render("a.yaml"), "a.yaml:7:5: unknown key");
    }

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        let names = ["iterations", "batch-size", "learning-rate", "hidden"];
        assert_eq!(nearest("iters", names), Some("iterations"));
        assert_eq!(nearest("batch_size", names), Some("batch-size"));
        assert_eq!(nearest("LearningRate", names), Some("learning-rate"));
        assert_eq!(nearest("colour", names), None);
    }

    #[test]
    fn a_flood_of_problems_is_cut_and_sorted() {
        let mut problems = Problems::default();
        for line in (1..=150).rev() {
            problems.report(Place { line, column: 1 }, "", "wrong");
            problems.report(Place { line, column: 1 }, "", "wrong");
        }
        let listed = problems.into_sorted();
        assert_eq!(listed.len(), MAX_PROBLEMS + 1);
        assert!(listed.is_sorted_by_key(|problem| problem.line));
        assert_eq!(listed.last().unwrap().message, "and more problems, which are not listed: mend these first");
    }

    #[test]
    fn quoted_text_is_short_and_on_one_line() {
        assert_eq!(clip("a\nb"), "a\u{fffd}b");
        assert_eq!(clip(&"x".repeat(81)).chars().count(), 81);
    }
}
