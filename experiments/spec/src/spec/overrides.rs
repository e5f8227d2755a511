//! The entries of `overrides`: parameters for some data sets, methods or labels only.

use std::collections::HashSet;

use super::{
    data_set_list::DataSets,
    keys,
    limits::{MAX_GRID_LABEL, MAX_OVERRIDES},
    lines::Lines,
    parameters::{value, values},
    problem::Problems,
    read::{Cursor, Fields, unknown},
    rows::Draft,
};
use crate::catalog::{MethodEntry, ParameterValue, Parameters};

/// Which rows and data sets an override holds for; `None` is all.
struct Selection<'n> {
    data_sets: Option<HashSet<&'n str>>,
    methods: Option<HashSet<&'n str>>,
    labels: Option<HashSet<&'n str>>,
}

/// Names that an override may select by, each once.
struct Names {
    what: &'static str,
    each: Vec<String>,
    /// Whether that is all of them: where some could not be read, an unknown name is not held against the user.
    all: bool,
}

/// Applies every override to the drafts, in the order of the file: a later one wins.
pub(super) fn apply(
    overrides: &Cursor<'_>,
    data_sets: &DataSets,
    drafts: &mut [Draft<'_>],
    lines: &Lines<'_>,
    problems: &mut Problems,
) {
    let methods = drafts.iter().map(|draft| draft.entry.key.as_str());
    let labels = drafts.iter().flat_map(|draft| [draft.base.as_str(), draft.label.as_str()]);
    let named = data_sets.named();
    let known = [
        Names::new("a data set of this file:", named.iter().map(String::as_str), !named.is_empty()),
        Names::new("a method of this file:", methods, lines.methods_known),
        Names::new("a label of this file:", labels, lines.labels_known),
    ];
    for item in overrides.list(problems, "a list of overrides", MAX_OVERRIDES).iter().flatten() {
        let Some(fields) = item.fields(problems, "an override: a mapping") else { continue };
        let Some(selection) = select(&fields, &known, problems) else { continue };
        let mut matched: Vec<&MethodEntry> = Vec::new();
        let mut last: Option<(&str, Parameters)> = None;
        for draft in drafts.iter_mut().filter(|draft| selection.matches(draft)) {
            // Rows of one entry of `methods` stand together: values are read once for them, not once a row.
            let values = match last.take() {
                Some((method, values)) if method == draft.entry.key => values,
                _ => {
                    matched.push(draft.entry);
                    read_values(&fields, draft.entry, problems)
                }
            };
            for key in values.keys().filter(|key| draft.grid.contains(key)) {
                if let Some(cursor) = fields.get(key) {
                    let message = || format!("`{}` is a grid over this: an override would undo it", draft.base);
                    problems.report_with(cursor.node.place, &cursor.path, message);
                }
            }
            for (_, parameters) in draft.parameters.iter_mut().filter(|(data_set, _)| selection.holds_for(data_set)) {
                parameters.extend(values.clone());
            }
            last = Some((&draft.entry.key, values));
        }
        if !matched.is_empty() {
            refuse_strange(&fields, &matched, lines.methods_known, problems);
        } else if lines.methods_known && lines.labels_known {
            item.report(problems, "no row is of this method and label");
        }
    }
}

impl Names {
    fn new<'a>(what: &'static str, names: impl Iterator<Item = &'a str>, all: bool) -> Self {
        let mut seen = HashSet::new();
        let each = names.filter(|name| seen.insert(*name)).map(str::to_owned).collect();
        Self { what, each, all }
    }
}

impl Selection<'_> {
    fn matches(&self, draft: &Draft<'_>) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(draft.entry.key.as_str()))
            && self
                .labels
                .as_ref()
                .is_none_or(|labels| labels.contains(draft.label.as_str()) || labels.contains(draft.base.as_str()))
    }

    /// Whether it holds for a data set as it is shown; the key alone reaches every split of it.
    fn holds_for(&self, shown: &str) -> bool {
        let key = shown.split_once(':').map_or(shown, |(key, _)| key);
        self.data_sets.as_ref().is_none_or(|names| names.contains(shown) || names.contains(key))
    }
}

/// Reads `dataset`, `method` and `label`; `known` are their names in this order.
fn select<'n>(fields: &Fields<'n>, known: &[Names; 3], problems: &mut Problems) -> Option<Selection<'n>> {
    if keys::OVERRIDE.iter().all(|key| fields.get(key).is_none()) {
        let message = "names no `dataset`, `method` or `label`: what holds for all belongs in `defaults`";
        problems.report(fields.place, &fields.path, message);
        return None;
    }
    let mut names = [const { None }; 3];
    let mut whole = true;
    for ((key, known), names) in keys::OVERRIDE.iter().zip(known).zip(&mut names) {
        if let Some(cursor) = fields.get(key) {
            *names = one_or_more(cursor, known, problems);
            whole &= names.is_some();
        }
    }
    let [data_sets, methods, labels] = names;
    whole.then_some(Selection { data_sets, methods, labels })
}

/// One name or a list of names.
fn one_or_more<'n>(cursor: &Cursor<'n>, known: &Names, problems: &mut Problems) -> Option<HashSet<&'n str>> {
    let set: HashSet<&str> = known.each.iter().map(String::as_str).collect();
    let names = values(cursor, problems, |cursor, problems| {
        let name = cursor.text(problems, known.what.trim_end_matches(':'), MAX_GRID_LABEL)?;
        if known.all && !set.contains(name) {
            cursor.expected_one_of(problems, known.what, &known.each.iter().map(String::as_str));
            return None;
        }
        Some(name)
    });
    names.map(|names| names.into_iter().collect())
}

/// The override's values of the parameters that this method has.
fn read_values(fields: &Fields<'_>, entry: &MethodEntry, problems: &mut Problems) -> Parameters {
    let mut read = |(name, cursor): (&str, &Cursor<'_>)| -> Option<(String, ParameterValue)> {
        let parameter = entry.parameter(name)?;
        if keys::OVERRIDE.contains(&name) {
            return None;
        }
        if cursor.is_list() {
            cursor.report(problems, "a grid belongs in `methods` or `defaults`: every data set has the same rows");
            return None;
        }
        Some((name.to_owned(), value(cursor, parameter, problems)?))
    };
    fields.entries.iter().filter_map(|(key, cursor)| read((&key.name, cursor))).collect()
}

/// Reports keys that none of the matched methods has.
fn refuse_strange(fields: &Fields<'_>, matched: &[&MethodEntry], known_all: bool, problems: &mut Problems) {
    let mut known: Vec<&str> =
        matched.iter().flat_map(|entry| &entry.parameters).map(|parameter| parameter.key.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    let mut values = 0;
    for (key, cursor) in &fields.entries {
        let name = key.name.as_str();
        if keys::OVERRIDE.contains(&name) {
            continue;
        }
        values += 1;
        if name == "preset" {
            problems.report(key.place, &cursor.path, "a preset belongs to an entry of `methods` or to `defaults`");
        } else if known_all && !known.contains(&name) {
            let message = || unknown("parameter of the methods it holds for", name, known.iter().copied());
            problems.report_with(key.place, &cursor.path, message);
        }
    }
    if values == 0 {
        problems.report(fields.place, &fields.path, "sets no parameter");
    }
}
