//! The entries of `methods`: what each says, with `defaults` laid under it.

use super::{
    external, keys,
    limits::{MAX_LABEL, MAX_METHODS},
    parameters::{value, values},
    problem::{Place, Problems},
    read::{Cursor, Fields, unknown},
};
use crate::{
    catalog::{Catalog, MethodEntry, ParameterValue},
    program::{Files, Program},
};

/// One entry of `methods`.
#[derive(Debug)]
pub(super) struct Line<'c> {
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) entry: &'c MethodEntry,
    /// The program of the user's own that stands for the method.
    pub(super) program: Option<Program>,
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
    pub(super) read: Vec<Line<'c>>,
    /// Whether the method of every entry is known.
    pub(super) methods_known: bool,
    /// Whether every label is known, also those that grids make.
    pub(super) labels_known: bool,
}

/// Reads `methods` and `defaults`.
pub(super) fn read<'c>(
    methods: &Cursor<'_>,
    defaults: Option<&Fields<'_>>,
    catalog: &'c Catalog,
    files: &mut dyn Files,
    problems: &mut Problems,
) -> Lines<'c> {
    let items = methods.list(problems, "a list of methods", MAX_METHODS);
    let known = items.is_some();
    let mut lines = Lines { read: Vec::new(), methods_known: known, labels_known: known };
    for item in items.iter().flatten() {
        let line = line(item, defaults, catalog, files, problems);
        lines.methods_known &= line.is_some();
        lines.labels_known &= line.as_ref().is_some_and(|(_, labels_known)| *labels_known);
        lines.read.extend(line.map(|(line, _)| line));
    }
    if let Some(defaults) = defaults {
        check_defaults(defaults, &lines, catalog, problems);
    }
    lines
}

/// Reads one entry: a method's key alone, or a mapping; the second value says whether its labels are known.
fn line<'c>(
    cursor: &Cursor<'_>,
    defaults: Option<&Fields<'_>>,
    catalog: &'c Catalog,
    files: &mut dyn Files,
    problems: &mut Problems,
) -> Option<(Line<'c>, bool)> {
    let nothing = Fields { place: cursor.node.place, path: cursor.path.clone(), entries: Vec::new() };
    let (own, method) = if cursor.is_map() {
        let own = cursor.fields(problems, "a method")?;
        if let Some(command) = own.get("command") {
            let external = external::read(&own, command, catalog, files, problems)?;
            let (place, path) = (cursor.node.place, cursor.path.clone());
            let external::External { entry, program, label } = external;
            return Some((Line { place, path, entry, program: Some(program), label, axes: Vec::new() }, true));
        }
        let method = own.require(problems, "method").cloned();
        (own, method)
    } else {
        (nothing, Some(cursor.clone()))
    };
    let label = own.get("label").map(|label| label.text(problems, "a label", MAX_LABEL));
    let key = method?.choice(problems, "a method:", &catalog.methods.iter().map(|entry| entry.key.as_str()))?;
    let entry = catalog.method(key)?;
    let parameters = entry.parameters.iter().map(|parameter| parameter.key.as_str());
    own.refuse_unknown(problems, &keys::METHOD.iter().copied().chain(parameters).collect::<Vec<_>>());
    let (axes, grids_known) = axes(entry, &own, defaults, problems);
    let labels_known = grids_known && label != Some(None);
    let label = label.flatten().unwrap_or(&entry.label).to_owned();
    let (place, path) = (cursor.node.place, cursor.path.clone());
    Some((Line { place, path, entry, program: None, label, axes }, labels_known))
}

/// What the entry (`own`) and `defaults` choose; the second value says whether every grid could be read.
fn axes(
    entry: &MethodEntry,
    own: &Fields<'_>,
    defaults: Option<&Fields<'_>>,
    problems: &mut Problems,
) -> (Vec<Axis>, bool) {
    let (mut axes, mut grids_known) = (Vec::new(), true);
    let mut take = |key: &str, read: &mut dyn FnMut(&Cursor<'_>) -> Option<Vec<ParameterValue>>| {
        // Both are read, so that a mistake in a default is found also where it is not used.
        let default = defaults.and_then(|defaults| defaults.get(key));
        let below = default.map(&mut *read);
        if let Some(chosen) = own.get(key).map(read).or(below) {
            grids_known &= chosen.is_some() || !own.get(key).or(default).is_some_and(Cursor::is_list);
            axes.extend(chosen.map(|values| Axis { key: key.to_owned(), values }));
        }
    };
    if entry.presets.is_empty() {
        if let Some(preset) = own.get("preset") {
            preset.report(problems, "this method has no presets");
        }
    } else {
        let names = entry.presets.iter().map(|preset| preset.name.as_str());
        take("preset", &mut |cursor| {
            values(cursor, problems, |cursor, problems| {
                let name = cursor.choice(problems, "a preset:", &names)?;
                Some(ParameterValue::Text(name.to_owned()))
            })
        });
    }
    for parameter in &entry.parameters {
        take(&parameter.key, &mut |cursor| {
            values(cursor, problems, |cursor, problems| value(cursor, parameter, problems))
        });
    }
    (axes, grids_known)
}

/// Reports every key of `defaults` that no listed method has.
fn check_defaults(defaults: &Fields<'_>, lines: &Lines<'_>, catalog: &Catalog, problems: &mut Problems) {
    let listed: Vec<&MethodEntry> = lines.read.iter().map(|line| line.entry).collect();
    // Where an entry could not be read, its method may be any of the catalog.
    let entries = if lines.methods_known { listed } else { catalog.methods.iter().collect() };
    let mut known: Vec<&str> =
        entries.iter().flat_map(|entry| &entry.parameters).map(|parameter| parameter.key.as_str()).collect();
    if entries.iter().any(|entry| !entry.presets.is_empty()) {
        known.push("preset");
    }
    known.sort_unstable();
    known.dedup();
    for (key, cursor) in &defaults.entries {
        if !known.contains(&key.name.as_str()) {
            let message = || unknown("parameter of the listed methods", &key.name, known.iter().copied());
            problems.report_with(key.place, &cursor.path, message);
        }
    }
}
