//! Compiles the wire contract without an installed `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["submission", "fleet", "blobs"].map(|name| format!("orchestrator/v1/{name}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
