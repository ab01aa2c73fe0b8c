//! This computer without some of its devices, as this test and what it starts see it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::tent::Tent;

/// Hides `/dev/NAME`, for each of the names, from this thread and the processes that it starts from here on. Only root can; false, and a word about it, for
/// others. What is left of `/dev` must live as long as they do.
pub fn without(names: &[&str]) -> Result<Option<Tent>> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can hide a device");
        return Ok(None);
    }
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).context("no mount namespace of our own")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let folder = Tent::pitch("sublet-e2e-dev-")?;
    for entry in fs::read_dir("/dev")? {
        let entry = entry?;
        if !names.iter().any(|name| entry.file_name() == *name) {
            carry_over(&entry.path(), &folder.path().join(entry.file_name()))?;
        }
    }
    mount(Some(folder.path()), "/dev", none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    Ok(Some(folder))
}

fn carry_over(from: &Path, to: &Path) -> Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return Ok(symlink(fs::read_link(from)?, to)?);
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
    } else if kind.is_char_device() || kind.is_block_device() || kind.is_file() {
        fs::File::create(to)?;
    } else {
        // Sockets and pipes of others.
        return Ok(());
    }
    let none = None::<&str>;
    mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("cannot carry {} over", from.display()))
}
