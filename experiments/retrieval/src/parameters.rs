//! Reads the parameters of a run by the method's own entry: names, kinds, ranges and defaults are
//! written once, in the entry, and every mistake is a sentence that names the key.

use std::fmt::Display;

use experiment_spec::catalog::{AUTO, MethodEntry, Parameter, ParameterKind, ParameterValue, Parameters};

use crate::error::{Error, Result};

fn parameter(key: &str, kind: ParameterKind, default: ParameterValue, help: &str) -> Parameter {
    Parameter { key: key.into(), kind, default, candidates: Vec::new(), asks_for_patches: false, help: help.into() }
}

/// A choice among the names of a table; the first is the default.
#[must_use]
pub fn choice<T>(key: &str, table: &[(&str, T)], help: &str) -> Parameter {
    let names: Vec<String> = table.iter().map(|(name, _)| (*name).to_owned()).collect();
    let default = ParameterValue::Text(names[0].clone());
    parameter(key, ParameterKind::Choice(names), default, help)
}

/// A switch.
#[must_use]
pub fn flag(key: &str, default: bool, help: &str) -> Parameter {
    parameter(key, ParameterKind::Bool, ParameterValue::Bool(default), help)
}

/// A switch that asks for features of patches of images and segments of texts.
#[must_use]
pub fn patches(key: &str, default: bool, help: &str) -> Parameter {
    Parameter { asks_for_patches: true, ..flag(key, default, help) }
}

/// A whole number in a range.
#[must_use]
pub fn count(key: &str, (min, max): (i64, i64), default: i64, help: &str) -> Parameter {
    parameter(key, ParameterKind::Integer { min, max }, ParameterValue::Integer(default), help)
}

/// A real number in a range.
#[must_use]
pub fn float(key: &str, (min, max): (f64, f64), default: f64, help: &str) -> Parameter {
    parameter(key, ParameterKind::Float { min, max }, ParameterValue::Float(default), help)
}

/// The same parameter, left to the run unless a value is given: these candidates are tried on validation.
#[must_use]
pub fn tuned(parameter: Parameter, candidates: impl IntoIterator<Item = ParameterValue>) -> Parameter {
    let default = ParameterValue::Text(AUTO.into());
    Parameter { default, candidates: candidates.into_iter().collect(), ..parameter }
}

/// Whole numbers as candidates.
pub fn integers<const N: usize>(values: [i64; N]) -> impl Iterator<Item = ParameterValue> {
    values.into_iter().map(ParameterValue::Integer)
}

/// Real numbers as candidates.
pub fn floats<const N: usize>(values: [f64; N]) -> impl Iterator<Item = ParameterValue> {
    values.into_iter().map(ParameterValue::Float)
}

/// Parameters of one run, checked against the method's entry. A missing one has its default.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    entry: &'a MethodEntry,
    parameters: &'a Parameters,
}

impl<'a> Reader<'a> {
    /// Checks every parameter: its key is one of the entry's, its value is of the kind and in the range.
    ///
    /// # Errors
    /// [`Error::User`] naming the first key at fault, what was expected and what was found.
    pub fn new(entry: &'a MethodEntry, parameters: &'a Parameters) -> Result<Self> {
        for (key, value) in parameters {
            let Some(parameter) = entry.parameter(key) else {
                let known: Vec<&str> = entry.parameters.iter().map(|p| p.key.as_str()).collect();
                let known = known.join(", ");
                return Err(Error::User(format!("{} has no parameter `{key}`; it has {known}", entry.key)));
            };
            check(parameter, value)?;
        }
        Ok(Self { entry, parameters })
    }

    fn value(&self, key: &str) -> &'a ParameterValue {
        let parameter = self.entry.parameter(key).unwrap_or_else(|| panic!("the entry lists no parameter {key}"));
        self.parameters.get(key).unwrap_or(&parameter.default)
    }

    /// Whether the method has a parameter of that key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entry.parameter(key).is_some()
    }

    /// Every parameter with its value, defaults included.
    #[must_use]
    pub fn all(&self) -> Parameters {
        self.entry.parameters.iter().map(|it| (it.key.clone(), self.value(&it.key).clone())).collect()
    }

    /// Whether the value is left to the run.
    ///
    /// # Panics
    /// If the entry lists no such parameter: a broken invariant of the method.
    #[must_use]
    pub fn is_auto(&self, key: &str) -> bool {
        self.value(key).is_auto()
    }

    /// Parameters that are left to the run, in the order of the entry.
    pub fn left_to_the_run(&self) -> impl Iterator<Item = &'a Parameter> {
        let entry = self.entry;
        entry.parameters.iter().filter(|parameter| self.is_auto(&parameter.key))
    }

    /// A `true` or `false`.
    ///
    /// # Panics
    /// If the entry lists no such parameter of that kind: a broken invariant of the method. So do the others.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        match self.value(key) {
            ParameterValue::Bool(value) => *value,
            other => panic!("{key} is listed as another kind than {other}"),
        }
    }

    /// A whole number that is not negative.
    ///
    /// # Panics
    /// See [`Reader::flag`].
    #[must_use]
    pub fn count(&self, key: &str) -> u64 {
        match self.value(key) {
            ParameterValue::Integer(value) => u64::try_from(*value).expect("the entry's range starts at 0 or above"),
            other => panic!("{key} is listed as another kind than {other}"),
        }
    }

    /// [`Reader::count`] as a size.
    ///
    /// # Panics
    /// See [`Reader::flag`].
    #[must_use]
    pub fn size(&self, key: &str) -> usize {
        usize::try_from(self.count(key)).expect("the entry's range fits usize")
    }

    /// A real number.
    ///
    /// # Panics
    /// See [`Reader::flag`].
    #[must_use]
    pub fn float(&self, key: &str) -> f64 {
        match self.value(key) {
            ParameterValue::Float(value) => *value,
            #[allow(clippy::cast_precision_loss)] // the range of every real parameter is far below 2^53
            ParameterValue::Integer(value) => *value as f64,
            other => panic!("{key} is listed as another kind than {other}"),
        }
    }

    /// What a choice stands for, by the table of the choices.
    ///
    /// # Panics
    /// See [`Reader::flag`].
    #[must_use]
    pub fn choice<T: Copy>(&self, key: &str, table: &[(&str, T)]) -> T {
        let ParameterValue::Text(name) = self.value(key) else { panic!("{key} is listed as another kind") };
        let found = table.iter().find(|(choice, _)| choice == name);
        found.unwrap_or_else(|| panic!("{key} lists the choice {name}, which its table lacks")).1
    }
}

fn check(parameter: &Parameter, value: &ParameterValue) -> Result<()> {
    let key = &parameter.key;
    let wrong = |expected: &dyn Display| Err(Error::User(format!("`{key}` is {value}; expected {expected}")));
    match (&parameter.kind, value) {
        _ if value.is_auto() && !parameter.candidates.is_empty() => Ok(()),
        (ParameterKind::Bool, ParameterValue::Bool(_)) => Ok(()),
        (ParameterKind::Bool, _) => wrong(&"true or false"),
        (ParameterKind::Integer { min, max }, ParameterValue::Integer(n)) if (min..=max).contains(&n) => Ok(()),
        (ParameterKind::Integer { min, max }, _) => wrong(&format!("a whole number from {min} to {max}")),
        (ParameterKind::Float { min, max }, ParameterValue::Float(x)) if (min..=max).contains(&x) => Ok(()),
        #[allow(clippy::cast_precision_loss)] // only compared with the range
        (ParameterKind::Float { min, max }, ParameterValue::Integer(n)) if (min..=max).contains(&&(*n as f64)) => {
            Ok(())
        }
        (ParameterKind::Float { min, max }, _) => wrong(&format!("a number from {min} to {max}")),
        (ParameterKind::Choice(names), ParameterValue::Text(name)) if names.contains(name) => Ok(()),
        (ParameterKind::Choice(names), _) => wrong(&format!("one of {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> MethodEntry {
        MethodEntry {
            key: "toy".into(),
            label: "Toy".into(),
            revision: 1,
            objective: String::new(),
            reference: String::new(),
            parameters: vec![
                count("steps", (1, 9), 5, ""),
                float("rate", (0.0, 1.0), 0.5, ""),
                flag("tied", true, ""),
                choice("norm", &[("l1", ()), ("l2", ())], ""),
                tuned(count("dims", (1, 300), 10, ""), integers([10, 20])),
            ],
            presets: vec![],
            departures: vec![],
        }
    }

    #[test]
    fn values_and_defaults_are_read() {
        let entry = entry();
        let said = Parameters::from([
            ("rate".into(), ParameterValue::Integer(1)),
            ("norm".into(), ParameterValue::Text("l1".into())),
        ]);
        let reader = Reader::new(&entry, &said).unwrap();
        assert_eq!((reader.count("steps"), reader.size("steps"), reader.flag("tied")), (5, 5, true));
        assert!((reader.float("rate") - 1.0).abs() < 1e-15);
        assert_eq!(reader.choice("norm", &[("l2", 2), ("l1", 1)]), 1);
        let left = |reader: Reader<'_>| reader.left_to_the_run().map(|p| p.key.clone()).collect::<Vec<_>>();
        assert_eq!((left(reader), reader.is_auto("steps")), (vec!["dims".to_owned()], false));
        let fixed = Parameters::from([("dims".into(), ParameterValue::Integer(7))]);
        let reader = Reader::new(&entry, &fixed).unwrap();
        assert_eq!((left(reader).len(), reader.size("dims")), (0, 7));
    }

    #[test]
    fn mistakes_name_the_key_and_what_was_expected() {
        for (key, value, wanted) in [
            ("step", ParameterValue::Integer(1), "toy has no parameter `step`; it has steps, rate, tied, norm, dims"),
            ("steps", ParameterValue::Integer(10), "`steps` is 10; expected a whole number from 1 to 9"),
            ("steps", ParameterValue::Float(2.0), "`steps` is 2; expected a whole number from 1 to 9"),
            ("rate", ParameterValue::Float(f64::NAN), "`rate` is NaN; expected a number from 0 to 1"),
            ("rate", ParameterValue::Integer(2), "`rate` is 2; expected a number from 0 to 1"),
            ("tied", ParameterValue::Text("yes".into()), "`tied` is yes; expected true or false"),
            ("steps", ParameterValue::Text("auto".into()), "`steps` is auto; expected a whole number from 1 to 9"),
            ("norm", ParameterValue::Text("l3".into()), "`norm` is l3; expected one of l1, l2"),
        ] {
            let error = Reader::new(&entry(), &Parameters::from([(key.into(), value)])).unwrap_err();
            assert_eq!(error.to_string(), wanted);
        }
    }
}
