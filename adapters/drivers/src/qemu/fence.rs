//! What of the host's files a QEMU can reach once its guest has taken it over: what it needs, and nothing of other people's.
//! By Landlock, which needs no privilege.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, path_beneath_rules,
};

/// What of Landlock is asked for; an older kernel gives what it has.
const VERSION: ABI = ABI::V5;

/// Where programs, their libraries and their data are.
const PROGRAMS: [&str; 9] =
    ["/bin", "/etc/ld.so.cache", "/etc/ld.so.preload", "/lib", "/lib64", "/nix/store", "/opt", "/proc/self", "/usr"];
/// What gives a guest the processor itself, and what a process without input reads.
const DEVICES: [&str; 2] = ["/dev/kvm", "/dev/null"];

/// From now on the current thread, and what becomes of it, can read programs and `reads`, and change what is in `folder`.
///
/// # Errors
/// The system's. Without Landlock there is no fence, and no error.
pub(super) fn close(folder: &Path, reads: &[PathBuf]) -> io::Result<()> {
    let close = || {
        let read = AccessFs::from_read(VERSION);
        Ruleset::default()
            .handle_access(AccessFs::from_all(VERSION))?
            .create()?
            .add_rules(path_beneath_rules(PROGRAMS, read))?
            .add_rules(path_beneath_rules(reads, read))?
            .add_rules(path_beneath_rules(DEVICES, AccessFs::from_all(VERSION)))?
            .add_rules(path_beneath_rules([folder], AccessFs::from_all(VERSION)))?
            .restrict_self()
    };
    close().map(drop).map_err(|e: landlock::RulesetError| io::Error::other(e))
}

/// Whether this kernel has what makes a fence.
pub(super) fn is_possible() -> bool {
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    strict.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn other_peoples_files_are_out_of_reach() -> io::Result<()> {
        if !is_possible() {
            eprintln!("skipped: this kernel has no Landlock");
            return Ok(());
        }
        let place = tempfile::tempdir()?;
        let (own, image, secret) = (place.path().join("own"), place.path().join("image"), place.path().join("secret"));
        fs::create_dir(&own)?;
        for path in [&image, &secret, &own.join("disk")] {
            fs::write(path, "x")?;
        }
        // A thread of its own is behind the fence, and ends there.
        let thread = std::thread::spawn(move || -> io::Result<()> {
            close(&own, std::slice::from_ref(&image))?;
            let refused =
                |result: io::Result<()>| result.expect_err("refused").kind() == io::ErrorKind::PermissionDenied;
            assert!(refused(fs::read(&secret).map(drop)));
            assert!(refused(fs::read("/etc/passwd").map(drop)));
            assert!(refused(fs::write(&image, "y")));
            assert!(refused(fs::write(own.with_file_name("new"), "y")));
            std::process::Command::new("true").stdin(std::process::Stdio::null()).status()?;
            fs::read(&image)?;
            fs::write(own.join("disk"), "y")?;
            fs::remove_file(own.join("disk"))
        });
        thread.join().expect("no panic")
    }
}
