//! Who may import whom: reads the manifests of all crates and refuses a dependency that the layout of the
//! workspace does not foresee. Development dependencies are free: tests alone may do otherwise.

use std::{fs, path::Path};

/// Crates of the workspace and the crates of the workspace that each may import.
const CRATES: [(&str, &[&str]); 7] = [
    ("experiment-spec", &[]),
    ("retrieval", &["experiment-spec"]),
    ("orchestrator-proto", &["experiment-spec"]),
    ("orchestrator-coordinator", &["experiment-spec", "orchestrator-proto"]),
    ("orchestrator-worker", &["experiment-spec", "orchestrator-proto", "retrieval"]),
    ("orchestrator-dashboard", &["experiment-spec", "orchestrator-proto"]),
    (
        "orchestrator",
        &[
            "experiment-spec",
            "retrieval",
            "orchestrator-proto",
            "orchestrator-coordinator",
            "orchestrator-worker",
            "orchestrator-dashboard",
        ],
    ),
];

/// Crates from outside that only some of ours may import; a `*` at the end stands for any ending.
const OWNED: [(&str, &[&str]); 21] = [
    ("candle-*", &["retrieval"]),
    ("gemm*", &["retrieval"]),
    ("safetensors", &["retrieval"]),
    ("sqlx*", &["orchestrator-coordinator"]),
    ("rusqlite", &[]),
    ("prost*", &["orchestrator-proto"]),
    ("tonic-prost*", &["orchestrator-proto"]),
    ("tonic", &GRPC),
    ("tokio*", &GRPC),
    ("axum*", &["orchestrator-dashboard", "orchestrator"]),
    ("tower-http", &["orchestrator-dashboard", "orchestrator"]),
    ("hyper*", &["orchestrator-dashboard", "orchestrator"]),
    ("tokio-rustls", &["orchestrator"]),
    ("rcgen", &["orchestrator"]),
    ("object_store", &["orchestrator-proto"]),
    ("reqwest", &["orchestrator-proto"]),
    ("rustls", &["orchestrator-proto"]),
    ("maud", &["orchestrator-dashboard"]),
    ("clap*", &["orchestrator"]),
    ("saphyr*", &["experiment-spec"]),
    ("serde_yaml*", &["experiment-spec"]),
];

/// Everything but the vocabulary and the numeric crate.
const GRPC: [&str; 5] =
    ["orchestrator-proto", "orchestrator-coordinator", "orchestrator-worker", "orchestrator-dashboard", "orchestrator"];

/// What a manifest says of itself and its dependencies.
#[derive(Debug, Default, PartialEq)]
struct Manifest {
    name: String,
    /// Of the sections that end up in the program: normal, build and those of one platform.
    dependencies: Vec<String>,
    /// Dependencies given another name: not allowed, because the name hides whose crate it is.
    renamed: Vec<String>,
}

/// Reads the few lines of a manifest that matter here: one key a line, as `cargo` itself writes them.
fn read(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let mut section = String::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or("").trim()) {
        if let Some(header) = line.strip_prefix('[') {
            header.trim_end_matches(']').clone_into(&mut section);
            if let Some((section, name)) = section.rsplit_once("dependencies.") {
                add(&mut manifest, section, name, "");
            }
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim().trim_matches('"');
            if section == "package" && key == "name" {
                value.trim().trim_matches('"').clone_into(&mut manifest.name);
            } else if let Some(kind) = section.strip_suffix("dependencies") {
                let name = key.split('.').next().unwrap_or(key);
                add(&mut manifest, kind, name, if key.ends_with(".package") { "package" } else { value });
            } else if section.contains("dependencies.") && key == "package" {
                manifest.renamed.push(section.clone());
            }
        }
    }
    manifest
}

/// Adds a dependency of the section `kind` + "dependencies".
fn add(manifest: &mut Manifest, kind: &str, name: &str, value: &str) {
    if kind.ends_with("dev-") || kind.starts_with("workspace") {
        return;
    }
    manifest.dependencies.push(name.to_owned());
    if value.contains("package") {
        manifest.renamed.push(name.to_owned());
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// What a manifest may not import, in sentences.
fn forbidden(manifest: &Manifest) -> Vec<String> {
    let name = &manifest.name;
    let Some((_, allowed)) = CRATES.iter().find(|(own, _)| own == name) else {
        return vec![format!("{name} stands in no table: say in tests/imports.rs what it may import")];
    };
    let mut sentences: Vec<String> =
        manifest.renamed.iter().map(|dependency| format!("{name} renames its dependency {dependency}")).collect();
    for dependency in &manifest.dependencies {
        let ours = CRATES.iter().any(|(own, _)| own == dependency);
        if ours && !allowed.contains(&dependency.as_str()) {
            sentences.push(format!("{name} may not import {dependency}"));
        }
        for (pattern, owners) in OWNED {
            if matches(pattern, dependency) && !owners.contains(&name.as_str()) {
                sentences.push(format!("{name} may not import {dependency}: it belongs to {owners:?}"));
            }
        }
    }
    sentences
}

/// The manifests of all members of the workspace, the root's first.
fn manifests() -> Vec<Manifest> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |folder: &Path| fs::read_to_string(folder.join("Cargo.toml")).expect("every member has a manifest");
    let workspace = text(root);
    let members = workspace.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).expect("members").0;
    let members = members.split(',').map(|member| member.trim().trim_matches('"')).filter(|member| !member.is_empty());
    std::iter::once(read(&workspace)).chain(members.map(|member| read(&text(&root.join(member))))).collect()
}

#[test]
fn no_crate_imports_what_it_may_not() {
    let manifests = manifests();
    let sentences: Vec<String> = manifests.iter().flat_map(forbidden).collect();
    assert!(sentences.is_empty(), "{}", sentences.join("\n"));
    for (name, allowed) in CRATES {
        let found: Vec<&Manifest> = manifests.iter().filter(|manifest| manifest.name == name).collect();
        assert_eq!(found.len(), 1, "{name} is a member of the workspace");
        assert!(!found[0].dependencies.is_empty(), "{name}: its dependencies were read");
        assert!(allowed.iter().all(|other| CRATES.iter().any(|(own, _)| own == other)), "{name}: {allowed:?}");
    }
}

#[test]
fn forbidden_imports_are_found_however_they_are_written() {
    let of = |text: &str| forbidden(&read(&format!("[package]\nname = \"retrieval\"\n{text}")));
    for text in [
        "[dependencies]\ntokio = \"1\"",
        "[dependencies]\ntokio-stream.workspace = true",
        "[dependencies]\n\"tonic\" = { version = \"0.14\" } # for later",
        "[dependencies.sqlx]\nversion = \"0.9\"",
        "[build-dependencies]\nprost-build = \"0.14\"",
        "[target.'cfg(unix)'.dependencies]\nclap = \"4\"",
        "[target.'cfg(unix)'.dependencies.axum]\nversion = \"0.8\"",
        "[dependencies]\norchestrator-proto.workspace = true",
        "[dependencies]\nharmless = { package = \"tokio\", version = \"1\" }",
        "[dependencies.harmless]\npackage = \"tokio\"",
    ] {
        assert_eq!(of(text).len(), 1, "{text}: {:?}", of(text));
    }
    for text in [
        "[dependencies]\nexperiment-spec.workspace = true\ncandle-core.workspace = true",
        "[dev-dependencies]\ntokio = \"1\"",
        "[dev-dependencies.orchestrator-worker]\npath = \"../worker\"",
        "[workspace.dependencies]\ntokio = \"1\"",
        "[features]\ntokio = []",
    ] {
        assert_eq!(of(text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(forbidden(&read("[package]\nname = \"newcomer\"")).len(), 1);
}
