//! What may be asked for: methods with their parameters, data sets, encoders. A plain value, built
//! by the binary from the numeric crate's registry; tests of the planner and scheduler pass a toy one.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::run::SplitName;

/// Value of a parameter that is left to the run: it tries the parameter's candidates on validation.
pub const AUTO: &str = "auto";

/// Value of one parameter, in its canonical JSON form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParameterValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A real number.
    Float(f64),
    /// A choice, by its kebab-case name.
    Text(String),
}

impl fmt::Display for ParameterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            // As people write them: 0.001, but 1e-8.
            Self::Float(value) if *value != 0.0 && !(1e-4..1e7).contains(&value.abs()) => write!(f, "{value:e}"),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl ParameterValue {
    /// Whether the value is left to the run.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        matches!(self, Self::Text(text) if text == AUTO)
    }
}

/// All parameters of a run by kebab-case key, in alphabetical order (the canonical order).
pub type Parameters = BTreeMap<String, ParameterValue>;

/// What values a parameter takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterKind {
    /// `true` or `false`.
    Bool,
    /// A whole number in `min..=max`.
    Integer { min: i64, max: i64 },
    /// A real number in `min..=max`; a whole number is read as one.
    Float { min: f64, max: f64 },
    /// One of these names.
    Choice(Vec<String>),
}

/// One parameter of a method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Kebab-case key, as in YAML.
    pub key: String,
    /// Values it takes.
    pub kind: ParameterKind,
    /// Value when nothing is said.
    pub default: ParameterValue,
    /// Values that are tried on validation when the value is [`AUTO`]; where there are none it must be fixed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<ParameterValue>,
    /// Whether the value `true` asks for features of patches of the images and segments of the texts beside those of
    /// the wholes; they are made where the encoder can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks_for_patches: bool,
    /// What it does, in one sentence, with its source in the paper or spec.
    pub help: String,
}

/// A named set of parameter values, chosen by the key `preset`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preset {
    /// Name, as in YAML.
    pub name: String,
    /// Values that differ from the defaults.
    pub values: Parameters,
}

/// One line of the method registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodEntry {
    /// Kebab-case key, as in YAML.
    pub key: String,
    /// Label as printed in papers; default label of its rows.
    pub label: String,
    /// Rises when a change of the code changes results; part of the fingerprint.
    pub revision: u32,
    /// What is optimised, in one formula or sentence.
    pub objective: String,
    /// Citation.
    pub reference: String,
    /// Parameters in the order they are to be printed.
    pub parameters: Vec<Parameter>,
    /// Presets; the first is the default and its values are the defaults.
    pub presets: Vec<Preset>,
    /// Where the implementation departs from the paper; printed as footnotes.
    pub departures: Vec<String>,
}

/// One data set that this installation can read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataSetEntry {
    /// Kebab-case key, as in YAML.
    pub key: String,
    /// Version of the content: the hash of its manifest. Part of the fingerprint; never a path.
    pub version: String,
    /// One sentence on what it is and where it comes from.
    pub description: String,
    /// Class names, index = label.
    pub classes: Vec<String>,
    /// Ways to divide its pairs; the first is [`SplitName::Official`].
    pub splits: Vec<SplitEntry>,
    /// Dimensions of the image and text features it comes with; absent where an encoder makes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dims: Option<(usize, usize)>,
    /// Encoder used when the submission names none.
    pub default_encoder: String,
    /// Encoders that can read it.
    pub encoders: Vec<String>,
}

/// One way to divide the pairs of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitEntry {
    /// Its name.
    pub name: SplitName,
    /// Pairs for training, those for validation not among them.
    pub train: usize,
    /// Pairs for validation; where there are none, a run that has something to choose sets a part of its
    /// training pairs aside.
    pub validation: usize,
    /// Pairs for test.
    pub test: usize,
}

/// A data set that the program knows but cannot use here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AbsentDataSet {
    /// Kebab-case key, as in YAML.
    pub key: String,
    /// Why, with the cure, in one sentence.
    pub reason: String,
    /// Whether it is simply not installed: then `if-present` leaves it out. What is there but damaged, or can
    /// be used nowhere, is a mistake to name in any case.
    pub missing: bool,
}

/// One pair of encoders (image and text) that makes features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderEntry {
    /// Kebab-case key, as in YAML.
    pub key: String,
    /// Rises when a change of the code changes features; part of the fingerprint.
    pub revision: u32,
    /// One sentence on what it is.
    pub description: String,
    /// The networks it trains; absent where nothing is trained and the features are the data set's own. Seed
    /// and epochs of the encoder then have no part in the identity of what it makes.
    pub networks: Option<EncoderNetworks>,
}

/// What an encoder trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderNetworks {
    /// Passes over the training pairs when the submission says nothing.
    pub default_epochs: u32,
    /// Dimensions of the image features.
    pub image_dims: usize,
    /// Dimensions of the text features.
    pub text_dims: usize,
    /// Whether it makes features of patches of the images and segments of the texts as well.
    #[serde(default)]
    pub patches: bool,
}

/// Everything that a submission may name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Methods, in the order of the paper's tables.
    pub methods: Vec<MethodEntry>,
    /// What programs of users' own are listed as; absent where no user may have one run.
    #[serde(default)]
    pub external: Option<MethodEntry>,
    /// Data sets found.
    pub data_sets: Vec<DataSetEntry>,
    /// Data sets that are known, but cannot be used here.
    #[serde(default)]
    pub absent: Vec<AbsentDataSet>,
    /// Encoders.
    pub encoders: Vec<EncoderEntry>,
    /// Revision of the scoring protocol (splits, selection, MAP); part of the fingerprint.
    pub protocol: u32,
}

impl Catalog {
    /// The method of that key, programs of users' own among them.
    #[must_use]
    pub fn method(&self, key: &str) -> Option<&MethodEntry> {
        self.methods.iter().chain(&self.external).find(|entry| entry.key == key)
    }

    /// The data set of that key.
    #[must_use]
    pub fn data_set(&self, key: &str) -> Option<&DataSetEntry> {
        self.data_sets.iter().find(|entry| entry.key == key)
    }

    /// Why the data set of that key cannot be used here.
    #[must_use]
    pub fn absent(&self, key: &str) -> Option<&AbsentDataSet> {
        self.absent.iter().find(|entry| entry.key == key)
    }

    /// The encoder of that key.
    #[must_use]
    pub fn encoder(&self, key: &str) -> Option<&EncoderEntry> {
        self.encoders.iter().find(|entry| entry.key == key)
    }
}

impl DataSetEntry {
    /// The split of that name.
    #[must_use]
    pub fn split(&self, name: SplitName) -> Option<&SplitEntry> {
        self.splits.iter().find(|split| split.name == name)
    }
}

impl MethodEntry {
    /// The parameter of that key.
    #[must_use]
    pub fn parameter(&self, key: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.key == key)
    }

    /// Whether a run with these parameters learns from features of patches where there are some.
    #[must_use]
    pub fn asks_for_patches(&self, parameters: &Parameters) -> bool {
        let asking = self.parameters.iter().filter(|parameter| parameter.asks_for_patches);
        asking
            .map(|parameter| parameters.get(&parameter.key).unwrap_or(&parameter.default))
            .any(|value| *value == ParameterValue::Bool(true))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn real_numbers_print_as_people_write_them() {
        let printed = [0.0, 1.0, 0.001, 1e-4, 1e-8, -2.5, 1e7, 2e-5].map(|x| ParameterValue::Float(x).to_string());
        assert_eq!(printed, ["0", "1", "0.001", "0.0001", "1e-8", "-2.5", "1e7", "2e-5"]);
    }

    proptest! {
        /// Fingerprints rest on it: a value that came back as another kind or with other bits would be another run.
        #[test]
        fn a_value_reads_back_from_its_json_as_the_same_kind_and_bits(x in any::<f64>(), n in any::<i64>(), whole in -1e6..1e6_f64) {
            let floats = [x, whole.round()].into_iter().filter(|x| x.is_finite()).map(ParameterValue::Float);
            let others = [ParameterValue::Integer(n), ParameterValue::Bool(n > 0), ParameterValue::Text(n.to_string())];
            for value in floats.chain(others) {
                let back: ParameterValue = serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap();
                prop_assert_eq!(&back, &value);
                if let (ParameterValue::Float(a), ParameterValue::Float(b)) = (&back, &value) {
                    prop_assert_eq!(a.to_bits(), b.to_bits());
                }
            }
        }
    }
}
