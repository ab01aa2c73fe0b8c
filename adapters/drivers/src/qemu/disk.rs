//! A machine's writable disk: a sparse file with an empty ext4 file system, made in milliseconds. Its size is the limit.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::helper::last_words;

/// The program that makes the file system. An ordinary user's `PATH` may lack its folder.
pub(super) fn formatter() -> Command {
    let mut command = Command::new("mkfs.ext4");
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
    command
}

/// Makes the disk at `path`, whole or not at all. Harmless if it is there. The formatter holds the machine's lock too: if
/// we die, nobody begins again before it has ended.
///
/// # Errors
/// The system's, or what the formatter said.
pub(super) fn make(path: &Path, bytes: u64, lock: Stdio) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let next = path.with_extension("next");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.set_len(bytes)?;
    drop(file);
    let options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    let output = formatter().args(["-q", "-F", "-m", "0", "-E", options]).arg(&next).stdin(lock).output()?;
    if !output.status.success() {
        return Err(io::Error::other(last_words(&output.stderr)));
    }
    fs::rename(&next, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Bytes of the host's disk it takes.
///
/// # Errors
/// The system's.
pub(super) fn used(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.blocks() * 512)
}
