//! Time of one CM-GANs iteration (spec A.8) at the paper's sizes: image 4096, text 300, hidden 1024,
//! inter hidden 512, 20 classes, batch 64, K = 5, on 2 threads.
//!
//! `cargo bench -p retrieval --bench cm_gans_step -- [fast|plain|both] [ITERATIONS] [THREADS]`
//!
//! Prints the median and the fastest time of an iteration and the arithmetic rate they mean. The peer
//! and how to run the two in turn: `benches/peers/README.md`.

use std::time::Instant;

use candle_core::Device;
use retrieval::{
    methods::cm_gans::{
        fast::FastForm,
        form::{Batch, Form, Update, Watcher},
        init::initial_state,
        plain::PlainForm,
        settings::{Settings, Sizes},
    },
    nn::{
        gemm::{set_threads, simd_level},
        stream::Stream,
    },
};

const SIZES: Sizes = Sizes { image: 4096, text: 300, hidden: 1024, inter_hidden: 512, classes: 20 };
/// Products of an iteration as the fast form makes them, in units of 10^9 operations.
const FAST_GFLOP: f64 = 18.6;
/// The same for the plain form.
const PLAIN_GFLOP: f64 = 33.0;

struct Losses(f64);

impl Watcher<f32> for Losses {
    fn update(&mut self, update: Update<'_, f32>) {
        self.0 += update.loss;
    }
}

fn batch(iteration: u64, n: usize) -> Batch<f32> {
    let draw = |name: &str, columns: usize| {
        let mut stream = Stream::new(1, name, iteration);
        #[allow(clippy::cast_possible_truncation)]
        let features = (0..n * columns).map(|_| stream.uniform() as f32).collect();
        features
    };
    let mut labels = Stream::new(1, "labels", iteration);
    Batch {
        h_i: draw("image", SIZES.image),
        h_t: draw("text", SIZES.text),
        mismatched_h_i: draw("mismatched image", SIZES.image),
        mismatched_h_t: draw("mismatched text", SIZES.text),
        labels: (0..n).map(|_| u32::try_from(labels.below(SIZES.classes)).expect("a class")).collect(),
    }
}

fn time(name: &str, form: &mut dyn Form<f32>, batches: &[Batch<f32>], iterations: usize, gflop: f64) {
    let mut losses = Losses(0.0);
    let mut times = Vec::with_capacity(iterations);
    for index in 0..iterations + 2 {
        let start = Instant::now();
        form.iteration(&batches[index % batches.len()], 1e-3, &mut losses).expect("the sizes fit");
        if index >= 2 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    let (median, fastest) = (times[iterations / 2], times[0]);
    println!(
        "{name:5} ms: median {:.1} fastest {:.1}; GFLOP/s: {:.0} and {:.0}; sum of losses {:.6}",
        1e3 * median,
        1e3 * fastest,
        gflop / median,
        gflop / fastest,
        losses.0
    );
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let which = words.first().map_or("both", String::as_str);
    let number = |at: usize, default: usize| words.get(at).map_or(default, |word| word.parse().expect("a number"));
    let (iterations, threads) = (number(1, 15), number(2, 2));
    set_threads(threads);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("no pool has been made yet");
    let settings = Settings::paper();
    println!("{SIZES:?}, batch {}, {threads} threads, {}", settings.batch_size, simd_level().name());
    let state = initial_state::<f32>(&settings, SIZES, 1);
    let batches: Vec<Batch<f32>> = (0..4).map(|iteration| batch(iteration, settings.batch_size)).collect();
    if which != "plain" {
        let mut form = FastForm::new(&settings, SIZES, &state).expect("the state fits");
        time("fast", &mut form, &batches, iterations, FAST_GFLOP);
    }
    if which != "fast" {
        let mut form = PlainForm::new(&settings, SIZES, &state, &Device::Cpu).expect("the state fits");
        time("plain", &mut form, &batches, iterations.div_ceil(3), PLAIN_GFLOP);
    }
}
