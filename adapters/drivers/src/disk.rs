//! A machine's writable disk: a sparse file with an empty ext4 file system, made in milliseconds. Its size is the limit.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::helper::first_words;

/// Name and hash seed of every disk: the seed decides in which order a folder's files are listed, and a task that goes
/// by that order must find the same wherever it runs.
const IDENTITY: &str = "5ab1e7d1-5c00-4000-8000-000000000001";

/// The program that makes the file system. An ordinary user's `PATH` may lack its folder.
pub(crate) fn formatter() -> Command {
    let mut command = Command::new("mkfs.ext4");
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
    command
}

/// Makes the disk at `path`, whole or not at all; its root folder is `owner`'s, user and group alike. Harmless if it is
/// there. The formatter holds the machine's lock too: if we die, nobody begins again before it has ended.
///
/// # Errors
/// The system's, or what the formatter said.
pub(crate) fn make(path: &Path, bytes: u64, owner: u32, lock: Stdio) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let next = path.with_extension("next");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.set_len(bytes)?;
    drop(file);
    let options =
        format!("lazy_itable_init=1,lazy_journal_init=1,nodiscard,hash_seed={IDENTITY},root_owner={owner}:{owner}");
    let mut formatter = formatter();
    formatter.args(["-q", "-F", "-m", "0", "-U", IDENTITY, "-E", &options]).arg(&next);
    let output = formatter.stdin(lock).output()?;
    if !output.status.success() {
        return Err(io::Error::other(first_words(&output.stderr)));
    }
    fs::rename(&next, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Bytes of the host's disk it takes.
///
/// # Errors
/// The system's.
pub(crate) fn used(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn two_disks_list_their_files_in_the_same_order() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let seeds = ["one", "two"].map(|name| {
            let path = folder.path().join(name);
            make(&path, 16 << 20, 1000, Stdio::null())?;
            // The superblock is at 1024; in it, the name at 0x68 and the seed at 0xEC.
            let (mut name, mut seed) = ([0; 16], [0; 16]);
            let disk = File::open(&path)?;
            disk.read_exact_at(&mut name, 1024 + 0x68)?;
            disk.read_exact_at(&mut seed, 1024 + 0xEC)?;
            io::Result::Ok((name, seed))
        });
        let [one, two] = seeds;
        let (one, two) = (one?, two?);
        assert_eq!(one, two);
        assert_eq!(one.0, one.1);
        assert_ne!(one.1, [0; 16]);
        Ok(())
    }
}
