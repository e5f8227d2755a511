//! Which GPUs this machine has, as the driver's own tool tells it. None is no error: the worker then
//! offers its cores only.

use std::process::{Command, Stdio};

use orchestrator_proto::v1::Gpu;

/// Most GPUs that are taken from the tool's answer.
const MOST: usize = 64;

/// The GPUs that attempts of this build can use: none in a build without CUDA.
pub(crate) fn gpus() -> Vec<Gpu> {
    if !cfg!(feature = "cuda") {
        return Vec::new();
    }
    let answer = Command::new("nvidia-smi")
        .args(["--query-gpu=index,memory.total,name", "--format=csv,noheader,nounits"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match answer {
        Ok(answer) if answer.status.success() => parse(&String::from_utf8_lossy(&answer.stdout)),
        _ => Vec::new(),
    }
}

/// Reads lines like `0, 143771, NVIDIA H200` (MiB).
fn parse(text: &str) -> Vec<Gpu> {
    let line = |line: &str| {
        let mut fields = line.splitn(3, ',').map(str::trim);
        let index = fields.next()?.parse().ok()?;
        let memory_bytes = fields.next()?.parse::<u64>().ok()?.checked_mul(1 << 20)?;
        Some(Gpu { index, memory_bytes, model: fields.next()?.into() })
    };
    text.lines().filter_map(line).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tool_are_read_and_others_left_out() {
        let gpus = parse("0, 143771, NVIDIA H200\nNo devices were found\n1, 24564, NVIDIA A, B\n");
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0], Gpu { index: 0, model: "NVIDIA H200".into(), memory_bytes: 143_771 << 20 });
        assert_eq!((gpus[1].index, gpus[1].model.as_str()), (1, "NVIDIA A, B"));
    }
}
