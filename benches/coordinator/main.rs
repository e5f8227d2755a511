//! What the coordinator costs: the real program in a process of its own, driven over gRPC.
//!
//! `cargo bench --bench coordinator -- [life-cycles|metric-points|true-runs|restart|scale] [REPETITIONS]`
//!
//! Without a name all but `scale`, which takes minutes, are run. One JSON line a figure, with the keys that peers are measured by
//! (`benches/README.md` says which ones, and how to run them in turn with this).

mod fleet;
mod life_cycles;
mod metric_points;
mod restart;
mod scale;
mod server;
mod true_runs;

use std::future::Future;

/// What one repetition found.
struct Sample {
    /// In the unit of the figure.
    value: f64,
    /// Processor time of the coordinator for each operation, in microseconds.
    cpu_us: f64,
}

/// What is measured.
struct Figure {
    bench: &'static str,
    metric: &'static str,
    unit: &'static str,
    /// Operations in a repetition.
    n: usize,
    workers: usize,
}

impl Figure {
    /// Repeats a measurement and prints its line.
    async fn repeat<F: Future<Output = Sample>>(&self, repetitions: usize, measure: impl Fn() -> F) {
        let (mut values, mut cpu) = (Vec::new(), Vec::new());
        for _ in 0..repetitions {
            let Sample { value, cpu_us } = measure().await;
            values.push(value);
            cpu.push(cpu_us);
        }
        let (least, median, most) = spread(values);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let line = serde_json::json!({
            "bench": self.bench, "metric": self.metric, "unit": self.unit, "n": self.n, "reps": repetitions,
            "median": median, "min": least, "max": most, "workers": self.workers,
            "coordinator_cpu_us_per_op": spread(cpu).1,
            "load1": load.split(' ').next(),
        });
        println!("{line}");
    }
}

/// Least, median and greatest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let named = |name: &str| words.iter().all(|word| word.parse::<usize>().is_ok()) || words.iter().any(|w| w == name);
    let repetitions = words.iter().find_map(|word| word.parse().ok()).unwrap_or(3_usize).max(1);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        if named("life-cycles") {
            life_cycles::measure(repetitions).await;
        }
        if named("metric-points") {
            metric_points::measure(repetitions).await;
        }
        if named("true-runs") {
            true_runs::measure(repetitions).await;
        }
        if named("restart") {
            restart::measure(repetitions).await;
        }
        if words.iter().any(|word| word == "scale") {
            scale::measure(repetitions).await;
        }
    });
}
