//! The rows of a submission: entries of `methods` with their grids expanded and `overrides` applied.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use super::{
    data_set_list::DataSets,
    limits::{MAX_CELLS, MAX_RUNS},
    lines::{Line, Lines},
    overrides,
    parameters::initial,
    problem::{Place, Problems},
    read::Cursor,
    submission::MethodRow,
};
use crate::{
    catalog::{MethodEntry, ParameterValue, Parameters},
    program::Program,
};

/// A row on its way: not yet known to be free of mistakes.
#[derive(Debug)]
pub(super) struct Draft<'c> {
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) entry: &'c MethodEntry,
    pub(super) program: Option<Program>,
    /// Label of the entry of `methods`.
    pub(super) base: String,
    /// Label of the row: the same, with its place in the grid.
    pub(super) label: String,
    /// Parameters that the grid of its entry varies.
    pub(super) grid: Vec<String>,
    /// By data set as it is shown.
    pub(super) parameters: BTreeMap<String, Parameters>,
}

/// Rows by label, and by the label of their entry: what tables may name.
#[derive(Debug)]
pub(super) struct Rows<'c> {
    pub(super) drafts: Vec<Draft<'c>>,
    /// Whether every label of the file is here.
    pub(super) labels_known: bool,
}

/// Expands grids and applies overrides. `seeds` is their number (1 where they could not be read).
pub(super) fn expand<'c>(
    lines: &Lines<'c>,
    overrides: Option<&Cursor<'_>>,
    data_sets: &DataSets,
    seeds: usize,
    methods: &Cursor<'_>,
    problems: &mut Problems,
) -> Rows<'c> {
    let shown = data_sets.shown();
    let sizes = lines
        .read
        .iter()
        .map(|line| line.axes.iter().try_fold(1_usize, |product, axis| product.checked_mul(axis.values.len())));
    let rows = sizes.into_iter().try_fold(0_usize, |sum, size| sum.checked_add(size?));
    let cells = rows.and_then(|rows| rows.checked_mul(shown.len().max(1)));
    let runs = cells.and_then(|cells| cells.checked_mul(seeds));
    if cells.is_none_or(|cells| cells > MAX_CELLS) || runs.is_none_or(|runs| runs > MAX_RUNS) {
        methods.report(
            problems,
            format!(
                "too many runs: data sets x rows may be {MAX_CELLS} and times seeds {MAX_RUNS}, here {} and {}",
                count(cells),
                count(runs)
            ),
        );
        return Rows { drafts: Vec::new(), labels_known: false };
    }
    let mut drafts: Vec<_> = lines.read.iter().flat_map(|line| grid(line, &shown)).collect();
    if let Some(overrides) = overrides {
        overrides::apply(overrides, data_sets, &mut drafts, lines, problems);
    }
    refuse_same_labels(&drafts, problems);
    Rows { drafts, labels_known: lines.labels_known }
}

/// A number that may be beyond counting.
fn count(number: Option<usize>) -> String {
    number.map_or_else(|| "far more".to_owned(), |number| number.to_string())
}

/// The rows of one entry: every combination of its values, the first axis changing slowest.
fn grid<'c>(line: &Line<'c>, data_sets: &[String]) -> Vec<Draft<'c>> {
    let varied: Vec<_> = line.axes.iter().filter(|axis| axis.values.len() > 1).collect();
    let mut combinations: Vec<Vec<(&str, &ParameterValue)>> = vec![Vec::new()];
    for axis in &line.axes {
        combinations = combinations
            .into_iter()
            .flat_map(|chosen| {
                axis.values.iter().map(move |value| {
                    let mut chosen = chosen.clone();
                    chosen.push((axis.key.as_str(), value));
                    chosen
                })
            })
            .collect();
    }
    let draft = |chosen: Vec<(&str, &ParameterValue)>| {
        let place_in_grid: Vec<_> = chosen
            .iter()
            .filter(|(key, _)| varied.iter().any(|axis| axis.key == *key))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let label = match place_in_grid.as_slice() {
            [] => line.label.clone(),
            shown => format!("{} ({})", line.label, shown.join(", ")),
        };
        let parameters = parameters(line.entry, &chosen);
        Draft {
            place: line.place,
            path: line.path.clone(),
            entry: line.entry,
            program: line.program.clone(),
            base: line.label.clone(),
            label,
            grid: varied.iter().map(|axis| axis.key.clone()).collect(),
            parameters: data_sets.iter().map(|data_set| (data_set.clone(), parameters.clone())).collect(),
        }
    };
    combinations.into_iter().map(draft).collect()
}

/// Every parameter: the method's own, then the preset's, then what was chosen.
fn parameters(entry: &MethodEntry, chosen: &[(&str, &ParameterValue)]) -> Parameters {
    let preset = chosen.iter().find_map(|(key, value)| match value {
        ParameterValue::Text(name) if *key == "preset" => Some(name.as_str()),
        _ => None,
    });
    let mut parameters = initial(entry, preset);
    let set = chosen.iter().filter(|(key, _)| *key != "preset");
    parameters.extend(set.map(|(key, value)| ((*key).to_owned(), (*value).clone())));
    parameters
}

/// Labels are what tables name: each may stand once.
fn refuse_same_labels(drafts: &[Draft<'_>], problems: &mut Problems) {
    let mut first: HashMap<&str, &str> = HashMap::new();
    for draft in drafts {
        match first.get(draft.label.as_str()) {
            Some(path) => problems.report(
                draft.place,
                &draft.path,
                format!("the label `{}` is that of {path} too: give one of them a `label`", draft.label),
            ),
            None => drop(first.insert(&draft.label, &draft.path)),
        }
    }
}

/// Two rows that would compute the same are a slip (most often a switch forgotten in one of them).
pub(super) fn refuse_same_runs(drafts: &[Draft<'_>], data_sets: &[String], problems: &mut Problems) {
    // By the two rows: the data sets on which they agree.
    let mut same: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
    for data_set in data_sets {
        let mut first: HashMap<(&str, Option<&Program>, String), usize> = HashMap::new();
        for (index, draft) in drafts.iter().enumerate() {
            let Some(parameters) = draft.parameters.get(data_set) else { continue };
            let text = serde_json::to_string(parameters).expect("parameters are plain data that JSON can say");
            match first.entry((&draft.entry.key, draft.program.as_ref(), text)) {
                Entry::Occupied(earlier) => same.entry((index, *earlier.get())).or_default().push(data_set),
                Entry::Vacant(new) => drop(new.insert(index)),
            }
        }
    }
    for ((index, earlier), data_sets) in same {
        let (draft, earlier) = (&drafts[index], &drafts[earlier]);
        let message = format!(
            "`{}` would compute the same as `{}` on {}: same method, same parameters",
            draft.label,
            earlier.label,
            data_sets.join(", ")
        );
        problems.report(draft.place, &draft.path, message);
    }
}

impl From<Draft<'_>> for MethodRow {
    fn from(draft: Draft<'_>) -> Self {
        Self {
            label: draft.label,
            method: draft.entry.key.clone(),
            program: draft.program,
            parameters: draft.parameters,
        }
    }
}
