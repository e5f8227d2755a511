//! A small submission with everything a table must show: full cells, a failed seed, a missing row.

use std::collections::BTreeMap;

use experiment_spec::{
    catalog::{Catalog, MethodEntry, ParameterValue, Parameters},
    code::{CodeVersion, Revision},
    run::{ExtractionSpec, RunSpec, SplitName, State},
    scores::{Normalisation, Score, Scores, Task},
    spec::{Spread, TableKind, TableSpec},
    table::RunRecord,
};

/// Scores with these MAPs under `none`, in the order of `Task::ALL`; under `authors` half of each.
pub(crate) fn scores(maps: [f64; 6]) -> Scores {
    let score = |task, normalisation, map| Score {
        task,
        normalisation,
        map,
        per_category: vec![Some(map), None],
        precision_recall: vec![1.0; 100],
        tied_share: 0.0,
    };
    let scores = Task::ALL.into_iter().zip(maps).flat_map(|(task, map)| {
        [score(task, Normalisation::None, map), score(task, Normalisation::Authors, map / 2.0)]
    });
    Scores {
        scores: scores.collect(),
        kind: "cpu avx2 0.1.0".to_owned(),
        selected_iteration: 40,
        facts: BTreeMap::new(),
        tuning: None,
        notes: Vec::new(),
    }
}

/// The program as committed, or with changes.
pub(crate) fn code(dirty: bool) -> CodeVersion {
    let revision = Some(Revision { hash: "5e18d9d".to_owned(), dirty });
    let compiler = "rustc 1.95.0 (59807616e 2026-04-14)".to_owned();
    CodeVersion { version: "0.1.0".to_owned(), revision, compiler }
}

/// A run that succeeded with these scores.
pub(crate) fn scored(data_set: &str, label: &str, seed: u64, maps: [f64; 6]) -> RunRecord {
    let parameters = Parameters::from([("selection".to_owned(), ParameterValue::Text("best-val".to_owned()))]);
    let features = ExtractionSpec {
        data_set: data_set.to_owned(),
        data_set_version: "1".to_owned(),
        split: SplitName::Official,
        encoder: "small-cnn".to_owned(),
        encoder_revision: 1,
        epochs: 1,
        seed: 7,
        patches: false,
    };
    RunRecord {
        submission: "toy".to_owned(),
        data_set: data_set.to_owned(),
        method: "cm-gans".to_owned(),
        label: label.to_owned(),
        seed,
        state: State::Succeeded,
        failure: None,
        scores: Some(scores(maps)),
        encoder_seed: 7,
        features_hash: "0123456789abcdef0123".to_owned(),
        seconds: 30.0,
        codes: vec![code(false)],
        spec: Some(RunSpec {
            method: "cm-gans".to_owned(),
            method_revision: 1,
            program: None,
            parameters,
            features,
            seed,
            protocol: 1,
        }),
    }
}

/// Rows of a data set whose every score is the same, over seeds.
pub(crate) fn rows(data_set: &str, rows: &[(&str, &[f64])]) -> Vec<RunRecord> {
    let of = |(label, values): &(&str, &[f64])| {
        let seeds = (1..).zip(values.iter());
        let label = (*label).to_owned();
        seeds
            .map(|(seed, &value)| scored(data_set, &label, seed, [value, value, value, value, value, value]))
            .collect::<Vec<_>>()
    };
    rows.iter().flat_map(of).collect()
}

/// A run in this state, without scores.
pub(crate) fn unscored(data_set: &str, label: &str, seed: u64, state: State, failure: Option<&str>) -> RunRecord {
    RunRecord { state, failure: failure.map(str::to_owned), scores: None, ..scored(data_set, label, seed, [0.0; 6]) }
}

/// Three labels and two seeds on `emoji`, one seed on `toy-set`, in the order of a plan (breadth first).
pub(crate) fn records() -> Vec<RunRecord> {
    let (full, neither, with) = ("CM-GANs", "CM-GANs without ws&sc", "CM-GANs with ws");
    let nan = "nan: loss of D_I is not a number\nat iteration 40";
    vec![
        scored("emoji", full, 1, [0.5, 0.25, 0.625, 0.75, 0.5, 0.5]),
        scored("emoji", neither, 1, [0.25, 0.25, 0.5, 0.5, 0.25, 0.25]),
        unscored("emoji", with, 1, State::Running, None),
        scored("toy-set", full, 1, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        scored("toy-set", neither, 1, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        unscored("toy-set", with, 1, State::Cancelled, None),
        scored("emoji", full, 2, [0.75, 0.5, 0.875, 1.0, 0.75, 0.75]),
        unscored("emoji", neither, 2, State::Failed, Some(nan)),
        unscored("emoji", with, 2, State::Queued, None),
    ]
}

/// A table of these rows; none means all.
pub(crate) fn table_spec(kind: TableKind, title: &str, rows: &[&str]) -> TableSpec {
    let rows = rows.iter().map(|&row| row.to_owned()).collect();
    TableSpec {
        kind,
        title: title.to_owned(),
        rows,
        normalisation: Normalisation::None,
        digits: 3,
        spread: Spread::Both,
    }
}

/// A catalog with the one method and a departure to print.
pub(crate) fn catalog() -> Catalog {
    let method = MethodEntry {
        key: "cm-gans".to_owned(),
        label: "CM-GANs".to_owned(),
        revision: 1,
        objective: "a minimax game".to_owned(),
        reference: "a paper".to_owned(),
        parameters: vec![],
        presets: vec![],
        departures: vec!["selection on a stratified tenth of train".to_owned()],
    };
    Catalog { methods: vec![method], ..Catalog::default() }
}
