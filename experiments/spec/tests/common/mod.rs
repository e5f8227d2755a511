//! A toy catalog: the parameters of CM-GANs as documented, and two small methods and data sets beside it.

#![allow(dead_code)] // each test binary uses its own part

use experiment_spec::catalog::{
    AbsentDataSet, Catalog, DataSetEntry, EncoderEntry, EncoderNetworks, MethodEntry, Parameter, ParameterKind,
    ParameterValue, Preset, SplitEntry,
};
use experiment_spec::run::SplitName;

/// What the tests may name.
pub(crate) fn catalog() -> Catalog {
    Catalog {
        external: Some(method("external", "External program", Vec::new())),
        methods: vec![cm_gans(), method("cca", "CCA", vec![int("dims", 1, 512, 10), float("penalty", 0.0, 1e6, 1.0)])],
        data_sets: vec![
            data_set("emoji", &["small-cnn", "random"]),
            data_set("wikipedia", &["published", "random"]),
            data_set("pascal-sentence", &["published"]),
            data_set("wikipedia-cnn", &["given"]),
        ],
        absent: vec![
            absent("uci-mfeat", "not found in /data: put the folder `uci-mfeat` there", true),
            absent("xmedianet", "its files are damaged", false),
        ],
        encoders: ["small-cnn", "published", "random", "given"].map(encoder).to_vec(),
        protocol: 1,
    }
}

fn cm_gans() -> MethodEntry {
    let mut entry = method(
        "cm-gans",
        "CM-GANs",
        vec![
            choice("activation", &["relu", "leaky-relu"]),
            choice("weight-sharing", &["tied", "init-only", "none"]),
            choice("softmax-head", &["shared", "per-modality"]),
            choice("mismatch-concat", &["own", "anchor"]),
            float("recon-loss-weight", 0.0, 1e3, 0.0),
            choice("cae-norm", &["l2", "l1"]),
            boolean("semantic-constraint", true),
            boolean("intra-discriminators", true),
            boolean("adversarial", true),
            int("generator-steps", 1, 100, 5),
            int("batch-size", 2, 4096, 64),
            float("learning-rate", 1e-8, 1.0, 1e-3),
            int("lr-decay-every", 0, 10_000_000, 1300),
            int("iterations", 1, 10_000_000, 26_000),
            int("hidden", 1, 65_536, 1024),
            int("inter-hidden", 1, 65_536, 512),
            choice("feat-norm", &["raw", "zscore", "l2"]),
            choice("eval-norm", &["none", "authors"]),
            choice("selection", &["last", "best-on-validation"]),
            int("select-every", 1, 10_000_000, 100),
        ],
    );
    let released = [("activation", "leaky-relu"), ("weight-sharing", "init-only"), ("softmax-head", "per-modality")];
    let values = released.map(|(key, value)| (key.to_owned(), ParameterValue::Text(value.to_owned()))).into();
    entry.presets =
        vec![Preset { name: "paper".to_owned(), values: [].into() }, Preset { name: "released".to_owned(), values }];
    entry
}

fn method(key: &str, label: &str, parameters: Vec<Parameter>) -> MethodEntry {
    MethodEntry {
        key: key.to_owned(),
        label: label.to_owned(),
        revision: 1,
        objective: "max corr".to_owned(),
        reference: "Hotelling 1936".to_owned(),
        parameters,
        presets: Vec::new(),
        departures: Vec::new(),
    }
}

fn parameter(key: &str, kind: ParameterKind, default: ParameterValue) -> Parameter {
    Parameter {
        key: key.to_owned(),
        kind,
        default,
        candidates: Vec::new(),
        asks_for_patches: false,
        help: String::new(),
    }
}

fn choice(key: &str, names: &[&str]) -> Parameter {
    let kind = ParameterKind::Choice(names.iter().map(|name| (*name).to_owned()).collect());
    parameter(key, kind, ParameterValue::Text(names[0].to_owned()))
}

fn boolean(key: &str, default: bool) -> Parameter {
    parameter(key, ParameterKind::Bool, ParameterValue::Bool(default))
}

fn int(key: &str, min: i64, max: i64, default: i64) -> Parameter {
    parameter(key, ParameterKind::Integer { min, max }, ParameterValue::Integer(default))
}

fn float(key: &str, min: f64, max: f64, default: f64) -> Parameter {
    parameter(key, ParameterKind::Float { min, max }, ParameterValue::Float(default))
}

fn absent(key: &str, reason: &str, missing: bool) -> AbsentDataSet {
    AbsentDataSet { key: key.to_owned(), reason: reason.to_owned(), missing }
}

/// The ones named after Wikipedia can be split as the paper does.
fn data_set(key: &str, encoders: &[&str]) -> DataSetEntry {
    DataSetEntry {
        key: key.to_owned(),
        version: format!("{key}-1"),
        description: String::new(),
        classes: vec!["a".to_owned(), "b".to_owned()],
        splits: SplitName::ALL[..if key.starts_with("wikipedia") { 2 } else { 1 }]
            .iter()
            .map(|name| SplitEntry { name: *name, train: 20, validation: 4, test: 8 })
            .collect(),
        dims: None,
        default_encoder: encoders[0].to_owned(),
        encoders: encoders.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn encoder(key: &str) -> EncoderEntry {
    EncoderEntry {
        key: key.to_owned(),
        revision: 1,
        description: String::new(),
        networks: (key != "given").then_some(EncoderNetworks {
            default_epochs: 30,
            image_dims: 8,
            text_dims: 4,
            patches: key == "small-cnn",
        }),
    }
}
