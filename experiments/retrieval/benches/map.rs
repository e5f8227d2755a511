//! Seconds for MAP of image->text on n x n pairs, as `map_peers.py` measures its peers: `XMediaNet`'s test
//! split has n = 4,000 in 200 classes, here with 1,024 columns, f32.
//!
//! `cargo bench --bench map -- --threads 2` prints the seconds. `-- --dump DIR` instead writes
//! similarities, labels and average precisions for `benches/peers/map_check.py`.

use std::{fs, path::Path, time::Instant};

use retrieval::{
    method::{Embedding, EmbeddingValues},
    metrics::map::{evaluate, image_to_text, of_similarities},
    nn::{
        gemm::{Mat, gemm, set_threads, simd_level},
        stream::Stream,
    },
};

struct Setting {
    pairs: usize,
    dims: usize,
    classes: usize,
    threads: usize,
    repeats: usize,
    dump: Option<String>,
}

fn setting() -> Setting {
    let mut setting = Setting { pairs: 4000, dims: 1024, classes: 200, threads: 2, repeats: 9, dump: None };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name} wants a value"));
        let number = || value.parse().unwrap_or_else(|_| panic!("{name} wants a number, not {value}"));
        match name.as_str() {
            "--pairs" => setting.pairs = number(),
            "--dims" => setting.dims = number(),
            "--classes" => setting.classes = number(),
            "--threads" => setting.threads = number(),
            "--repeats" => setting.repeats = number(),
            "--dump" => setting.dump = Some(value),
            _ => panic!("unknown argument {name}"),
        }
    }
    setting
}

/// Class centres times 0.15 plus noise, negative values cut off: the data of `map_peers.py`.
fn side(setting: &Setting, labels: &[u32], name: &str) -> Vec<f64> {
    let mut centres = Stream::new(0, "centres", 0);
    let centres: Vec<f64> = (0..setting.classes * setting.dims).map(|_| centres.normal()).collect();
    let mut noise = Stream::new(0, name, 0);
    let mut row = |label: u32| -> Vec<f64> {
        let centre = &centres[label as usize * setting.dims..][..setting.dims];
        centre.iter().map(|centre| (centre * 0.15 + noise.normal()).max(0.0)).collect()
    };
    labels.iter().flat_map(|&label| row(label)).collect()
}

#[allow(clippy::cast_possible_truncation)]
fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / f64::from(u32::try_from(values.len()).expect("few values"))
}

/// Processor seconds of this process so far, where the system tells (Linux, in hundredths).
fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

/// Prints the median and the fastest of the repeats.
fn time(what: &str, repeats: usize, mut run: impl FnMut() -> f64) {
    let (mut seconds, mut processor) = (Vec::new(), Vec::new());
    let mut value = 0.0;
    for _ in 0..repeats {
        let (start, used) = (Instant::now(), processor_seconds());
        value = run();
        seconds.push(start.elapsed().as_secs_f64());
        processor.push(processor_seconds().zip(used).map_or(f64::NAN, |(after, before)| after - before));
    }
    seconds.sort_by(f64::total_cmp);
    processor.sort_by(f64::total_cmp);
    let (median, fastest) = (seconds[repeats / 2], seconds[0]);
    println!(
        "{what:<34} {value:.6}  wall s: median {median:.4} fastest {fastest:.4}  cpu s: median {:.2} least {:.2}",
        processor[repeats / 2],
        processor[0]
    );
}

/// Similarities of the first queries, the labels and each query's average precision, raw little-endian.
fn dump(folder: &Path, setting: &Setting, labels: &[u32], image: &[f64], text: &[f64]) {
    fn bytes<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|&value| bytes(value)).collect()
    }
    let (n, dims) = (setting.pairs, setting.dims);
    let queries = n.min(500);
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.join(name), bytes).expect("the folder can be written");
    let of = |similarities| of_similarities(&similarities, labels).expect("whole rows of numbers");
    let unit = |values: &[f64]| -> Vec<f64> {
        let rows = values.chunks_exact(dims);
        rows.flat_map(|row| {
            let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            row.iter().map(move |v| v / norm)
        })
        .collect()
    };
    let (image, text) = (unit(&image[..queries * dims]), unit(text));
    let mut wide = vec![0.0f64; queries * n];
    gemm(&mut wide, false, 1.0, Mat::new(&image, queries, dims), Mat::new(&text, n, dims).t());
    let mut single = vec![0.0f32; queries * n];
    gemm(&mut single, false, 1.0, Mat::new(&narrow(&image), queries, dims), Mat::new(&narrow(&text), n, dims).t());
    // Heavily tied: rounded to 1/64.
    let tied: Vec<f32> = single.iter().map(|s| (s * 64.0).round() / 64.0).collect();
    fs::create_dir_all(folder).expect("the folder can be made");
    write("labels.u32", bytes(labels, u32::to_le_bytes));
    for (name, values) in [("f32", single), ("tied", tied)] {
        write(&format!("scores-{name}.f32"), bytes(&values, f32::to_le_bytes));
        write(&format!("precision-{name}.f64"), bytes(&of(EmbeddingValues::F32(values)), f64::to_le_bytes));
    }
    write("scores-f64.f64", bytes(&wide, f64::to_le_bytes));
    write("precision-f64.f64", bytes(&of(EmbeddingValues::F64(wide)), f64::to_le_bytes));
}

fn main() {
    let setting = setting();
    set_threads(setting.threads);
    let Setting { pairs: rows, dims, .. } = setting;
    let classes = u32::try_from(setting.classes).expect("few classes");
    let labels: Vec<u32> = (0..classes).cycle().take(rows).collect();
    let (image, text) = (side(&setting, &labels, "image"), side(&setting, &labels, "text"));
    if let Some(folder) = &setting.dump {
        dump(Path::new(folder), &setting, &labels, &image, &text);
        return;
    }
    println!("n {rows} dims {dims} threads {} simd {}", setting.threads, simd_level().name());
    let single = |values: &[f64]| Embedding { rows, dims, values: EmbeddingValues::F32(narrow(values)) };
    let (image32, text32) = (single(&image), single(&text));
    time("image->text f32, MAP", setting.repeats, || {
        mean(&image_to_text(&image32, &text32, &labels).expect("usable embeddings"))
    });
    time("all 12 scores f32, MAP of the first", setting.repeats.div_ceil(3), || {
        evaluate(&image32, &text32, &labels, setting.classes).expect("usable embeddings")[0].map
    });
    let double = |values| Embedding { rows, dims, values: EmbeddingValues::F64(values) };
    let (image, text) = (double(image), double(text));
    time("image->text f64, MAP", setting.repeats.div_ceil(2), || {
        mean(&image_to_text(&image, &text, &labels).expect("usable embeddings"))
    });
}
