//! The candidates of a fit: the product of what each parameter left to the run may be.

use experiment_spec::{
    catalog::{ParameterValue, Parameters},
    scores::{Candidate, Tuning},
};

use crate::{
    error::{Error, Result},
    method::TrainingData,
    parameters::Reader,
};

/// One candidate: the parameters left to the run with the values to try, and all parameters with these values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    pub(super) tried: Parameters,
    pub(super) parameters: Parameters,
}

/// Every candidate, the last parameter of the entry changing fastest. The parameter `apart` is left as it is.
pub(super) fn trials(reader: Reader<'_>, apart: Option<&str>) -> Vec<Trial> {
    let mut trials = vec![Trial { tried: Parameters::new(), parameters: reader.all() }];
    for parameter in reader.left_to_the_run().filter(|parameter| Some(parameter.key.as_str()) != apart) {
        let with = |trial: &Trial, value: &ParameterValue| {
            let mut trial = trial.clone();
            trial.tried.insert(parameter.key.clone(), value.clone());
            trial.parameters.insert(parameter.key.clone(), value.clone());
            trial
        };
        trials =
            trials.iter().flat_map(|trial| parameter.candidates.iter().map(move |value| with(trial, value))).collect();
    }
    trials
}

/// The record of a choice: the highest, the first of equals.
///
/// # Errors
/// [`Error::Data`] with the reason of the first candidate when none could be scored.
pub(super) fn choose(candidates: Vec<Candidate>, data: &TrainingData<'_>) -> Result<Tuning> {
    let mut best: Option<(usize, f64)> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        if let Ok(score) = candidate.validation_map
            && best.is_none_or(|(_, highest)| score > highest)
        {
            best = Some((index, score));
        }
    }
    let Some((chosen, _)) = best else {
        let why = candidates.first().and_then(|candidate| candidate.validation_map.clone().err()).unwrap_or_default();
        return Err(Error::Data(format!("no candidate could be scored on the validation pairs; the first: {why}")));
    };
    Ok(Tuning { candidates, chosen, validation_pairs: data.validation.rows(), carved: data.is_carved() })
}

#[cfg(test)]
mod tests {
    use experiment_spec::catalog::MethodEntry;

    use super::*;
    use crate::{
        features::{Pairs, Rows},
        parameters::{choice, count, float, floats, integers, tuned},
    };

    #[test]
    fn candidates_are_the_product_of_what_is_left_to_the_run() {
        let entry = MethodEntry {
            key: "toy".into(),
            label: "Toy".into(),
            revision: 1,
            objective: String::new(),
            reference: String::new(),
            parameters: vec![
                tuned(float("ridge", (0.0, 10.0), 1.0, ""), floats([0.5, 1.0])),
                tuned(
                    choice("kind", &[("a", ()), ("b", ())], ""),
                    ["a", "b"].map(|it| ParameterValue::Text(it.into())),
                ),
                tuned(count("dims", (1, 9), 3, ""), integers([2, 4])),
            ],
            presets: vec![],
            departures: vec![],
        };
        let shown = |said: &Parameters, apart| -> Vec<String> {
            let trials = trials(Reader::new(&entry, said).unwrap(), apart);
            trials
                .iter()
                .map(|trial| trial.tried.values().map(ToString::to_string).collect::<Vec<_>>().join(" "))
                .collect()
        };
        let nothing = Parameters::new();
        assert_eq!(shown(&nothing, Some("dims")), ["a 0.5", "b 0.5", "a 1", "b 1"]);
        assert_eq!(shown(&nothing, None).len(), 8);
        let fixed = Parameters::from([("kind".into(), ParameterValue::Text("b".into()))]);
        assert_eq!(shown(&fixed, Some("dims")), ["0.5", "1"]);
        let trial = &trials(Reader::new(&entry, &fixed).unwrap(), Some("dims"))[1];
        assert_eq!(trial.parameters["kind"], ParameterValue::Text("b".into()));
        assert_eq!(trial.parameters["ridge"], ParameterValue::Float(1.0));
        assert!(trial.parameters["dims"].is_auto());
    }

    #[test]
    fn the_first_of_the_highest_is_chosen() {
        let rows = Rows::new(&[0.0f64; 3][..], 1, &[0, 1, 2]);
        let data = TrainingData::new(Pairs::new(rows, rows, &[0, 1, 1]), Pairs::new(rows, rows, &[0, 1, 1]), 2);
        let of = |maps: &[Option<f64>]| {
            let score = |map: &Option<f64>| map.ok_or_else(|| "too few pairs".to_owned());
            let candidate = |map| Candidate { parameters: Parameters::new(), validation_map: score(map) };
            choose(maps.iter().map(candidate).collect(), &data)
        };
        assert_eq!(of(&[None, Some(0.2), Some(0.4), Some(0.4), Some(0.1)]).unwrap().chosen, 2);
        assert!(of(&[None, None]).unwrap_err().to_string().ends_with("the first: too few pairs"));
    }
}
