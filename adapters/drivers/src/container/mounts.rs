//! Mounts: the image shared by the machines that run it, and what one machine adds in its own mount namespace.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::helper::{Helper, HelperResult, first_words};

/// Name of the helper that lends its user namespace: it makes one, says so, and waits for its input to end.
pub(crate) const LEND_IDS: &str = "userns-lend";

/// Whether something is mounted at `path`.
pub(super) fn is_mounted(path: &Path) -> io::Result<bool> {
    let wanted = path.as_os_str().to_string_lossy().replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011");
    let info = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(info.lines().any(|line| line.split(' ').nth(4) == Some(&wanted)))
}

/// Mounts a file through a loop device that disappears with the mount. The lock stays taken until it is mounted, even if
/// this process dies meanwhile.
pub(super) fn mount_file(file: &Path, kind: &str, options: &str, at: &Path, lock: Stdio) -> io::Result<()> {
    let output = Command::new("mount")
        .args(["-n", "-t", kind, "-o", &format!("loop,{options}")])
        .arg(file)
        .arg(at)
        .stdin(lock)
        .output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other(first_words(&output.stderr))) }
}

/// Mounts a small tmpfs: for what a guest writes on the host.
pub(super) fn mount_tmpfs(at: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options))?)
}

/// Takes a mount away as soon as nothing uses it. Harmless if nothing is mounted there.
pub(super) fn unmount(at: &Path) -> io::Result<()> {
    match umount2(at, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Makes `at` show what is at `from`.
pub(super) fn bind(from: &Path, at: &Path) -> io::Result<()> {
    Ok(mount(Some(from), at, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

/// A user namespace in which ids 0 to 65535 are `first` and following outside.
pub(super) fn lend_ids(helper: &Helper, first: u32) -> io::Result<File> {
    let mut lender = helper.command(LEND_IDS).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let hold = lender.stdin.take();
    let taken = (|| {
        let mut said = [0];
        lender.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?.read_exact(&mut said)?;
        let map = format!("0 {first} {}", super::config::ID_COUNT);
        fs::write(format!("/proc/{}/uid_map", lender.id()), &map)?;
        fs::write(format!("/proc/{}/gid_map", lender.id()), &map)?;
        File::open(format!("/proc/{}/ns/user", lender.id()))
    })();
    drop(hold);
    lender.wait()?;
    taken
}

/// The lender's side of [`lend_ids`].
pub(crate) fn lend_ids_helper() -> HelperResult {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)
        .map_err(|e| format!("cannot make a user namespace: {e}"))?;
    let lend = || {
        io::stdout().write_all(b"+")?;
        io::stdout().flush()?;
        io::stdin().read_to_end(&mut Vec::new())
    };
    lend().map(drop).map_err(|e| format!("cannot lend a user namespace: {e}"))
}

/// Shows the mount at `from` at `at` too, with owners shifted into `ids`.
pub(super) fn bind_shifted(from: &Path, at: &Path, ids: &File) -> io::Result<()> {
    let tree = clone_tree(from)?;
    shift(&tree, ids)?;
    attach(&tree, at)
}

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_encoded_bytes())?)
}

#[allow(unsafe_code)]
fn clone_tree(from: &Path) -> io::Result<OwnedFd> {
    let path = c_string(from)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a C string that outlives the call, and a descriptor that is returned is ours alone.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags))?;
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?))
    }
}

#[allow(unsafe_code)]
fn shift(tree: &OwnedFd, ids: &File) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(ids.as_raw_fd()).map_err(io::Error::other)?,
    };
    let size = size_of::<libc::mount_attr>();
    // SAFETY: both descriptors are open, the path is empty, and the structure and its size agree.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size,
        )
    };
    Errno::result(done)?;
    Ok(())
}

#[allow(unsafe_code)]
fn attach(tree: &OwnedFd, at: &Path) -> io::Result<()> {
    let path = c_string(at)?;
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
    // SAFETY: the descriptor is open and both paths are C strings that outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), c"".as_ptr(), libc::AT_FDCWD, path.as_ptr(), flags)
    };
    Errno::result(done)?;
    Ok(())
}
