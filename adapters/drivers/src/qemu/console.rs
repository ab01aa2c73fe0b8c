//! A machine's console: what the guest prints, and what QEMU says, in a file that cannot fill the host's disk.
//!
//! A copy of our binary reads the pipe that is QEMU's standard output and error, for as long as QEMU lives. QEMU itself
//! could only write to a file without a limit.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::helper::HelperResult;

/// Name of the helper: `qemu-console FILE`, what to keep as standard input.
pub(crate) const CONSOLE: &str = "qemu-console";

/// Most bytes in the file; what was before is in `FILE.old`, as long again at most.
const MOST: u64 = 1 << 20;

/// The helper.
pub(crate) fn console_helper(args: &[OsString]) -> HelperResult {
    let [file] = args else { return Err(format!("usage: {CONSOLE} FILE")) };
    keep(&mut io::stdin().lock(), Path::new(file)).map_err(|e| format!("cannot keep the console: {e}"))
}

fn keep(from: &mut impl Read, path: &Path) -> io::Result<()> {
    let mut file = open(path)?;
    let mut length = file.metadata()?.len();
    let mut chunk = [0; 8192];
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if length + count as u64 > MOST {
            fs::rename(path, path.with_extension("old"))?;
            (file, length) = (open(path)?, 0);
        }
        // A full disk costs the console, not the machine: it must never block on us.
        if file.write_all(&chunk[..count]).is_ok() {
            length += count as u64;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_prints_without_end_keeps_its_last_words_and_little_more() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("console");
        let mut text = vec![b'x'; 5 << 20];
        text.extend_from_slice(b"the end");
        keep(&mut &text[..], &path)?;
        keep(&mut &b", and after a restart"[..], &path)?;
        assert!(fs::read(&path)?.ends_with(b"the end, and after a restart"));
        let kept: u64 =
            fs::read_dir(folder.path())?.map(|entry| Ok(entry?.metadata()?.len())).sum::<io::Result<u64>>()?;
        assert!(kept <= 2 * MOST, "{kept} bytes are kept");
        Ok(())
    }
}
