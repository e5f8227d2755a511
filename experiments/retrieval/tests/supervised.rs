//! JRL and LGCFL: identities of their objectives on the synthetic set, and JRL against an independent figure.

#![allow(clippy::large_types_passed_by_value)] // data as a method takes it

mod common;

use common::synthetic::Synthetic;
use experiment_spec::catalog::{ParameterValue, Parameters};
use retrieval::{
    features::{Pairs, Rows},
    method::{FitContext, FitRecord, Fitted, Method, Silent, TrainingData},
    metrics::map::bi_modal_average,
    nn::stream::Stream,
    registry,
};

fn real(value: f64) -> ParameterValue {
    ParameterValue::Float(value)
}

fn text(value: &str) -> ParameterValue {
    ParameterValue::Text(value.into())
}

fn fit(key: &str, data: TrainingData<'_>, said: &[(&str, ParameterValue)]) -> Box<dyn Fitted> {
    let method: &dyn Method = registry::find(key).unwrap();
    let mut parameters: Parameters = method.entry().parameters.into_iter().map(|it| (it.key, it.default)).collect();
    parameters.extend(said.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let context =
        FitContext { parameters: &parameters, seed: 3, observer: &mut Silent, resume: None, unlabelled: None };
    method.fit(data, context).unwrap()
}

fn objectives(record: &FitRecord) -> Vec<f64> {
    record.facts.iter().filter(|(name, _)| name.starts_with("objective-")).map(|(_, value)| *value).collect()
}

fn sets() -> (Synthetic, Synthetic) {
    let set = |n, split| Synthetic::new(6, n, (40, 20), (1.5, 1.05), split);
    (set(30, "train"), set(10, "test"))
}

#[test]
fn the_objective_of_lgcfl_never_rises() {
    let (train, test) = sets();
    let (all, held_out) = (train.pairs(), test.pairs());
    let fixed = |l1: f64, l2: f64| [("l1", real(l1)), ("l2", real(l2)), ("image-group", ParameterValue::Integer(8))];
    for (l1, l2) in [(0.1, 1e-2), (10.0, 1.0), (100.0, 100.0), (3000.0, 1.0)] {
        let fitted = fit("lgcfl", TrainingData::new(all, all.none(), 6), &fixed(l1, l2));
        let fall = objectives(&fitted.record());
        assert!(fall.len() > usize::from(l1 > 1.0) + 1, "{fall:?}");
        assert!(fall.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-12)), "{l1} {l2}: {fall:?}");
    }
    let fitted = fit("lgcfl", TrainingData::new(all, all.none(), 6), &fixed(10.0, 1.0));
    let (image, texts) = (fitted.embed_image(held_out.image).unwrap(), fitted.embed_text(held_out.text).unwrap());
    let score = bi_modal_average(&image, &texts, held_out.labels).unwrap();
    assert!(score > 0.5, "{score}");
}

#[test]
fn jrl_learns_more_than_chance_under_every_switch() {
    let (train, test) = sets();
    let held_out = test.pairs();
    let data = TrainingData::new(train.pairs(), test.pairs(), 6);
    let k = ("k", ParameterValue::Integer(10));
    let switches = [
        vec![],
        vec![("unlabelled", text("none"))],
        vec![("init", text("const"))],
        vec![("dense-quirk", ParameterValue::Bool(true))],
        vec![("similarity", text("knn-label"))],
    ];
    for mut said in switches {
        said.push(k.clone());
        let fitted = fit("jrl", data, &said);
        let (image, texts) = (fitted.embed_image(held_out.image).unwrap(), fitted.embed_text(held_out.text).unwrap());
        let score = bi_modal_average(&image, &texts, held_out.labels).unwrap();
        assert!(score > 0.4, "{said:?}: {score}; chance is 0.219");
        assert!(fitted.record().facts["updates"] >= 2.0);
    }
    let alone = TrainingData::new(train.pairs(), train.pairs().none(), 6);
    let notes = fit("jrl", alone, &[k]).record().notes;
    assert!(notes.iter().any(|note| note.contains("training rows alone")), "{notes:?}");
}

#[test]
fn rows_of_pure_noise_have_the_smallest_norms_in_jrl() {
    let (train, _) = sets();
    let pairs = train.pairs();
    let n = pairs.rows();
    let mut noise = Stream::new(5, "noise columns", 0);
    let wide: Vec<f64> = (0..n)
        .flat_map(|row| {
            let noise: Vec<f64> = (0..8).map(|_| noise.normal()).collect();
            [pairs.image.row(row).to_f64(), noise].concat()
        })
        .collect();
    let selection: Vec<u32> = (0..u32::try_from(n).unwrap()).collect();
    let data = Pairs::new(Rows::new(&wide[..], 48, &selection), pairs.text, pairs.labels);
    let said = [("k", ParameterValue::Integer(10)), ("sig", real(1.0)), ("gam", real(100.0))];
    let fitted = fit("jrl", TrainingData::new(data, data.none(), 6), &said);
    let map = fitted.tensors().unwrap().into_iter().find(|tensor| tensor.name == "image.map").unwrap();
    let retrieval::checkpoint::Values::F64(values) = map.values else { panic!("a map is f64") };
    let mut norms: Vec<(f64, usize)> =
        values.chunks_exact(6).map(|row| row.iter().map(|v| v * v).sum::<f64>()).zip(0..).collect();
    norms.sort_by(|a, b| a.0.total_cmp(&b.0));
    let noise = norms[..8].iter().filter(|(_, row)| *row >= 40).count();
    assert!(noise >= 6, "{noise} of the eight smallest rows are noise");
}
