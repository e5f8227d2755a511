//! The fast form at every SIMD level that this processor offers. A binary of its own: the level is a
//! setting of the whole process.

mod common;

use common::{forms, record, shared, trace::follow};
use retrieval::{
    methods::cm_gans::{
        fast::FastForm,
        form::{Batch, Form},
        init::initial_state,
        settings::{Settings, Sizes},
        state::State,
    },
    nn::{
        gemm::{SimdLevel, force_simd_level},
        stream::Stream,
    },
};

const SIZES: Sizes = Sizes { image: 90, text: 33, hidden: 140, inter_hidden: 70, classes: 4 };

fn batch(n: usize) -> Batch<f32> {
    let draw = |name: &str, columns: usize| {
        let mut stream = Stream::new(8, name, 0);
        #[allow(clippy::cast_possible_truncation)]
        let features = (0..n * columns).map(|_| stream.uniform() as f32).collect();
        features
    };
    Batch {
        h_i: draw("image", SIZES.image),
        h_t: draw("text", SIZES.text),
        mismatched_h_i: draw("mismatched image", SIZES.image),
        mismatched_h_t: draw("mismatched text", SIZES.text),
        labels: (0..n).map(|item| u32::try_from(item % SIZES.classes).unwrap()).collect(),
    }
}

fn run(settings: &Settings) -> (Vec<f64>, State<f32>) {
    let mut form = FastForm::new(settings, SIZES, &initial_state(settings, SIZES, 2)).unwrap();
    let recorder = record(&mut form, &batch(settings.batch_size), 1e-3);
    (recorder.updates.iter().map(|update| update.loss).collect(), form.state().unwrap())
}

#[test]
fn every_level_repeats_itself_and_follows_the_traces() {
    let settings = Settings { batch_size: 24, generator_steps: 1, ..Settings::paper() };
    let folder = shared("every_level_repeats_itself_and_follows_the_traces", "spec/trace");
    let mut states = Vec::new();
    let mut first_losses: Option<Vec<f64>> = None;
    for level in [SimdLevel::Scalar, SimdLevel::Avx2, SimdLevel::Avx512] {
        if level > SimdLevel::detect() {
            println!("skipped: {}: this processor does not offer it", level.name());
            continue;
        }
        force_simd_level(level).unwrap();
        let (losses, state) = run(&settings);
        let again = run(&settings);
        assert!(again.0 == losses && again.1 == state, "{}", level.name());
        let wanted = first_losses.get_or_insert_with(|| losses.clone());
        for (got, want) in losses.iter().zip(&*wanted) {
            assert!((got - want).abs() < 1e-4 * want.abs(), "{}: {got} {want}", level.name());
        }
        if let Some(folder) = &folder {
            for (name, construct) in forms::<f64>() {
                let (worst, compared) = follow(&folder.join("paper.json"), 1e-9, construct);
                println!("{}, {name}: {compared} numbers, largest error {worst:e}", level.name());
            }
        }
        states.push((level, state));
    }
    // Only the scalar kernels round products by themselves; the vector kernels happen to sum alike.
    if let [(SimdLevel::Scalar, scalar), (level, vector), ..] = &states[..] {
        assert!(scalar != vector, "{} gives the scalar bits: is it in force?", level.name());
    }
}
