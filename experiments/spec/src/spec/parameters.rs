//! Values of parameters: read by their kind, one or (a grid) several.

use super::{limits::MAX_GRID_VALUES, problem::Problems, read::Cursor};
use crate::catalog::{AUTO, MethodEntry, Parameter, ParameterKind, ParameterValue, Parameters};

/// One value of this parameter, in canonical form: a whole number given for a real one becomes real. `auto`
/// leaves it to the run where the parameter has candidates.
pub(super) fn value(cursor: &Cursor<'_>, parameter: &Parameter, problems: &mut Problems) -> Option<ParameterValue> {
    if !parameter.candidates.is_empty() && cursor.is_word(AUTO) {
        return Some(ParameterValue::Text(AUTO.to_owned()));
    }
    match &parameter.kind {
        ParameterKind::Bool => cursor.boolean(problems).map(ParameterValue::Bool),
        ParameterKind::Integer { min, max } => cursor.integer(problems, &(*min..=*max)).map(ParameterValue::Integer),
        ParameterKind::Float { min, max } => cursor.float(problems, &(*min..=*max)).map(ParameterValue::Float),
        ParameterKind::Choice(names) => cursor
            .choice(problems, "one of", &names.iter().map(String::as_str))
            .map(|name| ParameterValue::Text(name.to_owned())),
    }
}

/// One value, or a list of different ones: a grid.
pub(super) fn values<'n, T: PartialEq>(
    cursor: &Cursor<'n>,
    problems: &mut Problems,
    mut read: impl FnMut(&Cursor<'n>, &mut Problems) -> Option<T>,
) -> Option<Vec<T>> {
    if !cursor.is_list() {
        return read(cursor, problems).map(|value| vec![value]);
    }
    let items = cursor.list(problems, "a value or a list of values", MAX_GRID_VALUES)?;
    let mut values = Vec::with_capacity(items.len());
    for item in &items {
        let Some(value) = read(item, problems) else { continue };
        if values.contains(&value) {
            item.report(problems, "this value stands in the list twice");
        } else {
            values.push(value);
        }
    }
    (values.len() == items.len()).then_some(values)
}

/// The parameters of a method when nothing is said, by the preset of that name or by the defaults.
pub(super) fn initial(entry: &MethodEntry, preset: Option<&str>) -> Parameters {
    let mut parameters: Parameters =
        entry.parameters.iter().map(|parameter| (parameter.key.clone(), parameter.default.clone())).collect();
    if let Some(preset) = entry.presets.iter().find(|known| Some(known.name.as_str()) == preset) {
        parameters.extend(preset.values.clone());
    }
    canonical(entry, &mut parameters);
    parameters
}

/// Makes whole numbers real where the parameter is real, so that a catalog's `1` and a user's `1.0` are one value.
fn canonical(entry: &MethodEntry, parameters: &mut Parameters) {
    for (key, value) in parameters {
        let is_real = matches!(entry.parameter(key).map(|known| &known.kind), Some(ParameterKind::Float { .. }));
        if let (true, ParameterValue::Integer(whole)) = (is_real, &*value) {
            #[allow(clippy::cast_precision_loss)] // a default that a person wrote is far below 2^53
            let real = *whole as f64;
            *value = ParameterValue::Float(real);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Preset;

    #[test]
    fn whole_numbers_of_the_catalog_become_real_where_the_parameter_is() {
        let float = |key: &str, default| Parameter {
            key: key.to_owned(),
            kind: ParameterKind::Float { min: 0.0, max: 9.0 },
            default,
            candidates: Vec::new(),
            asks_for_patches: false,
            help: String::new(),
        };
        let entry = MethodEntry {
            key: "m".to_owned(),
            label: "M".to_owned(),
            revision: 1,
            objective: String::new(),
            reference: String::new(),
            parameters: vec![float("a", ParameterValue::Integer(1)), float("b", ParameterValue::Float(2.0))],
            presets: vec![Preset {
                name: "p".to_owned(),
                values: [("b".to_owned(), ParameterValue::Integer(3))].into(),
            }],
            departures: Vec::new(),
        };
        let expected =
            |b| Parameters::from([("a", 1.0), ("b", b)].map(|(key, x)| (key.to_owned(), ParameterValue::Float(x))));
        assert_eq!(initial(&entry, None), expected(2.0));
        assert_eq!(initial(&entry, Some("p")), expected(3.0));
    }
}
