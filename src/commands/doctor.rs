//! `doctor`: what this machine can do, and what would stand in the way.

use orchestrator_proto::{mirror::Mirror, room::free_bytes};
use retrieval::nn::gemm::SimdLevel;
use serde::Serialize;

use crate::{
    catalog,
    cli::Global,
    client::{Need, Session},
    exit::Outcome,
    home::Home,
    output,
};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    found: String,
}

/// Looks at this machine. Finds, never changes.
pub(super) async fn doctor(global: &Global) -> Outcome {
    let home = Home::resolve(global.home.clone())?;
    let mut findings = vec![
        Finding { what: "version", ok: true, found: catalog::code_line().to_owned() },
        compiler(),
        cpus(),
        Finding { what: "SIMD level", ok: true, found: SimdLevel::detect().name().to_owned() },
        cuda(),
        state_folder(&home),
        disk(&home),
        data_sets(global, &home),
    ];
    findings.push(coordinator(global, &home).await);
    findings.extend(mirror().await);
    if global.json {
        return findings.iter().try_for_each(output::json);
    }
    let rows =
        findings.into_iter().map(|f| vec![if f.ok { "ok" } else { "--" }.to_owned(), f.what.to_owned(), f.found]);
    output::table(&["", "what", "found"], rows.collect())
}

fn compiler() -> Finding {
    let found = catalog::code().compiler;
    Finding { what: "compiler", ok: !found.is_empty(), found }
}

fn cpus() -> Finding {
    let found = std::thread::available_parallelism()
        .map_or_else(|error| error.to_string(), |n| format!("{n} cores for this process"));
    Finding { what: "processor", ok: true, found }
}

fn cuda() -> Finding {
    let gpus = orchestrator_worker::found_gpus();
    let named: Vec<String> = gpus.iter().map(|gpu| format!("GPU {} {}", gpu.index, gpu.model)).collect();
    let named = named.join(", ");
    let built = cfg!(feature = "cuda");
    let found = match (built, gpus.is_empty()) {
        (true, false) => format!("CUDA build; {named}"),
        (true, true) => "CUDA build, but `nvidia-smi` tells of no GPU: attempts run on the CPU".to_owned(),
        (false, false) => format!("CPU build; to use {named}, build with `--features cuda`"),
        (false, true) => "CPU build, no NVIDIA GPU".to_owned(),
    };
    Finding { what: "CUDA", ok: built != gpus.is_empty(), found }
}

fn state_folder(home: &Home) -> Finding {
    let root = home.root();
    let (ok, found) = match std::fs::metadata(root) {
        Ok(data) if data.permissions().readonly() => (false, format!("{} is read-only", root.display())),
        Ok(data) if data.is_dir() => (true, root.display().to_string()),
        Ok(_) => (false, format!("{} is not a folder", root.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (true, format!("{} (made at first use)", root.display()))
        }
        Err(error) => (false, format!("{}: {error}", root.display())),
    };
    Finding { what: "state folder", ok, found }
}

fn disk(home: &Home) -> Finding {
    let existing = home.root().ancestors().find(|folder| folder.exists()).unwrap_or(home.root());
    match free_bytes(existing) {
        Ok(free) => Finding { what: "disk", ok: free > 1 << 30, found: format!("{} MiB free", free >> 20) },
        Err(error) => Finding { what: "disk", ok: false, found: error.to_string() },
    }
}

fn data_sets(global: &Global, home: &Home) -> Finding {
    let folders = home.data_folders(&global.data_folders);
    let catalog = catalog::build(&folders);
    let names: Vec<&str> = catalog.data_sets.iter().map(|set| set.key.as_str()).collect();
    // A set that is not installed is no fault of the machine; one that is there and unusable is told with the reason.
    let damaged: Vec<&str> = catalog.absent.iter().filter(|set| !set.missing).map(|set| set.reason.as_str()).collect();
    let found = format!("{}; looked in {}", names.join(", "), folders.listed());
    let told = if damaged.is_empty() { found } else { format!("{found}; not usable: {}", damaged.join("; ")) };
    Finding { what: "data sets", ok: !names.is_empty(), found: told }
}

async fn coordinator(global: &Global, home: &Home) -> Finding {
    let named = global.coordinator.is_some() || home.endpoint().exists();
    match Session::connect(global, Need::Live).await {
        Ok(session) => {
            session.close().await;
            Finding { what: "coordinator", ok: true, found: "reachable".to_owned() }
        }
        Err(_) if !named => {
            Finding { what: "coordinator", ok: true, found: "none at work here (`run` needs none)".to_owned() }
        }
        Err(_) => Finding { what: "coordinator", ok: false, found: "named, but not reachable".to_owned() },
    }
}

/// The mirror that a worker here would use, if one is named.
async fn mirror() -> Option<Finding> {
    let url = std::env::var("ORCHESTRATOR_MIRROR").ok()?;
    let reached = match Mirror::open(&url) {
        Ok(mirror) => mirror.check().await,
        Err(error) => Err(error),
    };
    let (ok, found) =
        reached.map_or_else(|error| (false, error.to_string()), |()| (true, format!("{url} is reachable")));
    Some(Finding { what: "mirror", ok, found })
}
