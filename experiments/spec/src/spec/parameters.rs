//! Values of parameters: read by their kind, one or (a grid) several.

use super::{limits::MAX_GRID_VALUES, problem::Problems, read::Cursor};
use crate::catalog::{MethodEntry, Parameter, ParameterKind, ParameterValue, Parameters};

/// One value of this parameter, in canonical form: a whole number given for a real one becomes real.
pub(super) fn value(cursor: &Cursor<'_>, parameter: &Parameter, problems: &mut Problems) -> Option<ParameterValue> {
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
