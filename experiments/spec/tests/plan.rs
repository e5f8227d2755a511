//! The plan of a submission: complete, unique, breadth first, and a function of what was asked alone.

mod common;

use std::collections::{BTreeSet, HashSet};

use common::catalog;
use experiment_spec::{
    catalog::{Catalog, MethodEntry, Parameter, ParameterKind, ParameterValue},
    plan::{Plan, plan},
    run::StepSpec,
    spec::{Submission, parse},
};
use proptest::prelude::*;

/// A submission to be written down: names of data sets, number of seeds, and entries of `methods`, each a list of
/// `key: value` pairs.
#[derive(Clone, Debug)]
struct Asked {
    data_sets: Vec<&'static str>,
    seeds: Vec<u32>,
    methods: Vec<Vec<(&'static str, String)>>,
    encoder_seed: u32,
}

impl Asked {
    /// The file, with the keys of every mapping in the order that `turn` gives.
    fn yaml(&self, turn: usize) -> String {
        let mapping = |pairs: &[(&str, String)]| {
            let mut pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            let middle = turn % pairs.len();
            pairs.rotate_left(middle);
            format!("  - {{ {} }}\n", pairs.join(", "))
        };
        let methods: String = self.methods.iter().map(|pairs| mapping(pairs)).collect();
        let mut parts = [
            "name: planned\n".to_owned(),
            format!("datasets: [{}]\n", self.data_sets.join(", ")),
            format!("seeds: {:?}\n", self.seeds),
            format!("encoder-seed: {}\n", self.encoder_seed),
            format!("methods:\n{methods}"),
        ];
        parts.rotate_left(turn % 5);
        parts.concat()
    }

    fn read(&self, turn: usize) -> Submission {
        parse(&self.yaml(turn), &catalog()).unwrap_or_else(|problems| panic!("{problems:?}\n{}", self.yaml(turn)))
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let data_sets =
        proptest::sample::subsequence(vec!["emoji", "wikipedia", "pascal-sentence", "wikipedia-cnn"], 1..=4)
            .prop_shuffle();
    let seeds = proptest::collection::hash_set(0_u32..50, 1..5).prop_map(|seeds| seeds.into_iter().collect());
    let entry = (0..2_usize, 1..4_usize, any::<bool>());
    let methods = proptest::collection::vec(entry, 1..5).prop_map(|entries| {
        let entry = |(index, (method, grid, adversarial)): (usize, (usize, usize, bool))| {
            // No two entries share a value, so that no two rows compute the same.
            let values: Vec<_> = (0..grid).map(|i| 1 + index * 10 + i).collect();
            let mut pairs = vec![("label", format!("R{index}"))];
            if method == 0 {
                pairs.extend([("method", "cca".to_owned()), ("dims", format!("{values:?}"))]);
            } else {
                pairs.extend([("method", "cm-gans".to_owned()), ("hidden", format!("{values:?}"))]);
                pairs.push(("adversarial", adversarial.to_string()));
            }
            pairs
        };
        entries.into_iter().enumerate().map(entry).collect()
    });
    (data_sets, seeds, methods, 0_u32..9).prop_map(|(data_sets, seeds, methods, encoder_seed)| Asked {
        data_sets,
        seeds,
        methods,
        encoder_seed,
    })
}

fn fingerprints(plan: &Plan) -> Vec<String> {
    plan.runs.iter().map(|run| run.fingerprint.to_string()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_complete_and_unique_and_breadth_first(asked in asked()) {
        let submission = asked.read(0);
        let plan = plan(&submission, &catalog());
        let mut expected = Vec::new();
        for seed in &submission.seeds {
            for choice in &submission.data_sets {
                for row in &submission.rows {
                    expected.push((*seed, choice.data_set.clone(), row.label.clone()));
                }
            }
        }
        let runs: Vec<_> = plan.runs.iter().map(|run| (run.seed, run.data_set.clone(), run.label.clone())).collect();
        prop_assert_eq!(&runs, &expected);
        prop_assert_eq!(runs.len(), submission.run_count());
        prop_assert_eq!(runs.into_iter().collect::<BTreeSet<_>>().len(), expected.len());
        prop_assert_eq!(fingerprints(&plan).into_iter().collect::<HashSet<_>>().len(), plan.runs.len());
        prop_assert_eq!(plan.extractions.len(), submission.data_sets.len());
        for run in &plan.runs {
            let extraction = &plan.extractions[run.extraction];
            prop_assert_eq!(&extraction.spec, &run.spec.features);
            prop_assert_eq!(&extraction.spec.data_set, &run.data_set);
            let trained = run.data_set != "wikipedia-cnn";
            prop_assert_eq!(extraction.spec.seed, if trained { u64::from(asked.encoder_seed) } else { 0 });
            prop_assert_eq!(StepSpec::Extraction(extraction.spec.clone()).fingerprint(), extraction.fingerprint);
            prop_assert_eq!(StepSpec::Run(run.spec.clone()).fingerprint(), run.fingerprint);
            let known: BTreeSet<_> =
                catalog().method(&run.spec.method).unwrap().parameters.iter().map(|p| p.key.clone()).collect();
            prop_assert_eq!(run.spec.parameters.keys().cloned().collect::<BTreeSet<_>>(), known);
        }
    }

    #[test]
    fn encoder_seeds_are_a_factor_where_an_encoder_is_trained(asked in asked(), count in 1_u64..4) {
        let mut submission = asked.read(0);
        submission.encoder_seeds = (1..=count).collect();
        let plan = plan(&submission, &catalog());
        prop_assert_eq!(plan.runs.len(), submission.run_count());
        for choice in &submission.data_sets {
            let mut seeds: Vec<u64> =
                plan.runs.iter().filter(|run| run.data_set == choice.shown()).map(|run| run.spec.features.seed).collect();
            seeds.sort_unstable();
            seeds.dedup();
            let given = choice.data_set == "wikipedia-cnn";
            let wanted: Vec<u64> = if given { vec![0] } else { (1..=count).collect() };
            prop_assert_eq!(seeds, wanted, "{}", choice.encoder);
        }
        // Breadth first: the first seed is over before the second begins.
        prop_assert!(plan.runs.is_sorted_by_key(|run| submission.seeds.iter().position(|seed| *seed == run.seed)));
        prop_assert_eq!(fingerprints(&plan).into_iter().collect::<HashSet<_>>().len(), plan.runs.len());
    }

    #[test]
    fn the_order_of_keys_changes_nothing(asked in asked(), turn in 1_usize..60) {
        let (first, second) = (asked.read(0), asked.read(turn));
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(plan(&first, &catalog()), plan(&second, &catalog()));
    }

    #[test]
    fn a_label_has_no_part_in_the_identity_of_a_run(asked in asked()) {
        let mut renamed = asked.clone();
        for pairs in &mut renamed.methods {
            pairs[0].1 = format!("New {}", pairs[0].1);
        }
        let (first, second) = (plan(&asked.read(0), &catalog()), plan(&renamed.read(0), &catalog()));
        prop_assert_eq!(fingerprints(&first), fingerprints(&second));
        prop_assert!(first.runs.iter().zip(&second.runs).all(|(first, second)| first.label != second.label));
    }
}

fn small(methods: &str) -> Plan {
    let yaml = format!("name: small\ndatasets: [emoji]\nseeds: 1\nmethods: {methods}\n");
    plan(&parse(&yaml, &catalog()).unwrap(), &catalog())
}

#[test]
fn equal_values_have_equal_fingerprints_however_they_are_written() {
    let ways = ["penalty: 1", "penalty: 1.0", "penalty: 10e-1", "penalty: [1]", "dims: 10"];
    let prints: HashSet<_> = ways.map(|way| fingerprints(&small(&format!("[{{ method: cca, {way} }}]")))).into();
    assert_eq!(prints.len(), 1);
    assert_ne!(prints.into_iter().next(), Some(fingerprints(&small("[{ method: cca, penalty: 2 }]"))));
    let preset = small("[{ method: cm-gans, preset: paper }]");
    assert_eq!(fingerprints(&preset), fingerprints(&small("[cm-gans]")));
}

#[test]
fn whatever_decides_a_result_changes_the_fingerprint() {
    let submission = parse("name: small\ndatasets: [emoji]\nseeds: 1\nmethods: [cca]\n", &catalog()).unwrap();
    let original = plan(&submission, &catalog());
    let mut changes = Vec::new();
    let mut with = |change: fn(&mut experiment_spec::catalog::Catalog)| {
        let mut catalog = catalog();
        change(&mut catalog);
        changes.push(plan(&submission, &catalog));
    };
    with(|catalog| catalog.protocol += 1);
    with(|catalog| catalog.methods[1].revision += 1);
    with(|catalog| catalog.data_sets[0].version.push('x'));
    with(|catalog| catalog.encoders[0].revision += 1);
    let mut other = submission.clone();
    other.seeds = vec![2];
    changes.push(plan(&other, &catalog()));
    let mut other = submission.clone();
    other.encoder_seeds = vec![2];
    changes.push(plan(&other, &catalog()));
    let mut other = submission.clone();
    other.encoder_epochs = Some(3);
    changes.push(plan(&other, &catalog()));
    let mut other = submission.clone();
    let parameters = other.rows[0].parameters.get_mut("emoji").unwrap();
    parameters.insert("dims".to_owned(), ParameterValue::Integer(3));
    changes.push(plan(&other, &catalog()));
    let mut prints: HashSet<_> = changes.iter().map(fingerprints).collect();
    prints.insert(fingerprints(&original));
    assert_eq!(prints.len(), 9);
    assert_eq!(changes[1].extractions, original.extractions);
    assert_ne!(changes[2].extractions, original.extractions);
}

#[test]
fn the_canonical_text_of_a_run_is_frozen() {
    // Changing this text makes every stored score a stranger: raise a revision instead.
    let plan = small("[{ method: cca, penalty: 1e-3 }]");
    assert_eq!(
        StepSpec::Run(plan.runs[0].spec.clone()).canonical_json(),
        concat!(
            r#"{"run":{"method":"cca","method_revision":1,"parameters":{"dims":10,"penalty":0.001},"#,
            r#""features":{"data_set":"emoji","data_set_version":"emoji-1","encoder":"small-cnn","encoder_revision":1,"epochs":30,"seed":1},"#,
            r#""seed":1,"protocol":1}}"#
        )
    );
}

#[test]
fn the_split_is_part_of_the_identity_and_what_trains_nothing_has_no_seed() {
    let of = |data_sets: &str, rest: &str| {
        let yaml = format!("name: small\ndatasets: {data_sets}\nseeds: 1\nmethods: [cca]\n{rest}");
        plan(&parse(&yaml, &catalog()).unwrap(), &catalog())
    };
    let both = of("[wikipedia-cnn, { dataset: wikipedia-cnn, split: paper }]", "");
    assert_ne!(both.extractions[0].fingerprint, both.extractions[1].fingerprint);
    assert_eq!(both.runs[1].data_set, "wikipedia-cnn:paper");
    let text = StepSpec::Run(both.runs[1].spec.clone()).canonical_json();
    assert!(text.contains(r#""data_set_version":"wikipedia-cnn-1","split":"paper","encoder":"given""#), "{text}");
    let reseeded = of("[wikipedia-cnn]", "encoder-seed: 7\nencoder-epochs: 3\n");
    assert_eq!(reseeded.extractions[0], both.extractions[0]);
    assert_eq!((both.extractions[0].spec.epochs, both.extractions[0].spec.seed), (0, 0));
    let trained = of("[emoji]", "encoder-seed: 7\n");
    assert_eq!((trained.extractions[0].spec.epochs, trained.extractions[0].spec.seed), (30, 7));
}

/// The toy catalog with a method that asks for patches unless told otherwise; of its encoders `small-cnn` alone makes
/// them.
fn with_grained() -> Catalog {
    let mut catalog = catalog();
    let asking = Parameter {
        key: "fine-grain".to_owned(),
        kind: ParameterKind::Bool,
        default: ParameterValue::Bool(true),
        candidates: Vec::new(),
        asks_for_patches: true,
        help: String::new(),
    };
    let entry = catalog.method("cca").unwrap().clone();
    let (key, label) = ("grained".to_owned(), "Grained".to_owned());
    catalog.methods.push(MethodEntry { key, label, parameters: vec![asking], ..entry });
    catalog
}

#[test]
fn features_of_patches_are_planned_for_those_who_ask_where_the_encoder_makes_them() {
    let yaml = "
name: grains
datasets: [emoji, wikipedia]
seeds: 2
methods:
  - cca
  - { method: grained, label: Both }
  - { method: grained, label: Coarse, fine-grain: false }
";
    let catalog = with_grained();
    let submission = parse(yaml, &catalog).unwrap();
    let plan = plan(&submission, &catalog);
    let extractions: Vec<_> =
        plan.extractions.iter().map(|it| (it.spec.data_set.as_str(), it.spec.shown_encoder())).collect();
    let expected = [("emoji", "small-cnn"), ("emoji", "small-cnn with patches"), ("wikipedia", "published")];
    assert_eq!(extractions, expected.map(|(data_set, encoder)| (data_set, encoder.to_owned())));
    assert_eq!(plan.runs.len(), 12);
    for run in &plan.runs {
        let wanted = run.label == "Both" && run.data_set == "emoji";
        assert_eq!(run.spec.features.patches, wanted, "{} on {}", run.label, run.data_set);
        assert_eq!(plan.extractions[run.extraction].spec, run.spec.features);
    }
    // What has no patches is the step that it was before there were any.
    let json = StepSpec::Run(plan.runs[0].spec.clone()).canonical_json();
    assert!(!json.contains("patches"), "{json}");

    let alone = parse("name: one\ndatasets: [emoji]\nseeds: 1\nmethods: [grained]\n", &catalog).unwrap();
    let alone = experiment_spec::plan::plan(&alone, &catalog);
    assert!(alone.extractions.len() == 1 && alone.extractions[0].spec.patches, "no features that nobody reads");
}
