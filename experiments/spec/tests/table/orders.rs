//! The paper's orders against records, and the document of results.

use experiment_spec::{
    program::Program,
    published::PaperSet,
    scores::Average,
    spec::TableKind,
    table::{Measure, Verdict, assemble, orders, results},
};

use crate::fixture::{catalog, rows, table_spec};

const BI_MODAL: Measure = Measure::Average(Average::BiModal);

#[test]
fn an_order_holds_is_reversed_or_cannot_be_told() {
    // Printed for Wikipedia: CM-GANs 0.494, CCL 0.481, CFA 0.318, CCA 0.286.
    let records = rows(
        "wikipedia-cnn",
        &[
            ("CCA", &[0.30, 0.30]),
            ("CM-GANs", &[0.40, 0.44]),
            ("CCL", &[0.43, 0.43]),
            ("CFA", &[0.25, 0.25]),
            ("of our own", &[0.99, 0.99]),
        ],
    );
    let found = orders(&records, "wikipedia-cnn", BI_MODAL);
    assert_eq!(found.claimed_on, [PaperSet::Wikipedia]);
    let said: Vec<(&str, &str, Verdict)> =
        found.claims.iter().map(|it| (it.better.as_str(), it.worse.as_str(), it.verdict)).collect();
    assert_eq!(
        said,
        [
            ("CM-GANs", "CCL", Verdict::NotTold),
            ("CM-GANs", "CFA", Verdict::Holds),
            ("CM-GANs", "CCA", Verdict::Holds),
            ("CCL", "CFA", Verdict::Holds),
            ("CCL", "CCA", Verdict::Holds),
            ("CFA", "CCA", Verdict::Reversed),
        ]
    );
    assert!((found.claims[5].difference + 0.05).abs() < 1e-12);
    assert_eq!((found.count(Verdict::Holds), found.count(Verdict::Reversed)), (4, 1));
}

#[test]
fn elsewhere_only_what_all_three_data_sets_agree_on_is_claimed() {
    // KCCA is above CFA on Wikipedia and below it on the other two; both are above CCA on all three.
    let records = rows("emoji", &[("KCCA", &[0.5, 0.5]), ("CFA", &[0.4, 0.4]), ("CCA", &[0.45, 0.45])]);
    let found = orders(&records, "emoji", BI_MODAL);
    assert_eq!(found.claimed_on.len(), 3);
    let said: Vec<(&str, &str, Verdict)> =
        found.claims.iter().map(|it| (it.better.as_str(), it.worse.as_str(), it.verdict)).collect();
    assert_eq!(said, [("CFA", "CCA", Verdict::Reversed), ("KCCA", "CCA", Verdict::Holds)]);
    let single = rows("emoji", &[("KCCA", &[0.9]), ("CCA", &[0.1])]);
    assert_eq!(orders(&single, "emoji", BI_MODAL).claims[0].verdict, Verdict::NotTold, "one seed tells nothing");
    // Three runs on the features of each of two encoder seeds are two witnesses, not six: 0.5 and 0.3 against 0.35.
    let mut several = rows("emoji", &[("KCCA", &[0.5, 0.5, 0.5, 0.3, 0.3, 0.3]), ("CCA", &[0.35; 6])]);
    for record in &mut several {
        record.encoder_seed = 1 + u64::from(record.seed > 3);
    }
    assert_eq!(orders(&several, "emoji", BI_MODAL).claims[0].verdict, Verdict::NotTold);
    let two = rows("emoji", &[("CM-GANs", &[0.5]), ("CM-GANs-CAE", &[0.6])]);
    assert_eq!(orders(&two, "emoji", BI_MODAL).claims.len(), 1, "ablations have bi-modal figures");
    assert!(orders(&two, "emoji", Measure::Average(Average::AllModal)).claims.is_empty(), "and no all-modal ones");
    assert!(orders(&two, "wikipedia", BI_MODAL).claims.is_empty(), "no record of that data set");
}

#[test]
fn the_document_has_tables_orders_and_cost() {
    let mut records = rows("emoji", &[("CM-GANs", &[0.5, 0.5]), ("CM-GANs-CAE", &[0.6, 0.6])]);
    for record in &mut records {
        record.scores.as_mut().unwrap().facts.insert("fit-peak-memory-bytes".into(), 3.0 * 1_048_576.0);
    }
    let spec = table_spec(TableKind::Ablation, "Adversarial training", &[]);
    let tables = vec![assemble(&records, &spec, &[], &catalog())];
    let text = results("toy_1", &records, &tables, None);
    for wanted in [
        "# Results of `toy\\_1`",
        "## Adversarial training\n",
        "### emoji, bi-modal average\n",
        "Of 1 orders on which XMediaNet, Pascal Sentence and Wikipedia agree, 0 hold here, 1 are reversed",
        "Reversed: CM-GANs-CAE is above CM-GANs by 0.100.",
        "| emoji | CM-GANs-CAE | 2 | 30.0 s | 3 MiB |",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let none = results("toy", &rows("emoji", &[("of our own", &[0.5])]), &[], None);
    assert!(none.contains("No two scored rows are rows of the paper."), "{none}");
    assert!(!results("toy", &[], &[], None).contains("## Cost"));
}

/// A program's memory is its own: the process that scores it holds next to nothing.
#[test]
fn the_cost_of_a_program_is_the_programs() {
    let mut records = rows("emoji", &[("Mine", &[0.5])]);
    let facts = &mut records[0].scores.as_mut().unwrap().facts;
    facts.extend(
        [("fit-peak-memory-bytes", 2.0), ("program-peak-memory-bytes", 300.0)]
            .map(|(name, mib)| (name.to_owned(), mib * 1_048_576.0)),
    );
    let cost = |records: &[_]| results("toy", records, &[], None);
    assert!(cost(&records).contains("| emoji | Mine | 1 | 30.0 s | 2 MiB |"), "{}", cost(&records));
    records[0].spec.as_mut().unwrap().program = Some(Program { command: vec!["mine".to_owned()], files: Vec::new() });
    assert!(cost(&records).contains("| emoji | Mine | 1 | 30.0 s | 300 MiB |"), "{}", cost(&records));
}
