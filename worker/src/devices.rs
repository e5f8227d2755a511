//! Which GPUs this machine has, as the driver's own tool tells it. None is no error: the worker then
//! offers its cores only.

use std::{
    env,
    process::{Command, Stdio},
};

use orchestrator_proto::v1::Gpu;

/// Most GPUs that are taken from the tool's answer.
const MOST: usize = 64;

/// The GPUs that attempts of this build can be given: those of [`found_gpus`], none in a build without CUDA.
#[must_use]
pub fn usable_gpus() -> Vec<Gpu> {
    if cfg!(feature = "cuda") { found_gpus() } else { Vec::new() }
}

/// The GPUs that `nvidia-smi` tells of, and that this process is not barred from by `CUDA_VISIBLE_DEVICES`
/// (batch systems share out a machine so).
#[must_use]
pub fn found_gpus() -> Vec<Gpu> {
    let answer = Command::new("nvidia-smi")
        .args(["--query-gpu=index,uuid,memory.total,name", "--format=csv,noheader,nounits"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let visible = env::var_os("CUDA_VISIBLE_DEVICES").map(|list| list.to_string_lossy().into_owned());
    match answer {
        Ok(answer) if answer.status.success() => parse(&String::from_utf8_lossy(&answer.stdout), visible.as_deref()),
        _ => Vec::new(),
    }
}

/// Reads lines like `0, GPU-5a…, 143771, NVIDIA H200` (MiB).
fn parse(text: &str, visible: Option<&str>) -> Vec<Gpu> {
    let line = |line: &str| {
        let mut fields = line.splitn(4, ',').map(str::trim);
        let index = fields.next()?.parse().ok()?;
        let uuid = fields.next()?;
        let memory_bytes = fields.next()?.parse::<u64>().ok()?.checked_mul(1 << 20)?;
        let gpu = Gpu { index, memory_bytes, model: fields.next()?.into() };
        visible.is_none_or(|list| names(list, index, uuid)).then_some(gpu)
    };
    text.lines().filter_map(line).take(MOST).collect()
}

/// Whether a list of visible devices names this one: by its index, or by how its UUID begins.
fn names(list: &str, index: u32, uuid: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|name| name.parse() == Ok(index) || (name.starts_with("GPU-") && uuid.starts_with(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tool_are_read_and_others_left_out() {
        let gpus = parse("0, GPU-a, 143771, NVIDIA H200\nNo devices were found\n1, GPU-b, 24564, NVIDIA A, B\n", None);
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0], Gpu { index: 0, model: "NVIDIA H200".into(), memory_bytes: 143_771 << 20 });
        assert_eq!((gpus[1].index, gpus[1].model.as_str()), (1, "NVIDIA A, B"));
    }

    #[test]
    fn a_gpu_that_the_daemon_is_not_shown_is_not_offered() {
        let text = "0, GPU-5a1, 1, A\n1, GPU-5b2, 1, B\n11, GPU-7c3, 1, C\n";
        let shown = |list| parse(text, Some(list)).into_iter().map(|gpu| gpu.model).collect::<String>();
        assert_eq!(shown("1"), "B");
        assert_eq!(shown("11, 0"), "AC");
        assert_eq!(shown("GPU-5b,GPU-7c3"), "BC");
        assert_eq!([shown(""), shown("-1"), shown("NoDevFiles")], ["", "", ""]);
    }
}
