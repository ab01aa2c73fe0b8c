//! Compiles the gRPC interface, for packages that ask for it.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    #[cfg(feature = "grpc")]
    {
        let descriptors = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("host.bin");
        tonic_prost_build::configure()
            .file_descriptor_set_path(descriptors)
            .compile_protos(&["proto/sublet/host/v1/host.proto"], &["proto"])?;
    }
    Ok(())
}
