//! Whatever labels and numbers hold, files read back and markup stays whole.

use crate::fixture::{catalog, scored, table_spec};
use experiment_spec::{
    scores::Normalisation,
    spec::TableKind,
    table::{
        Measure, RunRecord, assemble, cells_csv, escape_latex, escape_markdown, latex, markdown, scores_csv, text,
    },
};
use proptest::prelude::*;

/// Labels of anything, and often of what CSV, LaTeX and Markdown take for their own.
fn any_label() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        ",", "\"", "\n", "\r\n", "\r", ";", "&", "%", "$", "#", "_", "{", "}", "~", "^", "\\", "\\\\", "|", "*", "`",
        "[x]", "<script>", "--", "''", " ", "±", "é", "漢", "🙂", "\u{202e}", "\0", "a",
    ]);
    prop_oneof![any::<String>(), prop::collection::vec(special, 0..8).prop_map(|parts| parts.concat())]
}

fn any_map() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..=1.0, Just(0.1 + 0.2), Just(f64::MIN_POSITIVE), Just(5e-324), Just(1.0 - f64::EPSILON / 2.0)]
}

fn any_records() -> impl Strategy<Value = Vec<RunRecord>> {
    let run = (any_label(), any::<u64>(), prop::array::uniform6(any_map()));
    prop::collection::vec(run.prop_map(|(label, seed, maps)| scored("emoji", &label, seed, maps)), 1..5)
}

fn read(csv: &str) -> Vec<csv::StringRecord> {
    csv::Reader::from_reader(csv.as_bytes()).records().collect::<Result<_, _>>().expect("our own CSV is readable")
}

/// Takes LaTeX apart by its own rules and gives the text it stands for; a bare special is an error.
fn unescape_latex(mut rest: &str) -> Result<String, String> {
    const WORDS: [(&str, &str); 8] = [
        ("\\textasciitilde{}", "~"),
        ("\\textasciicircum{}", "^"),
        ("\\textbackslash{}", "\\"),
        ("\\textless{}", "<"),
        ("\\textgreater{}", ">"),
        ("\\textbar{}", "|"),
        ("$\\pm$", "±"),
        ("{}", ""),
    ];
    let mut out = String::new();
    'next: while let Some(c) = rest.chars().next() {
        for (markup, plain) in WORDS {
            if let Some(after) = rest.strip_prefix(markup) {
                out.push_str(plain);
                rest = after;
                continue 'next;
            }
        }
        let mut chars = rest.chars();
        match chars.next() {
            Some('\\') => match chars.next() {
                Some(special) if "&%$#_{}".contains(special) => out.push(special),
                other => return Err(format!("unknown command \\{other:?}")),
            },
            Some('{') => match (chars.next(), chars.next()) {
                (Some(inner @ ('[' | ']' | '*')), Some('}')) => out.push(inner),
                other => return Err(format!("a group of {other:?}")),
            },
            _ if "&%$#_}~^<>|[]*".contains(c) => return Err(format!("bare {c}")),
            _ => out.push(c),
        }
        rest = chars.as_str();
    }
    Ok(out)
}

/// The same text as every printed form shows it: one line, no control characters.
fn as_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| {
            if c.is_control()
                || "\u{200e}\u{200f}".contains(c)
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
            {
                ' '
            } else {
                c
            }
        })
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scores_csv_reads_back_to_the_same_bits(records in any_records()) {
        let csv = scores_csv(&records);
        let mut lines = read(&csv).into_iter();
        for record in &records {
            for measure in Measure::ALL {
                for normalisation in Normalisation::ALL {
                    let line = lines.next().expect("one line for each score");
                    let expected = [&record.submission, &record.data_set, &record.method, &record.label, &record.seed.to_string(), measure.name(), normalisation.name()];
                    prop_assert!(line.iter().take(7).eq(expected), "{:?}", line);
                    let map = measure.value(record.scores.as_ref().unwrap(), normalisation).unwrap();
                    prop_assert_eq!(line[7].parse::<f64>().unwrap().to_bits(), map.to_bits());
                }
            }
        }
        prop_assert!(lines.next().is_none());
        prop_assert_eq!(csv, scores_csv(&records.clone()));
    }

    #[test]
    fn cells_csv_agrees_with_scores_csv(maps in prop::collection::vec(prop::array::uniform6(any_map()), 1..6), label in any_label()) {
        let records: Vec<RunRecord> = (1..).zip(&maps).map(|(seed, maps)| scored("emoji", &label, seed, *maps)).collect();
        let scores = read(&scores_csv(&records));
        let cells = read(&cells_csv(&records));
        prop_assert_eq!(cells.len(), Measure::ALL.len());
        for (cell, measure) in cells.iter().zip(Measure::ALL) {
            let values: Vec<f64> = scores.iter().filter(|line| &line[5] == measure.name() && &line[6] == "none").map(|line| line[7].parse().unwrap()).collect();
            #[allow(clippy::cast_precision_loss, reason = "a handful of values")]
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            prop_assert_eq!(&cell[3], label.as_str());
            prop_assert_eq!(cell[5].parse::<usize>().unwrap(), maps.len());
            prop_assert_eq!(cell[6].parse::<f64>().unwrap().to_bits(), mean.to_bits());
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            if maps.len() == 1 {
                prop_assert_eq!(&cell[7], "");
            } else {
                prop_assert!((cell[7].parse::<f64>().unwrap() - (squares / (n - 1.0)).sqrt()).abs() <= 1e-12);
            }
        }
    }

    #[test]
    fn latex_leaves_no_bare_special(label in any_label()) {
        let escaped = escape_latex(&label);
        let back = unescape_latex(&escaped);
        prop_assert_eq!(back, Ok(as_line(&label)), "{}", escaped);
        for run in ["--", "''", "``"] {
            prop_assert!(!escaped.contains(run), "{} melts", escaped);
        }
    }

    #[test]
    fn markup_keeps_its_shape_whatever_the_labels(labels in prop::collection::btree_set(any_label(), 1..4)) {
        let records: Vec<RunRecord> = labels.iter().map(|label| scored("emoji", label, 1, [0.5; 6])).collect();
        let title: String = labels.iter().cloned().collect();
        let table = assemble(&records, &table_spec(TableKind::Ablation, &title, &[]), &[], &catalog());

        let markdown = markdown(&table);
        let rows: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
        prop_assert_eq!(rows.len(), 2 + labels.len());
        for row in rows {
            prop_assert_eq!(row.replace("\\\\", "").replace("\\|", "").matches('|').count(), 5, "{}", row);
        }
        let latex = latex(&table);
        let body = latex.split("\\midrule\n").nth(1).unwrap().split("\\bottomrule").next().unwrap();
        prop_assert_eq!(body.lines().count(), labels.len());
        for row in body.lines() {
            prop_assert!(row.ends_with(" \\\\") && row.replace("\\&", "").matches('&').count() == 3, "{}", row);
        }
        prop_assert_eq!(text(&table).lines().count(), 3 + labels.len() + 1 + table.notes.len() + table.facts.len() - usize::from(labels.len() < 2));
    }

    #[test]
    fn markdown_escapes_every_special(label in any_label()) {
        let escaped = escape_markdown(&label);
        let mut chars = escaped.chars();
        while let Some(c) = chars.next() {
            if c == '\\' {
                prop_assert!(chars.next().is_some_and(|c| c.is_ascii_punctuation()), "{}", escaped);
            } else {
                prop_assert!(!"`*_[]<>|~$#&".contains(c), "bare {} in {}", c, escaped);
            }
        }
    }
}
