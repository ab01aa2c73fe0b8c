//! Where the anvil binary is.

use std::path::{Path, PathBuf};

use super::AnvilError;

/// Finds anvil: the configured binary; else the npm platform package under any of `search`, the working directory and the
/// folders above it, or the folders above our own binary; else `anvil` in `PATH`.
///
/// # Errors
/// [`AnvilError::NotFound`], naming the places.
pub fn find_anvil(configured: Option<&Path>, search: &[PathBuf]) -> Result<PathBuf, AnvilError> {
    if let Some(binary) = configured {
        let looked = vec![binary.display().to_string()];
        return if binary.is_file() { Ok(binary.to_owned()) } else { Err(AnvilError::NotFound { looked }) };
    }
    let package = format!("node_modules/@foundry-rs/anvil-linux-{}/bin/anvil", npm_arch());
    let mut folders = search.to_vec();
    let beside = std::env::current_exe().ok().and_then(|binary| binary.parent().map(Path::to_owned));
    for start in [std::env::current_dir().ok(), beside].into_iter().flatten() {
        folders.extend(start.ancestors().map(Path::to_owned));
    }
    let mut looked = Vec::new();
    for folder in folders {
        let candidate = folder.join(&package);
        if candidate.is_file() {
            return Ok(candidate);
        }
        if looked.len() < 4 {
            looked.push(candidate.display().to_string());
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("anvil"))
        .find(|p| p.is_file())
        .ok_or(AnvilError::NotFound { looked })
}

/// npm's name of this machine's architecture.
fn npm_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
