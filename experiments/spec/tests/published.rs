//! The published tables beside the repository: what we know of the paper's figures holds (spec part F).

use std::{collections::BTreeMap, path::Path};

use experiment_spec::table::Measure;

#[test]
fn published_averages_are_those_of_their_tasks_but_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec/published.csv");
    if !path.exists() {
        println!("skipped: published_averages_are_those_of_their_tasks_but_one: ../shared is not there");
        return;
    }
    let beside = std::fs::read_to_string(&path).expect("published.csv can be read");
    assert_eq!(include_str!("../src/published.csv"), beside, "the embedded copy is the file beside the repository");
    let mut rows = csv::Reader::from_path(path).expect("published.csv can be opened");
    let mut blocks: BTreeMap<[String; 3], BTreeMap<String, f64>> = BTreeMap::new();
    let mut count = 0;
    for row in rows.records() {
        let row = row.expect("published.csv is well formed");
        let task = &row[3];
        assert!(Measure::ALL.iter().any(|measure| measure.name() == task), "{task} is not one of our names");
        let block = [&row[0], &row[1], &row[2]].map(str::to_owned);
        let map = row[4].parse().expect("a figure");
        assert_eq!(blocks.entry(block).or_default().insert(task.to_owned(), map), None);
        count += 1;
    }
    assert_eq!(count, 270);

    let mut inconsistent = Vec::new();
    for (block, maps) in &blocks {
        for measure in Measure::ALL {
            let Measure::Average(average) = measure else { continue };
            let Some(printed) = maps.get(average.name()) else { continue };
            let [first, second] = average.tasks().map(|task| maps[task.name()]);
            // Half a unit of the last printed digit, and the error of adding decimals in binary.
            if (printed - f64::midpoint(first, second)).abs() > 0.0005 + 1e-9 {
                inconsistent.push(format!("{} {} {}", block[1], block[2], average.name()));
            }
        }
    }
    assert_eq!(inconsistent, ["Wikipedia CorrAE all-modal average"]);
}
