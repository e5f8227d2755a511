//! CCA, CFA, KCCA and JRL: figures of the Wikipedia data set (spec/expected.csv, G.2 items 6 and 7), and identities
//! of the first three (item 8).

#![allow(clippy::many_single_char_names)] // the letters of the equations

mod common;
#[path = "common/wikipedia.rs"]
mod wikipedia;

use common::{shared, synthetic::Synthetic};
use experiment_spec::{
    catalog::{ParameterValue, Parameters},
    scores::{Normalisation, Task},
};
use faer::Mat;
use retrieval::{
    checkpoint::{NamedTensor, Values},
    error::Result,
    features::{Pairs, Rows},
    linalg::{product::product, standardise::Standardisation},
    method::{EmbeddingValues, FitContext, Fitted, Silent, TrainingData},
    methods::cca::{Canonical, Shared},
    metrics::map::evaluate,
    nn::{gemm, stream::Stream},
    registry,
};

type Said<'a> = &'a [(&'a str, ParameterValue)];

fn try_fit(method: &str, said: Said<'_>, pairs: Pairs<'_>, classes: usize) -> Result<Box<dyn Fitted>> {
    let parameters: Parameters = said.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
    let none = Pairs::new(pairs.image.with_selection(&[]), pairs.text.with_selection(&[]), &[]);
    let context =
        FitContext { parameters: &parameters, seed: 1, observer: &mut Silent, resume: None, unlabelled: None };
    registry::find(method).unwrap().fit(TrainingData::new(pairs, none, classes), context)
}

fn fit(method: &str, said: Said<'_>, pairs: Pairs<'_>) -> Box<dyn Fitted> {
    try_fit(method, said, pairs, 10).unwrap()
}

fn float(value: f64) -> ParameterValue {
    ParameterValue::Float(value)
}

fn dims(value: i64) -> (&'static str, ParameterValue) {
    ("dims", ParameterValue::Integer(value))
}

fn values(fitted: &dyn Fitted, name: &str) -> Vec<f64> {
    let tensor = fitted.tensors().unwrap().into_iter().find(|tensor| tensor.name == name).unwrap();
    let Values::F64(values) = tensor.values else { panic!("{name} is not f64") };
    values
}

fn embedded(fitted: &dyn Fitted, pairs: Pairs<'_>) -> [Vec<f64>; 2] {
    [fitted.embed_image(pairs.image).unwrap(), fitted.embed_text(pairs.text).unwrap()].map(|it| match it.values {
        EmbeddingValues::F64(values) => values,
        EmbeddingValues::F32(_) => panic!("a closed form embeds in f64"),
    })
}

/// MAP of the rows of `expected.csv`, in their order.
fn maps(fitted: &dyn Fitted, held_out: Pairs<'_>) -> Vec<(&'static str, f64)> {
    let (image, text) = (fitted.embed_image(held_out.image).unwrap(), fitted.embed_text(held_out.text).unwrap());
    let scores = evaluate(&image, &text, held_out.labels, 10).unwrap();
    let of =
        |task: Task| scores.iter().find(|it| it.task == task && it.normalisation == Normalisation::None).unwrap().map;
    let [it, ti] = [of(Task::ImageToText), of(Task::TextToImage)];
    let [ia, ta] = [of(Task::ImageToAll), of(Task::TextToAll)];
    vec![
        ("image->text", it),
        ("text->image", ti),
        ("bi-modal average", f64::midpoint(it, ti)),
        ("image->all", ia),
        ("text->all", ta),
        ("all-modal average", f64::midpoint(ia, ta)),
    ]
}

#[test]
fn wikipedia_scores_are_those_of_the_reference() {
    let test = "wikipedia_scores_are_those_of_the_reference";
    let (Some(folder), Some(spec)) = (shared(test, "data/wikipedia"), shared(test, "spec")) else { return };
    let (train, held_out) = wikipedia::read(&folder);
    let expected = std::fs::read_to_string(spec.join("expected.csv")).unwrap();
    let kcca = [("bandwidth-factor", float(1.0)), ("kappa", float(1e-2)), dims(10)];
    let jrl = [
        ("unlabelled", ParameterValue::Text("none".into())),
        ("init", ParameterValue::Text("const".into())),
        ("updates", ParameterValue::Integer(5)),
        ("tolerance", float(0.0)),
    ];
    let jrl_settings = "gam=1000;sig=1000;lam=1;mu=1;k=100;unlabelled=none;init=0.5;updates=5;tol=0";
    let cases: [(&str, &str, &str, Said<'_>); 5] = [
        ("cca", "cca_plain", "r=1e-4;d=9", &[("ridge", float(1e-4)), dims(9)]),
        ("cfa", "cfa", "d=5", &[dims(5)]),
        ("cfa", "cfa", "d=9", &[dims(9)]),
        ("kcca", "kcca", "bandwidth=median of distinct pairs;factor=1;kappa=1e-2;d=10", &kcca),
        ("jrl", "jrl", jrl_settings, &jrl),
    ];
    for (method, name, settings, said) in cases {
        let fitted = fit(method, said, train.pairs());
        for (task, map) in maps(fitted.as_ref(), held_out.pairs()) {
            let start = format!("wikipedia,{name},{settings},{task},");
            let row = expected.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
            let (want, tolerance) = row.split_once(',').unwrap();
            println!("{name} {settings} {task}: {map:.6}, reference {want}");
            let (want, tolerance): (f64, f64) = (want.parse().unwrap(), tolerance.parse().unwrap());
            assert!((map - want).abs() <= tolerance, "{name} {settings} {task}: {map} is not {want}");
        }
    }
}

#[test]
fn wikipedia_correlations_and_rounded_figures_are_those_of_the_specification() {
    let test = "wikipedia_correlations_and_rounded_figures_are_those_of_the_specification";
    let Some(folder) = shared(test, "data/wikipedia") else { return };
    let (train, held_out) = wikipedia::read(&folder);
    let figures = |fitted: &dyn Fitted, wanted: [f64; 4]| {
        let maps = maps(fitted, held_out.pairs());
        for (at, want) in [0, 1, 3, 4].into_iter().zip(wanted) {
            assert!((maps[at].1 - want).abs() <= 3e-3, "{maps:?}");
        }
    };
    let cca = fit("cca", &[("ridge", float(0.01)), dims(5)], train.pairs());
    figures(cca.as_ref(), [0.247, 0.195, 0.196, 0.363]);
    let whole = fit("cca", &[("ridge", float(0.01)), dims(10)], train.pairs());
    let wanted = [0.554, 0.443, 0.432, 0.367, 0.341, 0.323, 0.288, 0.274, 0.243];
    let found = values(whole.as_ref(), "correlations");
    assert_eq!(found.len(), 9, "topic proportions sum to 1: {found:?}");
    assert!(found.iter().zip(wanted).all(|(found, want)| (found - want).abs() <= 2e-3), "{found:?}");
    let record = whole.record();
    assert!(record.notes.iter().any(|note| note.starts_with("9 of 10 components")), "{record:?}");
    assert_eq!(record.facts["canonical-correlation-1"].to_bits(), found[0].to_bits());
    let singular = try_fit("cca", &[("ridge", float(0.0)), dims(5)], train.pairs(), 10).err().unwrap();
    assert!(singular.to_string().starts_with("the covariance of the image features is singular"), "{singular}");
    let cfa = fit("cfa", &[dims(10)], train.pairs());
    let maps = maps(cfa.as_ref(), held_out.pairs());
    assert!((maps[0].1 - 0.2455).abs() <= 3e-3 && (maps[1].1 - 0.1949).abs() <= 3e-3, "{maps:?}");
}

fn synthetic() -> Synthetic {
    Synthetic::new(5, 16, (12, 7), (1.0, 1.0), "train")
}

fn standardised(pairs: Pairs<'_>) -> (Mat<f64>, Mat<f64>) {
    let side = |rows: Rows<'_>| Standardisation::fit("image", rows).unwrap().apply(rows);
    (side(pairs.image), side(pairs.text))
}

fn largest_difference(a: &Mat<f64>, b: &Mat<f64>) -> f64 {
    let mut largest = 0.0f64;
    for (a, b) in a.col_iter().zip(b.col_iter()) {
        a.iter().zip(b.iter()).for_each(|(a, b)| largest = largest.max((a - b).abs()));
    }
    largest
}

#[test]
fn primal_and_dual_agree_and_both_whiten() {
    let set = synthetic();
    let (x, y) = standardised(set.pairs());
    for ridge in [0.0, 0.1, 10.0] {
        let signed = |shared: Shared| {
            let Canonical { mut image, mut text, correlations } = shared.solve(ridge).unwrap();
            retrieval::linalg::components::fix_signs(&mut image, &mut text);
            (image, text, correlations)
        };
        let (a, b, rho) = signed(Shared::primal(&x, &y));
        let (dual_a, dual_b, dual_rho) = signed(Shared::dual(&x, &y).unwrap());
        assert_eq!((rho.len(), dual_rho.len()), (7, 7));
        assert!(rho.iter().zip(&dual_rho).all(|(p, d)| (p - d).abs() < 1e-8), "ridge {ridge}: {rho:?} {dual_rho:?}");
        assert!(largest_difference(&a, &dual_a) < 1e-8 && largest_difference(&b, &dual_b) < 1e-8, "ridge {ridge}");
        for (data, map) in [(&x, &a), (&y, &b)] {
            let covariance = product(data.transpose(), data.as_ref()) / faer::Scale(79.0);
            let n = covariance.nrows();
            let raised = Mat::from_fn(n, n, |i, j| covariance[(i, j)] + if i == j { ridge } else { 0.0 });
            let whitened = product(map.transpose(), product(raised.as_ref(), map.as_ref()).as_ref());
            assert!(largest_difference(&whitened, &Mat::identity(7, 7)) < 1e-8, "ridge {ridge}");
        }
        let between = product(a.transpose(), product(x.transpose(), product(y.as_ref(), b.as_ref()).as_ref()).as_ref());
        let wanted = Mat::from_fn(7, 7, |i, j| if i == j { 79.0 * rho[i] } else { 0.0 });
        assert!(largest_difference(&between, &wanted) < 1e-6, "ridge {ridge}");
    }
}

#[test]
fn fewer_pairs_than_columns_correlate_at_1_without_ridge() {
    let set = Synthetic::new(2, 4, (12, 9), (1.0, 1.0), "train");
    let fitted = try_fit("cca", &[("ridge", float(1e-12)), dims(5)], set.pairs(), 2).unwrap();
    let found = values(fitted.as_ref(), "correlations");
    assert!(found.len() == 5 && found.iter().all(|rho| (rho - 1.0).abs() < 1e-8), "{found:?}");
}

#[test]
fn identical_views_correlate_at_1_and_scaling_weights_columns() {
    let set = synthetic();
    let pairs = set.pairs();
    let same = Pairs::new(pairs.text, pairs.text, pairs.labels);
    let fitted = fit("cca", &[("ridge", float(0.0)), dims(7)], same);
    assert!(values(fitted.as_ref(), "correlations").iter().all(|rho| (rho - 1.0).abs() < 1e-10));
    let [image, text] = embedded(fitted.as_ref(), same);
    assert!(image.iter().zip(&text).all(|(a, b)| (a - b).abs() < 1e-8));
    let plain = fit("cca", &[("ridge", float(0.1)), dims(4)], pairs);
    let scale = ("scale-by-correlation", ParameterValue::Bool(true));
    let scaled = fit("cca", &[("ridge", float(0.1)), dims(4), scale], pairs);
    let rho = values(plain.as_ref(), "correlations");
    for (plain, scaled) in embedded(plain.as_ref(), pairs).iter().zip(embedded(scaled.as_ref(), pairs)) {
        let wanted = plain.iter().enumerate().map(|(at, value)| value * rho[at % 4]);
        assert!(scaled.iter().zip(wanted).all(|(found, want)| (found - want).abs() < 1e-12));
    }
}

/// With the linear kernel K = XX' and the penalty k the shrinkage of KCCA is l / (l + k) where that of CCA is the root of
/// it at r = k / (n - 1): they agree as both vanish, and KCCA's components are then CCA's over sqrt(n - 1).
#[test]
fn a_linear_kernel_gives_cca() {
    let set = synthetic();
    let pairs = set.pairs();
    let linear = ("kernel", ParameterValue::Text("linear".into()));
    let kcca = fit("kcca", &[linear, ("bandwidth-factor", float(1.0)), ("kappa", float(1e-10)), dims(7)], pairs);
    let cca = fit("cca", &[("ridge", float(0.0)), dims(7)], pairs);
    let [found, wanted] = [&kcca, &cca].map(|it| values(it.as_ref(), "correlations"));
    assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-7), "{found:?} {wanted:?}");
    let root = 79f64.sqrt();
    let held_out = Synthetic::new(5, 4, (12, 7), (1.0, 1.0), "test");
    let sides = embedded(kcca.as_ref(), held_out.pairs()).into_iter().zip(embedded(cca.as_ref(), held_out.pairs()));
    // The sign rule looks at coefficients here and at columns there, so a component may be turned, on both sides.
    let mut signs = [0.0; 7];
    for (found, wanted) in sides {
        for (at, (found, want)) in found.iter().zip(&wanted).enumerate() {
            let found = found * root;
            if signs[at % 7] == 0.0 {
                signs[at % 7] = (found * want).signum();
            }
            assert!((found * signs[at % 7] - want).abs() < 1e-5, "component {}: {found} {want}", at % 7);
        }
    }
}

#[test]
fn all_pairs_as_landmarks_but_one_come_close_to_the_exact_kernel() {
    let set = synthetic();
    let said = |landmarks: i64| {
        [
            ("bandwidth-factor", float(2.0)),
            ("kappa", float(0.1)),
            dims(4),
            ("landmarks", ParameterValue::Integer(landmarks)),
        ]
    };
    let (exact, near) = (fit("kcca", &said(0), set.pairs()), fit("kcca", &said(79), set.pairs()));
    assert!(exact.record().notes.is_empty(), "{:?}", exact.record());
    assert!(near.record().notes[0].contains("79 landmarks"), "{:?}", near.record());
    // Linear CCA of the feature maps shrinks by the root of what the exact form shrinks by.
    let [exact, near] = [&exact, &near].map(|it| values(it.as_ref(), "correlations"));
    assert!(exact.iter().zip(&near).all(|(exact, near)| *exact < *near && *near < 1.0), "{exact:?} {near:?}");
}

fn bits(tensors: &[NamedTensor]) -> Vec<(String, Vec<u64>)> {
    let of = |tensor: &NamedTensor| match &tensor.values {
        Values::F64(values) => values.iter().map(|value| value.to_bits()).collect(),
        _ => panic!("{} is not f64", tensor.name),
    };
    tensors.iter().map(|tensor| (tensor.name.clone(), of(tensor))).collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut stream = Stream::new(3, "threads", 0);
    let (n, wide, narrow) = (300, 150, 90);
    let image: Vec<f64> = (0..n * wide).map(|_| stream.normal()).collect();
    let text: Vec<f64> = (0..n * narrow).map(|at| 0.5 * image[at] + stream.normal()).collect();
    let rows: Vec<u32> = (0..300).collect();
    let labels = vec![0; n];
    for (pairs, method) in [(300, "cca"), (120, "cca"), (300, "cfa"), (300, "kcca")] {
        let selection = &rows[..pairs];
        let (images, texts) = (Rows::new(&image[..], wide, selection), Rows::new(&text[..], narrow, selection));
        let pairs = Pairs::new(images, texts, &labels[..pairs]);
        let said: Said<'_> = match method {
            "cca" => &[("ridge", float(0.1)), dims(20)],
            "cfa" => &[dims(20)],
            _ => &[("bandwidth-factor", float(1.0)), ("kappa", float(0.01)), dims(20)],
        };
        let found = [1, 2, 4].map(|threads| {
            gemm::set_threads(threads);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bits(&fit(method, said, pairs).tensors().unwrap()))
        });
        gemm::set_threads(1);
        assert!(found[0] == found[1] && found[1] == found[2], "{method}");
    }
}
