//! The project's own checks and builders: `cargo xtask COMMAND`.

mod guest;
mod images;
mod layers;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sublet's own checks and builders.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build what is missing of the images, the kernel and the initrd into the cache.
    Images(images::Options),
    /// Build the static init and the initrd into the cache.
    Guest,
    /// Check that dependencies between our packages point left only.
    Layers,
    /// Check what no compiler checks.
    Tidy,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Images(options) => images::run(&repository(), &options),
        Command::Guest => guest::run(&repository()),
        Command::Layers => layers::run(&repository()),
        Command::Tidy => tidy::run(&repository()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository this was built from.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}
