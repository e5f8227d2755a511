//! Text that nobody would write: the reader may refuse it, but neither panics nor takes long.

mod common;

use std::{fs, path::Path, time::Instant};

use common::catalog;
use experiment_spec::spec::{limits, parse};
use proptest::prelude::*;

/// Parses, and checks that a refusal says something about a place that exists.
fn check(yaml: &str) {
    let Err(problems) = parse(yaml, &catalog()) else { return };
    assert!(!problems.is_empty() && problems.len() <= limits::MAX_PROBLEMS + 1, "{yaml:?}");
    // YAML ends a line also with a lone carriage return.
    let lines = yaml.matches(['\n', '\r']).count() + 2;
    for problem in problems {
        let within = (1..=lines).contains(&(problem.line as usize)) && problem.column >= 1;
        assert!(within && !problem.message.is_empty(), "{problem:?} of {yaml:?}");
        assert!(problem.render("x").lines().count() == 1, "{problem:?} of {yaml:?}");
    }
}

/// Whole files to start from.
fn files() -> Vec<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["../quickstart.yaml", "../ablations.yaml", "tests/mistakes/every-section.yaml", "tests/mistakes/overrides.yaml"]
        .map(|file| fs::read_to_string(here.join(file)).unwrap())
        .to_vec()
}

/// What YAML, and this reader, take for special.
const PIECES: &[&str] = &[
    "\n",
    "  ",
    "- ",
    ": ",
    "? ",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "|",
    ">",
    "|2-",
    "&a ",
    "*a",
    "!!int ",
    "%YAML 1.2\n",
    "---\n",
    "...\n",
    "#",
    "~",
    "\t",
    "\r",
    "\u{feff}",
    "\u{85}",
    "é",
    "\\x41",
    "\\u",
    "<<",
    "@",
    "`",
    "0x",
    "1e999",
    "-0",
    "99999999999999999999",
    "name",
    "datasets",
    "methods",
    "cm-gans",
    "cca",
    "label",
    "preset",
    "seeds",
    "overrides",
    "defaults",
    "tables",
    "rows",
    "resources",
    "hidden",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text(yaml in "\\PC{0,200}") {
        check(&yaml);
    }

    #[test]
    fn random_pieces(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..60)) {
        check(&pieces.concat());
    }

    #[test]
    fn damaged_files(
        which in 0_usize..4,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12, proptest::sample::select(PIECES)), 1..6),
    ) {
        let mut text: Vec<char> = files().swap_remove(which).chars().collect();
        for (place, cut, piece) in damage {
            let start = place.index(text.len() + 1);
            let end = (start + cut).min(text.len());
            text.splice(start..end, piece.chars());
        }
        check(&text.into_iter().collect::<String>());
    }
}

/// The same piece for each number, counted up.
fn numbered(count: usize, piece: impl Fn(usize) -> String) -> String {
    (0..count).map(piece).fold(String::new(), |all, piece| all + &piece)
}

#[test]
fn large_hostile_files_are_refused_soon() {
    let grid = format!("[{}]", numbered(100, |i| format!("{}, ", i + 1)));
    let head = "name: big\ndatasets: [emoji]\nseeds: 1\nmethods:\n";
    let rows =
        numbered(40, |i| format!("- {{ method: cm-gans, label: m{i}, select-every: {}, hidden: {grid} }}\n", i + 1));
    let unknown = |count| numbered(count, |i| format!("l{i}, "));
    let files = [
        "[".repeat(1 << 20),
        "{".repeat(1 << 20),
        "- ".repeat(1 << 19),
        "? ".repeat(1 << 19),
        "a: ".repeat(1 << 18),
        "a:\n ".repeat(1 << 18),
        "'".repeat(1 << 20),
        "\"\\".repeat(1 << 19),
        "&a ".repeat(1 << 18),
        "- &a b\n- *a\n".repeat(1 << 15),
        "!".repeat(1 << 20),
        "|\n".repeat(1 << 19),
        "k: v\n".repeat(1 << 16),
        numbered(45_000, |i| format!("k{i}: v\n")),
        "\n".repeat(1 << 20),
        " ".repeat(1 << 20),
        "x".repeat(1 << 20),
        head.to_owned()
            + &rows
            + &format!("- {{ method: cm-gans, label: more, hidden: {grid}, iterations: {grid} }}\n"),
        format!(
            "{head}{rows}overrides:\n{}",
            format!("- {{ label: [{}], iterations: 3 }}\n", unknown(100)).repeat(100)
        ),
        format!("{head}{rows}overrides:\n{}x: 1", "- { dataset: emoji, iterations: 3, batch-size: 3 }\n".repeat(100)),
        format!("{head}{rows}tables:\n{}", format!("- {{ title: A, rows: [{}] }}\n", unknown(9_000)).repeat(9)),
        format!("{head}{}", "- { method: cm-gans, hidden: [x, y], hiden: 3 }\n".repeat(900)),
        format!("{head}{}", "- cm-gans\n".repeat(1000)),
    ];
    for file in files {
        let start = Instant::now();
        let begin: String = file.chars().take(60).collect();
        assert!(parse(&file, &catalog()).is_err(), "{begin:?}");
        let seconds = start.elapsed().as_secs_f64();
        println!("{seconds:.2} s, {} bytes: {begin:?}", file.len());
        assert!(seconds < 20.0, "{seconds} s for {begin:?}");
    }
}
