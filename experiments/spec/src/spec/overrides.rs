//! The entries of `overrides`: parameters for some data sets, methods or labels only.

use super::{
    keys,
    limits::{MAX_GRID_LABEL, MAX_OVERRIDES},
    parameters::{value, values},
    problem::Problems,
    read::{Cursor, Fields, unknown},
    rows::Draft,
};
use crate::catalog::{MethodEntry, ParameterValue, Parameters};

/// Which rows and data sets an override holds for; `None` is all.
struct Selection {
    data_sets: Option<Vec<String>>,
    methods: Option<Vec<String>>,
    labels: Option<Vec<String>>,
}

/// Applies every override to the drafts, in the order of the file: a later one wins. With `complete` false some
/// entry of `methods` could not be read, and a selector that matches nothing is not held against the user.
pub(super) fn apply(
    overrides: &Cursor<'_>,
    data_sets: &[&str],
    drafts: &mut [Draft<'_>],
    complete: bool,
    problems: &mut Problems,
) {
    for item in overrides.list(problems, "a list of overrides", MAX_OVERRIDES).iter().flatten() {
        let Some(fields) = item.fields(problems, "an override: a mapping") else { continue };
        let Some(selection) = select(&fields, data_sets, drafts, complete, problems) else { continue };
        let mut matched: Vec<&MethodEntry> = Vec::new();
        let mut last: Option<(&str, Parameters)> = None;
        for draft in drafts.iter_mut().filter(|draft| selection.matches(draft)) {
            matched.push(draft.entry);
            // Rows of one method stand together: its values are read once, not once a row.
            let values = match &last {
                Some((method, values)) if *method == draft.entry.key => values.clone(),
                _ => read_values(&fields, draft.entry, problems),
            };
            for key in values.keys().filter(|key| draft.grid.contains(key)) {
                if let Some(cursor) = fields.get(key) {
                    let message = format!("`{}` is a grid over this parameter: an override would undo it", draft.base);
                    cursor.report(problems, message);
                }
            }
            for data_set in data_sets.iter().filter(|data_set| selection.holds_for(data_set)) {
                draft.parameters.entry((*data_set).to_owned()).or_default().extend(values.clone());
            }
            last = Some((&draft.entry.key, values));
        }
        if matched.is_empty() && complete {
            item.report(problems, "no row is of this method and label");
        } else if !matched.is_empty() {
            refuse_strange(&fields, &matched, complete, problems);
        }
    }
}

impl Selection {
    fn matches(&self, draft: &Draft<'_>) -> bool {
        let among =
            |names: &Option<Vec<String>>, name: &str| names.as_ref().is_none_or(|n| n.iter().any(|n| n == name));
        among(&self.methods, &draft.entry.key)
            && (among(&self.labels, &draft.label) || among(&self.labels, &draft.base))
    }

    fn holds_for(&self, data_set: &str) -> bool {
        self.data_sets.as_ref().is_none_or(|names| names.iter().any(|name| name == data_set))
    }
}

/// Reads `dataset`, `method` and `label`: each one name or a list.
fn select(
    fields: &Fields<'_>,
    data_sets: &[&str],
    drafts: &[Draft<'_>],
    complete: bool,
    problems: &mut Problems,
) -> Option<Selection> {
    if keys::OVERRIDE.iter().all(|key| fields.get(key).is_none()) {
        let message = "names no `dataset`, `method` or `label`: what holds for all belongs in `defaults`";
        problems.report(fields.place, &fields.path, message);
        return None;
    }
    let mut one_or_more = |key: &str, what: &str, known: &[&str], strict: bool| -> Option<Option<Vec<String>>> {
        let Some(cursor) = fields.get(key) else { return Some(None) };
        let names = values(cursor, problems, |cursor, problems| {
            let name = if strict {
                cursor.choice(problems, what, known.iter().copied())
            } else {
                cursor.text(problems, what, MAX_GRID_LABEL)
            };
            name.map(str::to_owned)
        });
        names.map(Some)
    };
    let methods: Vec<_> = drafts.iter().map(|draft| draft.entry.key.as_str()).collect();
    let mut labels: Vec<_> = drafts.iter().flat_map(|draft| [draft.base.as_str(), draft.label.as_str()]).collect();
    labels.dedup();
    let data_sets = one_or_more("dataset", "a data set of this file:", data_sets, !data_sets.is_empty());
    let methods = one_or_more("method", "a method of this file:", &unique(methods), complete);
    let labels = one_or_more("label", "a label of this file:", &unique(labels), complete);
    Some(Selection { data_sets: data_sets?, methods: methods?, labels: labels? })
}

/// Each name once, in order.
fn unique(names: Vec<&str>) -> Vec<&str> {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().filter(|name| seen.insert(*name)).collect()
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
fn refuse_strange(fields: &Fields<'_>, matched: &[&MethodEntry], complete: bool, problems: &mut Problems) {
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
        } else if complete && !known.contains(&name) {
            problems.report(
                key.place,
                &cursor.path,
                unknown("parameter of the methods it holds for", name, known.iter().copied()),
            );
        }
    }
    if values == 0 {
        problems.report(fields.place, &fields.path, "sets no parameter");
    }
}
