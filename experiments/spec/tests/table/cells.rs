//! What a cell holds, and what it says when it holds nothing.

use crate::fixture::{catalog, code, scored, scores, table_spec, unscored};
use experiment_spec::{
    catalog::ParameterValue,
    run::State,
    scores::{Normalisation, Task},
    spec::{Spread, TableKind, TableSpec},
    table::{Cell, Rank, RunRecord, Table, assemble, cells_csv, grid, scores_csv, text},
};

fn table_of(records: &[RunRecord]) -> Table {
    assemble(records, &table_spec(TableKind::Ablation, "t", &[]), &[], &catalog())
}

/// Index of the bi-modal average among the columns of one data set.
const AVERAGE: usize = 2;

fn summary(table: &Table, row: usize, column: usize) -> (usize, f64, Option<f64>) {
    match &table.rows[row].cells[column] {
        Cell::Scored { summary, .. } => (summary.n, summary.mean, summary.std),
        Cell::Empty { note } => panic!("empty: {}", table.notes[*note]),
    }
}

fn reason(table: &Table, row: usize, column: usize) -> &str {
    match &table.rows[row].cells[column] {
        Cell::Empty { note } | Cell::Scored { note: Some(note), .. } => &table.notes[*note],
        Cell::Scored { note: None, .. } => panic!("nothing is missing"),
    }
}

#[test]
fn deviation_of_an_average_is_that_of_the_averages_of_each_seed() {
    // Seed 1: 0.25 and 0.75, average 0.5. Seed 2: 0.75 and 0.25, average 0.5. So the averages do not vary,
    // although both tasks do (mean 0.5, deviation sqrt(2 * 0.25^2) = 0.3535533905932738).
    let table = table_of(&[
        scored("d", "m", 1, [0.25, 0.75, 0.0, 0.0, 0.0, 0.0]),
        scored("d", "m", 2, [0.75, 0.25, 0.0, 0.0, 0.0, 0.0]),
    ]);
    assert_eq!(summary(&table, 0, 0), (2, 0.5, Some(0.353_553_390_593_273_8)));
    assert_eq!(summary(&table, 0, AVERAGE), (2, 0.5, Some(0.0)));
}

#[test]
fn a_missing_task_empties_its_average_and_nothing_else() {
    let mut record = scored("d", "m", 1, [0.5; 6]);
    record.scores.as_mut().unwrap().scores.retain(|score| score.task != Task::TextToImage);
    let table = table_of(std::slice::from_ref(&record));
    assert_eq!(summary(&table, 0, 0), (1, 0.5, None));
    assert_eq!(reason(&table, 0, AVERAGE), "seed 1 succeeded without a score of text->image (normalisation none)");
    assert!(!scores_csv(&[record]).contains("bi-modal"));
}

#[test]
fn a_score_that_is_not_a_number_is_no_score() {
    for bad in [f64::NAN, f64::INFINITY] {
        let records = [scored("d", "m", 1, [bad, 0.5, 0.5, 0.5, 0.5, 0.5])];
        let table = table_of(&records);
        assert_eq!(reason(&table, 0, 0), "seed 1 succeeded without a score of image->text (normalisation none)");
        assert!(matches!(table.rows[0].cells[AVERAGE], Cell::Empty { .. }));
        assert!(!scores_csv(&records).contains("image->text"));
        assert!(cells_csv(&records).contains("d,cm-gans,m,image->text,0,,\n"));
    }
}

#[test]
fn scores_of_a_run_that_did_not_succeed_do_not_count() {
    let records =
        [RunRecord { state: State::Failed, failure: Some("nan: loss".to_owned()), ..scored("d", "m", 1, [0.5; 6]) }];
    let table = table_of(&records);
    assert_eq!(reason(&table, 0, 0), "seed 1 failed: nan: loss");
    assert_eq!(scores_csv(&records).lines().count(), 1);
}

#[test]
fn every_state_gives_its_reason_and_like_reasons_are_one() {
    let mut records = vec![scored("d", "m", 1, [0.5; 6])];
    records.extend((2..5).map(|seed| unscored("d", "m", seed, State::Queued, None)));
    records.push(unscored("d", "m", 5, State::Assigned, None));
    records.push(unscored("d", "m", 6, State::Running, None));
    records.push(unscored("d", "m", 7, State::Cancelled, None));
    records.push(unscored("d", "m", 8, State::Failed, Some(&format!("killed: {}", "x\n".repeat(10_000)))));
    records.push(unscored("d", "m", 9, State::Succeeded, None));
    let table = table_of(&records);
    let reason = reason(&table, 0, 0);
    let start = "seeds 2-4 queued; seed 5 assigned; seed 6 running; seed 7 cancelled; seed 8 failed: killed: x x";
    assert!(reason.starts_with(start), "{reason}");
    assert!(reason.ends_with("x...; seed 9 succeeded without scores"), "{reason}");
    assert!(reason.len() < 500, "{} bytes", reason.len());
    assert_eq!(table.notes.len(), 1);
}

#[test]
fn a_cell_shows_its_n_only_where_others_have_more() {
    let full = [scored("d", "a", 1, [0.5; 6]), scored("d", "a", 2, [0.5; 6])];
    let mut records = full.to_vec();
    records.extend([scored("d", "b", 1, [0.25; 6]), unscored("d", "b", 2, State::Queued, None)]);
    assert_eq!(grid(&table_of(&records)).rows[0][1], "0.500* ± 0.000");
    assert_eq!(grid(&table_of(&records)).rows[1][1], "0.250+ (n=1) [1]");
    let unfinished: Vec<RunRecord> = records.into_iter().filter(|record| record.seed == 1).collect();
    assert_eq!(grid(&table_of(&unfinished)).rows[1][1], "0.250+");
}

#[test]
fn a_row_or_data_set_without_runs_is_empty_with_a_reason() {
    let spec = table_spec(TableKind::Main, "t", &["absent", "m"]);
    let table = assemble(&[scored("d", "m", 1, [0.5; 6])], &spec, &["d".to_owned(), "e".to_owned()], &catalog());
    let names: Vec<[&str; 2]> = table.rows.iter().map(|row| [row.data_set.as_str(), &row.label]).collect();
    assert_eq!(names, [["d", "absent"], ["d", "m"], ["e", "absent"], ["e", "m"]]);
    for empty in [0, 2, 3] {
        assert_eq!(reason(&table, empty, 0), "no such run in the submission");
    }
    assert_eq!(summary(&table, 1, 5), (1, 0.5, None));
}

#[test]
fn runs_that_only_share_a_label_are_never_averaged() {
    let table = table_of(&[scored("d", "m", 1, [0.5; 6]), scored("d", "m", 1, [0.7; 6])]);
    assert_eq!(reason(&table, 0, 0), "several runs have this label and seed 1: they are not one cell");
}

#[test]
fn ranks_go_by_the_printed_mean_and_ties_share() {
    let column = |means: &[f64]| {
        let records: Vec<RunRecord> =
            means.iter().enumerate().map(|(row, &mean)| scored("d", &format!("m{row}"), 1, [mean; 6])).collect();
        let rank = |cell: &Cell| if let Cell::Scored { rank, .. } = cell { *rank } else { None };
        table_of(&records).rows.iter().map(|row| rank(&row.cells[0])).collect::<Vec<_>>()
    };
    let (best, second) = (Some(Rank::Best), Some(Rank::Second));
    assert_eq!(column(&[0.1, 0.3, 0.2]), [None, best, second]);
    assert_eq!(column(&[0.3001, 0.3002, 0.2001, 0.1999, 0.1]), [best, best, second, second, None]);
    assert_eq!(column(&[0.3]), [None]);
}

#[test]
fn data_sets_are_ranked_apart() {
    let records = ["d", "e"].map(|data_set| {
        let low = if data_set == "d" { 0.1 } else { 0.6 };
        [scored(data_set, "a", 1, [low; 6]), scored(data_set, "b", 1, [low + 0.1; 6])]
    });
    let rows = grid(&table_of(&records.concat())).rows;
    assert_eq!(rows[0][..3], ["d", "a", "0.100+"]);
    assert_eq!(rows[1][..3], ["d", "b", "0.200*"]);
    assert_eq!(rows[2][..3], ["e", "a", "0.600+"]);
    assert_eq!(rows[3][..3], ["e", "b", "0.700*"]);
}

#[test]
fn the_asked_normalisation_is_shown_and_named() {
    let mut spec = table_spec(TableKind::Ablation, "t", &[]);
    spec.normalisation = Normalisation::Authors;
    let table = assemble(&[scored("d", "m", 1, [0.5; 6])], &spec, &[], &catalog());
    assert_eq!(summary(&table, 0, 0), (1, 0.25, None));
    let fact = table.facts.iter().find(|fact| fact.name == "Normalisation").unwrap();
    assert!(fact.value.starts_with("authors: z-scores with statistics of the test set"));
}

#[test]
fn with_several_encoder_seeds_the_table_says_which_spread_it_shows() {
    let run = |seed, encoder_seed, map: f64| RunRecord { encoder_seed, ..scored("d", "a", seed, [map; 6]) };
    let records = [run(1, 1, 0.2), run(1, 2, 0.5), run(2, 1, 0.4), run(2, 2, 0.7)];
    let shown = |records: &[RunRecord], spread| {
        let spec = TableSpec { spread, ..table_spec(TableKind::Ablation, "t", &[]) };
        let table = assemble(records, &spec, &[], &catalog());
        let Cell::Scored { summary, .. } = table.rows[0].cells[0] else { panic!("scored") };
        let fact = |name: &str| {
            let found = table.facts.iter().find(|fact| fact.name == name);
            found.map(|fact| fact.value.clone()).unwrap_or_default()
        };
        (summary.n, (summary.std.unwrap() * 1e6).round(), fact("Score"), fact("Encoder seeds"))
    };
    for (spread, n, std, words) in [
        (Spread::Both, 4, 208_167.0, "over the methods' seeds with 2 encoder seeds each, both spreads together, n=4"),
        (Spread::MethodSeeds, 4, 141_421.0, "over the methods' seeds within one encoder seed, pooled over 2, n=4"),
        (Spread::EncoderSeeds, 2, 212_132.0, "over encoder seeds, of the means over the methods' seeds, n=2"),
    ] {
        let found = shown(&records, spread);
        assert_eq!((found.0, found.1, found.3.as_str()), (n, std, "1, 2"), "{spread:?}");
        assert!(found.2.contains(words), "{}", found.2);
        let single = shown(&[records[0].clone(), records[2].clone()], spread);
        assert!(single.2.contains("deviation over seeds, n=2") && single.3.is_empty(), "{}", single.2);
    }
    let csv = scores_csv(&records);
    assert!(csv.starts_with("submission,dataset,method,label,seed,task,normalisation,map,encoder_seed\n"), "{csv}");
    assert!(csv.contains("toy,d,cm-gans,a,2,image->text,none,0.7,2\n"), "{csv}");
    let repeated = [records[0].clone(), records[1].clone(), records[1].clone()];
    let table = assemble(&repeated, &table_spec(TableKind::Ablation, "t", &[]), &[], &catalog());
    assert!(table.notes[0].contains("several runs have this label and seed 1"), "{:?}", table.notes);
}

#[test]
fn facts_tell_apart_what_differs_between_rows() {
    let with = |label: &str, selection: Option<&str>, seed: u64| {
        let mut record = scored("d", label, seed, [0.5; 6]);
        let parameters = &mut record.spec.as_mut().unwrap().parameters;
        parameters.clear();
        parameters.extend(selection.map(|rule| ("selection".to_owned(), ParameterValue::Text(rule.to_owned()))));
        record
    };
    let mut other = with("c", None, 3);
    other.features_hash.clear();
    other.codes = vec![code(true), code(false)];
    other.encoder_seed = 8;
    other.scores = Some(experiment_spec::scores::Scores { kind: "cuda H200 0.1.0".to_owned(), ..scores([0.5; 6]) });
    let table = table_of(&[with("a", Some("last"), 1), with("b", Some("best-val"), 2), other]);
    let facts = |name: &str| -> Vec<&str> {
        table.facts.iter().filter(|fact| fact.name == name).map(|fact| fact.value.as_str()).collect()
    };
    assert_eq!(facts("Selection"), ["best-val (b); last (a); nothing to select (c)"]);
    assert_eq!(facts("Seeds"), ["1-3"]);
    assert_eq!(
        facts("Features"),
        ["d by small-cnn, encoder seed 7, content 0123456789ab", "d by small-cnn, encoder seed 8, not made yet"]
    );
    assert_eq!(facts("Kind of scores"), ["cpu avx2 0.1.0", "cuda H200 0.1.0"]);
    assert_eq!(
        facts("Code"),
        ["0.1.0 (5e18d9d, clean), rustc 1.95.0", "0.1.0 (5e18d9d, uncommitted changes), rustc 1.95.0"]
    );
    assert_eq!(facts("Compute"), ["1 min 30 s of work in 3 scored runs"]);
    assert_eq!(facts("Departure"), ["CM-GANs: selection on a stratified tenth of train"]);
}

#[test]
fn a_score_whose_program_nobody_knows_says_so() {
    let unknown = RunRecord { codes: vec![], ..scored("d", "m", 1, [0.5; 6]) };
    let waiting = RunRecord { codes: vec![], ..unscored("d", "m", 2, State::Queued, None) };
    let codes = |records: &[RunRecord]| -> Vec<String> {
        table_of(records).facts.into_iter().filter(|fact| fact.name == "Code").map(|fact| fact.value).collect()
    };
    assert_eq!(codes(&[unknown, waiting.clone()]), ["not recorded"]);
    assert_eq!(codes(&[waiting]), [] as [&str; 0]);
}

#[test]
fn what_a_fit_chose_and_what_it_has_to_say_stand_under_the_table() {
    let noted = |seed, notes: &[&str]| {
        let mut record = scored("d", "KCCA", seed, [0.5; 6]);
        let parameters = [("dims", "auto"), ("kappa", "auto"), ("kernel", "gaussian")];
        let parameters = parameters.map(|(key, value)| (key.to_owned(), ParameterValue::Text(value.to_owned())));
        record.spec.as_mut().unwrap().parameters = parameters.into();
        record.scores.as_mut().unwrap().notes = notes.iter().map(|note| (*note).to_owned()).collect();
        record
    };
    let failed = RunRecord { state: State::Failed, ..noted(3, &["of a run without a score"]) };
    let table = table_of(&[noted(1, &["rank 9\nof 10", "held out"]), noted(2, &["held out"]), failed]);
    let facts = |name: &str| -> Vec<&str> {
        table.facts.iter().filter(|fact| fact.name == name).map(|fact| fact.value.as_str()).collect()
    };
    assert_eq!(facts("Selection"), ["dims, kappa chosen on validation pairs by the bi-modal average"]);
    assert_eq!(facts("Note"), ["KCCA: rank 9 of 10", "KCCA: held out"]);

    let on = |data_set: &str, notes: &[&str]| RunRecord { data_set: data_set.to_owned(), ..noted(1, notes) };
    let table =
        table_of(&[on("a", &["both grains", "slow"]), on("b", &["coarse", "slow"]), on("c", &["coarse", "slow"])]);
    let told: Vec<&str> = table.facts.iter().filter(|it| it.name == "Note").map(|it| it.value.as_str()).collect();
    assert_eq!(told, ["KCCA on a: both grains", "KCCA: slow", "KCCA on b, c: coarse"]);
}

#[test]
fn features_with_patches_are_told_from_those_without() {
    let plain = scored("d", "CCA", 1, [0.5; 6]);
    let mut with = RunRecord { features_hash: "fedcba9876543210".to_owned(), ..scored("d", "CCL", 1, [0.5; 6]) };
    with.spec.as_mut().unwrap().features.patches = true;
    let table = table_of(&[plain, with]);
    let told: Vec<&str> = table.facts.iter().filter(|it| it.name == "Features").map(|it| it.value.as_str()).collect();
    let expected = [
        "d by small-cnn, encoder seed 7, content 0123456789ab",
        "d by small-cnn with patches, encoder seed 7, content fedcba987654",
    ];
    assert_eq!(told, expected);
}

#[test]
fn no_records_make_an_empty_table() {
    let table = table_of(&[]);
    assert!(table.rows.is_empty() && table.notes.is_empty());
    assert_eq!(grid(&table).header, ["method", "image->text", "text->image", "bi-modal average"]);
}

#[test]
fn columns_stand_in_line_where_a_character_is_two_wide() {
    let plain = text(&table_of(&[scored("d", "plain", 1, [0.5; 6]), scored("d", "\u{1f642}漢", 1, [0.5; 6])]));
    let rows: Vec<&str> = plain.lines().filter(|line| line.contains("0.500*")).collect();
    assert!(rows[0].starts_with("plain   0.500*") && rows[1].starts_with("\u{1f642}漢    0.500*"), "{plain}");
}
