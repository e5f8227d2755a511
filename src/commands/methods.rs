//! `methods`: the registry, as the planner checks submissions against it.

use experiment_spec::catalog::{MethodEntry, Parameter, ParameterKind};

use crate::{
    catalog,
    cli::Global,
    exit::{Failure, Outcome},
    output,
};

/// Prints the registry, or all about one method.
pub(super) fn methods(global: &Global, name: Option<&str>) -> Outcome {
    let catalog = catalog::registries();
    let Some(name) = name else {
        if global.json {
            return catalog.methods.iter().try_for_each(output::json);
        }
        let rows = catalog
            .methods
            .iter()
            .map(|m| vec![m.key.clone(), m.label.clone(), m.parameters.len().to_string(), m.reference.clone()]);
        return output::table(&["method", "label", "parameters", "reference"], rows.collect());
    };
    let entry = catalog.method(name).ok_or_else(|| {
        let known: Vec<&str> = catalog.methods.iter().map(|m| m.key.as_str()).collect();
        Failure::request(format!("there is no method `{name}`; there are: {}", known.join(", ")))
    })?;
    if global.json { output::json(entry) } else { print(entry) }
}

fn print(entry: &MethodEntry) -> Outcome {
    output::lines([
        format!("{} ({}), revision {}", entry.label, entry.key, entry.revision),
        format!("objective: {}", entry.objective),
        format!("reference: {}", entry.reference),
        String::new(),
    ])?;
    let rows = entry.parameters.iter().map(|p| vec![p.key.clone(), values(p), p.default.to_string(), p.help.clone()]);
    if !entry.parameters.is_empty() {
        output::table(&["parameter", "values", "default", "what it does"], rows.collect())?;
    }
    for preset in &entry.presets {
        let values: Vec<String> = preset.values.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        output::lines([format!(
            "preset {}: {}",
            preset.name,
            if values.is_empty() { "the defaults".to_owned() } else { values.join(", ") }
        )])?;
    }
    output::lines(entry.departures.iter().map(|departure| format!("departs from the paper: {departure}")))
}

fn values(parameter: &Parameter) -> String {
    let values = match &parameter.kind {
        ParameterKind::Bool => "true | false".to_owned(),
        ParameterKind::Integer { min, max } => format!("{min} to {max}"),
        ParameterKind::Float { min, max } => format!("{min:?} to {max:?}"),
        ParameterKind::Choice(names) => names.join(" | "),
    };
    if parameter.candidates.is_empty() {
        return values;
    }
    let candidates: Vec<String> = parameter.candidates.iter().map(ToString::to_string).collect();
    format!("{values}, or auto: the best of {} on validation", candidates.join(", "))
}
