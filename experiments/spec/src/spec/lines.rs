//! The entries of `methods`: what each says, with `defaults` laid under it.

use super::{
    keys,
    limits::{MAX_LABEL, MAX_METHODS},
    parameters::{value, values},
    problem::{Place, Problems},
    read::{Cursor, Fields, unknown},
};
use crate::catalog::{Catalog, MethodEntry, ParameterValue};

/// One entry of `methods`.
#[derive(Debug)]
pub(super) struct Line<'c> {
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) entry: &'c MethodEntry,
    /// Label without what a grid appends.
    pub(super) label: String,
    /// What was chosen, by the entry or by `defaults`: the preset first, then in the method's own order.
    pub(super) axes: Vec<Axis>,
}

/// Values chosen for one parameter (or for `preset`); more than one make a grid.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) key: String,
    pub(super) values: Vec<ParameterValue>,
}

/// The entries that could be read.
#[derive(Debug)]
pub(super) struct Lines<'c> {
    pub(super) lines: Vec<Line<'c>>,
    /// Whether that is all of them, with every label known.
    pub(super) complete: bool,
}

/// Reads `methods` and `defaults`.
pub(super) fn read<'c>(
    methods: &Cursor<'_>,
    defaults: Option<&Fields<'_>>,
    catalog: &'c Catalog,
    problems: &mut Problems,
) -> Lines<'c> {
    let items = methods.list(problems, "a list of methods", MAX_METHODS);
    let mut lines = Lines { lines: Vec::new(), complete: items.is_some() };
    for item in items.iter().flatten() {
        let line = line(item, defaults, catalog, problems, &mut lines.complete);
        lines.complete &= line.is_some();
        lines.lines.extend(line);
    }
    if let Some(defaults) = defaults {
        check_defaults(defaults, &lines, catalog, problems);
    }
    lines
}

/// Reads one entry: a method's key alone, or a mapping. `complete` falls when a grid cannot be read.
fn line<'c>(
    cursor: &Cursor<'_>,
    defaults: Option<&Fields<'_>>,
    catalog: &'c Catalog,
    problems: &mut Problems,
    complete: &mut bool,
) -> Option<Line<'c>> {
    let nothing = Fields { place: cursor.node.place, path: cursor.path.clone(), entries: Vec::new() };
    let (own, method) = if cursor.is_map() {
        let own = cursor.fields(problems, "a method")?;
        if let Some(command) = own.get("command") {
            command.report(problems, "external commands are not supported yet: name a `method` of the registry");
            return None;
        }
        let method = own.require(problems, "method").cloned();
        (own, method)
    } else {
        (nothing, Some(cursor.clone()))
    };
    let label = own.get("label").map(|label| label.text(problems, "a label", MAX_LABEL));
    let key = method?.choice(problems, "a method:", catalog.methods.iter().map(|entry| entry.key.as_str()))?;
    let entry = catalog.method(key)?;
    let parameters = entry.parameters.iter().map(|parameter| parameter.key.as_str());
    own.refuse_unknown(problems, &keys::METHOD.iter().copied().chain(parameters).collect::<Vec<_>>());
    let (axes, whole) = axes(entry, &own, defaults, problems);
    *complete &= whole;
    let label = match label {
        Some(label) => label?.to_owned(),
        None => entry.label.clone(),
    };
    Some(Line { place: cursor.node.place, path: cursor.path.clone(), entry, label, axes })
}

/// What the entry (`own`) and `defaults` choose; the second value is false when something could not be read.
fn axes(
    entry: &MethodEntry,
    own: &Fields<'_>,
    defaults: Option<&Fields<'_>>,
    problems: &mut Problems,
) -> (Vec<Axis>, bool) {
    let (mut axes, mut whole) = (Vec::new(), true);
    let mut take = |key: &str, read: &mut dyn FnMut(&Cursor<'_>) -> Option<Vec<ParameterValue>>| {
        // Both are read, so that a mistake in a default is found also where it is not used.
        let below = defaults.and_then(|defaults| defaults.get(key)).map(&mut *read);
        if let Some(chosen) = own.get(key).map(read).or(below) {
            whole &= chosen.is_some();
            axes.extend(chosen.map(|values| Axis { key: key.to_owned(), values }));
        }
    };
    if !entry.presets.is_empty() || own.get("preset").is_some() {
        let names = entry.presets.iter().map(|preset| preset.name.as_str());
        take("preset", &mut |cursor| {
            values(cursor, problems, |cursor, problems| {
                let name = cursor.choice(problems, "a preset:", names.clone())?;
                Some(ParameterValue::Text(name.to_owned()))
            })
        });
    }
    for parameter in &entry.parameters {
        take(&parameter.key, &mut |cursor| {
            values(cursor, problems, |cursor, problems| value(cursor, parameter, problems))
        });
    }
    (axes, whole)
}

/// Reports every key of `defaults` that no listed method has.
fn check_defaults(defaults: &Fields<'_>, lines: &Lines<'_>, catalog: &Catalog, problems: &mut Problems) {
    let listed: Vec<&MethodEntry> = lines.lines.iter().map(|line| line.entry).collect();
    // Where an entry could not be read, its method may be any of the catalog.
    let entries = if lines.complete { listed } else { catalog.methods.iter().collect() };
    let mut known: Vec<&str> =
        entries.iter().flat_map(|entry| &entry.parameters).map(|parameter| parameter.key.as_str()).collect();
    if entries.iter().any(|entry| !entry.presets.is_empty()) {
        known.push("preset");
    }
    known.sort_unstable();
    known.dedup();
    for (key, cursor) in &defaults.entries {
        if !known.contains(&key.name.as_str()) {
            let message = unknown("parameter of the listed methods", &key.name, known.iter().copied());
            problems.report(key.place, &cursor.path, message);
        }
    }
}
