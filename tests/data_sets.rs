//! Data sets of the user's own disk, with the real binary: found by folder, refused with a sentence, scored to the
//! figures of the specification.

mod common;

use std::{fs, path::Path};

use common::{Lab, scores, text};
use retrieval::npy;

/// The folder of shared data, or a line that says which test is skipped.
fn shared(test: &str) -> Option<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: {test}: ../shared is not there");
    None
}

const WIKIPEDIA: &str = "
name: wiki
datasets: [wikipedia]
seeds: 1
methods:
  - { method: cca, label: cca_plain, ridge: 1e-4, dims: 9 }
  - { method: cfa, label: cfa, dims: 5 }
";

/// The lines of `expected.csv` for the two methods, met through submission, coordinator, worker, attempt and export.
#[test]
fn a_submission_on_wikipedia_gives_the_figures_of_the_specification() {
    let Some(data) = shared("a_submission_on_wikipedia_gives_the_figures_of_the_specification") else { return };
    let lab = Lab::new();
    let spec = lab.write("wiki.yaml", WIKIPEDIA);
    let spec = spec.to_str().unwrap();
    let refused = lab.run(&["run", spec]);
    assert_eq!(refused.status.code(), Some(2));
    let why = text(&refused.stderr);
    assert!(why.contains("wiki.yaml:3:12: datasets[0]: folder `wikipedia` was not found; looked in "), "{why}");
    assert!(!lab.home().exists(), "a refused file makes nothing");
    let output = lab.command(&["run", spec]).env("ORCHESTRATOR_DATA", &data).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("wikipedia by given, nothing trained"), "{table}");
    let scores = scores(&lab.home(), "wiki");
    let expected = fs::read_to_string(data.join("../spec/expected.csv")).unwrap();
    let mut met = 0;
    for line in expected.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let wanted = matches!(fields[..3], ["wikipedia", "cca_plain", _] | ["wikipedia", "cfa", "d=5"]);
        if !wanted {
            continue;
        }
        let (label, task) = (fields[1], fields[3]);
        let found = scores.lines().find(|it| it.contains(&format!(",{label},1,{task},none,")));
        let found: f64 = found.unwrap_or_else(|| panic!("{line}")).rsplit(',').next().unwrap().parse().unwrap();
        let (map, tolerance): (f64, f64) = (fields[4].parse().unwrap(), fields[5].parse().unwrap());
        assert!((found - map).abs() <= tolerance, "{line}: {found}");
        met += 1;
    }
    assert_eq!(met, 12);
}

/// `wikipedia-cnn` with made-up features: `numbers` gives the values of so many columns.
fn made_up(folder: &Path, numbers: impl Fn(usize) -> Vec<f32>) {
    let npy = |descr: &str, shape: &str, values: Vec<u8>| [npy::header(descr, shape), values].concat();
    let bytes = |columns| numbers(columns).into_iter().flat_map(f32::to_le_bytes).collect();
    let folder = folder.join("wikipedia-cnn");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("image_128_f32.npy"), npy("<f4", "(2866, 128)", bytes(128))).unwrap();
    fs::write(folder.join("text_100_f32.npy"), npy("<f4", "(2866, 100)", bytes(100))).unwrap();
    let labels = (0u8..10).cycle().map(|class| class + 1).take(2866).collect();
    fs::write(folder.join("labels_u8.npy"), npy("|u1", "(2866,)", labels)).unwrap();
}

/// The last number of the images is none.
fn damaged(folder: &Path) {
    made_up(folder, |columns| {
        let mut values = vec![0.5f32; 2866 * columns];
        *values.last_mut().unwrap() = if columns == 128 { f32::NAN } else { 0.5 };
        values
    });
}

#[test]
fn a_loss_that_is_no_number_fails_the_run_and_empties_its_cell() {
    let lab = Lab::new();
    // Finite, but their squares are not: the reconstruction error of the first iteration is no number.
    made_up(&lab.home().join("data"), |columns| {
        (0u8..=250).cycle().map(|value| 1e30 * (f32::from(value) - 125.0)).take(2866 * columns).collect()
    });
    let spec = lab.write(
        "nan.yaml",
        "
name: nan
datasets: [wikipedia-cnn]
seeds: 1
methods:
  - { method: cm-gans, label: CAE, hidden: 16, inter-hidden: 8, iterations: 5, adversarial: false }
",
    );
    let output = lab.run(&["run", spec.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let why = "failed: nan: the loss of g_i (term reconstruction) is not a number at iteration 1";
    assert!(table.contains(why), "{table}");
    assert_eq!(scores(&lab.home(), "nan").lines().count(), 1, "the header alone: no number comes of it");
}

#[test]
fn a_damaged_data_set_fails_its_runs_with_the_place_and_the_rest_goes_on() {
    let name = "a_damaged_data_set_fails_its_runs_with_the_place_and_the_rest_goes_on";
    let lab = Lab::new();
    // Also where data sets are looked for last: `data` in the state folder.
    damaged(&lab.home().join("data"));
    let good = shared(name);
    let sets = if good.is_some() { "wikipedia-cnn, uci-mfeat" } else { "wikipedia-cnn" };
    let yaml = format!(
        "name: mixed\ndatasets: [{sets}, {{ dataset: wikipedia-tfidf, if-present: true }}]\nseeds: 1\nmethods: \
         [{{ method: cfa, dims: 5 }}]\n"
    );
    let spec = lab.write("mixed.yaml", &yaml);
    let mut command = lab.command(&["run", spec.to_str().unwrap()]);
    if let Some(good) = &good {
        // One folder of the shared data alone, so that the damaged set is the one that is found.
        let place = lab.folder.path().join("sets");
        fs::create_dir(&place).unwrap();
        std::os::unix::fs::symlink(fs::canonicalize(good.join("uci-mfeat")).unwrap(), place.join("uci-mfeat")).unwrap();
        command.env("ORCHESTRATOR_DATA", place);
    }
    let output = command.output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("left out, not installed: wikipedia-tfidf; `orchestrator data list` tells"), "{told}");
    let table = text(&output.stdout);
    let place = "image_128_f32.npy, row 2865, column 127: NaN is no finite number; get the file again";
    assert!(table.contains(place), "{table}");
    let csv = scores(&lab.home(), "mixed");
    assert!(!csv.contains("wikipedia"), "{csv}");
    assert_eq!(csv.contains(",uci-mfeat,cfa,"), good.is_some(), "{csv}");
}
