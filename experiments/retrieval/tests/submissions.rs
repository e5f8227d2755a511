//! The submissions that come with the program, read with what the program can really do.

use std::{fs, path::Path};

use experiment_spec::{
    catalog::Catalog,
    published::main_labels,
    spec::{Submission, parse},
};
use retrieval::{catalog::catalog, datasets::folders::DataFolders, registry::registry};

fn read(name: &str, catalog: &Catalog) -> Submission {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    let text = fs::read_to_string(&path).unwrap();
    parse(&text, catalog).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|problem| problem.render(name) + "\n").collect::<String>())
    })
}

#[test]
fn every_submission_is_right_without_any_installed_data() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let catalog = catalog(&DataFolders::default());
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|it| it == "yaml"))
        .collect();
    names.sort_unstable();
    assert!(names.contains(&"quickstart.yaml".into()) && names.contains(&"comparison.yaml".into()), "{names:?}");
    for name in names {
        read(&name, &catalog);
    }
}

#[test]
fn the_comparison_has_the_papers_eleven_methods_and_keeps_what_is_beyond_it_apart() {
    let submission = read("comparison.yaml", &catalog(&DataFolders::default()));
    assert_eq!((submission.seeds.len(), submission.data_sets.len()), (5, 1), "the rest is only taken where it is");
    let [main, beyond] = submission.tables.as_slice() else { panic!("two tables") };
    let mut rows: Vec<&str> = main.rows.iter().map(String::as_str).collect();
    let order: Vec<String> = registry().iter().map(|method| method.entry().label).collect();
    let places: Vec<usize> = rows.iter().map(|row| order.iter().position(|label| label == row).unwrap()).collect();
    assert!(places.is_sorted(), "rows stand in the order of the registry: {rows:?}");
    let mut published = main_labels();
    rows.sort_unstable();
    published.sort_unstable();
    assert_eq!(rows, published);
    let apart: Vec<&String> = beyond.rows.iter().filter(|row| !main.rows.contains(row)).collect();
    assert_eq!(apart, ["CM-GANs anchor", "CM-GANs posterior", "CM-GANs best on validation"]);
}
