//! Compiles the wire contract without an installed `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["submission", "fleet", "blobs"].map(|name| format!("orchestrator/v1/{name}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    // `--json` prints these messages as they are: their field names are the documented JSON.
    tonic_prost_build::configure()
        .type_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .compile_fds(descriptors)?;
    Ok(())
}
