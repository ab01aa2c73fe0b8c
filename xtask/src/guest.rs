//! `cargo xtask guest`: our static init, and the initrd that carries it and the kernel's modules, into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sublet_drivers::initrd;
use sublet_images::Artefacts;

/// Named, so that the flags below reach no build script.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What separates flags in `CARGO_ENCODED_RUSTFLAGS`, so that a path may hold a space.
const SEPARATOR: &str = "\x1f";

/// Builds both; leaves files alone that would not change.
pub(crate) fn run(repository: &Path) -> Result<()> {
    let artefacts = Artefacts::locate()?;
    let modules = artefacts.modules();
    if !modules.is_dir() {
        bail!("{} is missing; run `cargo xtask images kernel` first", modules.display());
    }
    let built = build(repository)?;
    let init = artefacts.init();
    let content = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(&init).ok().as_ref() != Some(&content) {
        // A machine may be running the old one: give the new one another inode.
        let partial = init.with_extension("partial");
        fs::copy(&built, &partial)
            .and_then(|_| fs::rename(&partial, &init))
            .with_context(|| format!("cannot write {}", init.display()))?;
    }
    let initrd = artefacts.initrd();
    if fs::read(&initrd).ok() != Some(initrd::assemble(&init, &modules)?) {
        initrd::write(&init, &modules, &initrd)?;
    }
    let kib = |path: &Path| fs::metadata(path).map(|m| m.len() >> 10);
    eprintln!("init: {} KiB, initrd: {} KiB", kib(&init)?, kib(&initrd)?);
    Ok(())
}

fn build(repository: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", "sublet-guest-init", "--target", TARGET])
        .env("CARGO_ENCODED_RUSTFLAGS", flags(repository).join(SEPARATOR))
        .current_dir(repository)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the init does not build");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
    Ok(target.join(TARGET).join("release/sublet-guest-init"))
}

/// One file that needs no library of the machine it runs in, and says nothing about the computer it was built on.
fn flags(repository: &Path) -> Vec<String> {
    let home = |variable: &str, folder: &str| {
        std::env::var_os(variable).map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(folder)))
    };
    let places = [(home("CARGO_HOME", ".cargo"), "/cargo"), (Some(repository.to_owned()), "/sublet")];
    let remap =
        places.iter().filter_map(|(from, to)| Some(format!("--remap-path-prefix={}={to}", from.as_ref()?.display())));
    [String::from("-Ctarget-feature=+crt-static")].into_iter().chain(remap).collect()
}
