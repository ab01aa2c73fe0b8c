//! What of the host's files a QEMU can reach once its guest has taken it over: what it needs, and nothing of other people's.
//! By Landlock, which needs no privilege.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    path_beneath_rules,
};

use super::config::OWN;

/// What of Landlock is asked for; an older kernel gives what it has.
const VERSION: ABI = ABI::V5;

/// Where programs, their libraries and their data are.
const PROGRAMS: [&str; 9] =
    ["/bin", "/etc/ld.so.cache", "/etc/ld.so.preload", "/lib", "/lib64", "/nix/store", "/opt", "/proc/self", "/usr"];
/// What gives a guest the processor itself, and what a process without input reads.
const DEVICES: [&str; 2] = ["/dev/kvm", "/dev/null"];

/// From now on the current thread, and what becomes of it, can read programs and `reads`, and change what is in QEMU's own
/// folder within the machine's, `folder`: what else is there decides what is started next and whom we stop.
///
/// # Errors
/// The system's. Without Landlock there is no fence, and no error.
pub(super) fn close(folder: &Path, reads: &[PathBuf]) -> io::Result<()> {
    let close = || {
        let read = AccessFs::from_read(VERSION);
        // It listens and has a disk. With more it could put links and folders where we look for those.
        let own: BitFlags<_> = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::MakeSock;
        Ruleset::default()
            .handle_access(AccessFs::from_all(VERSION))?
            .create()?
            .add_rules(path_beneath_rules(PROGRAMS, read))?
            .add_rules(path_beneath_rules(reads, read))?
            .add_rules(path_beneath_rules(DEVICES, AccessFs::from_all(VERSION)))?
            .add_rules(path_beneath_rules([folder.join(OWN)], own))?
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
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn other_peoples_files_are_out_of_reach() -> io::Result<()> {
        if !is_possible() {
            eprintln!("skipped: this kernel has no Landlock");
            return Ok(());
        }
        let place = tempfile::tempdir()?;
        let [folder, image, secret] = ["machine", "image", "secret"].map(|name| place.path().join(name));
        let kept = ["spec.json", "run.json", "lock"].map(|name| folder.join(name));
        let own = folder.join(OWN);
        fs::create_dir_all(&own)?;
        for path in [&image, &secret, &own.join("disk")].into_iter().chain(&kept) {
            fs::write(path, "x")?;
        }
        // A thread of its own is behind the fence, and ends there.
        let thread = std::thread::spawn(move || -> io::Result<()> {
            close(&folder, std::slice::from_ref(&image))?;
            let refused =
                |result: io::Result<()>| result.expect_err("refused").kind() == io::ErrorKind::PermissionDenied;
            assert!(refused(fs::read(&secret).map(drop)));
            assert!(refused(fs::read("/etc/passwd").map(drop)));
            assert!(refused(fs::write(&image, "y")));
            for path in &kept {
                // Without emptying it, which is a right of its own.
                let opened = fs::File::options().write(true).open(path).map(drop);
                assert!(refused(opened), "{} is written", path.display());
                assert!(refused(fs::remove_file(path)), "{} is removed", path.display());
                assert!(refused(fs::rename(own.join("disk"), path)), "{} is replaced", path.display());
            }
            assert!(refused(fs::write(folder.join("new"), "y")));
            assert!(refused(fs::create_dir(own.join("new"))));
            assert!(refused(std::os::unix::fs::symlink(&secret, own.join("new"))));
            std::process::Command::new("true").stdin(std::process::Stdio::null()).status()?;
            fs::read(&image)?;
            UnixListener::bind(own.join("socket"))?;
            fs::File::options().read(true).write(true).open(own.join("disk"))?.write_all(b"y")
        });
        thread.join().expect("no panic")
    }
}
