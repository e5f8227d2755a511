//! Every form of the training step against the spec's traces: each loss, term, gradient, weight, moment,
//! running statistic and evaluation code of three iterations.

mod common;

use common::{forms, shared, trace::follow};

const FILES: [&str; 3] = ["paper.json", "released.json", "paper-anchor.json"];

#[test]
fn traces_are_met_to_1e_9_in_f64() {
    let Some(folder) = shared("traces_are_met_to_1e_9_in_f64", "spec/trace") else { return };
    for (name, construct) in forms::<f64>() {
        for file in FILES {
            let (worst, compared) = follow(&folder.join(file), 1e-9, construct);
            println!("{name}, {file}: {compared} numbers, largest error {worst:e}");
            assert!(compared > 3000, "{compared} numbers compared");
        }
    }
}

#[test]
fn traces_are_met_to_1e_4_in_f32() {
    let Some(folder) = shared("traces_are_met_to_1e_4_in_f32", "spec/trace") else { return };
    for (name, construct) in forms::<f32>() {
        for file in FILES {
            let (worst, compared) = follow(&folder.join(file), 1e-4, construct);
            println!("{name}, {file}: {compared} numbers, largest error {worst:e}");
            assert!(compared > 3000, "{compared} numbers compared");
        }
    }
}
