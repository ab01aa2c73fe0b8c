//! Stage 1, in the initrd: load the drivers, find the disks, put the machine's root together and move into it.
//!
//! ```text
//! disk "rootfs"  erofs, read-only, shared     ─┐
//! disk "data"    ext4, this machine's          ├─ overlay ──▶ /
//! ```
//! With `sublet.mode=probe` on the kernel command line it says so and turns the machine off: the host's boot probe.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use sublet_wire::guest::PROBE_MARKER;

use crate::{log, sys};

/// Modules to load, one path a line, in an order that satisfies their dependencies.
const MODULES: &str = "/modules.list";
/// How long a disk may take to appear.
const DISK_DEADLINE: Duration = Duration::from_secs(30);

/// Runs stage 1. On success it does not return: `stage2` is the argument of the process it becomes.
pub(crate) fn run(stage2: &str) -> ExitCode {
    let reason = match boot(stage2) {
        Ok(never) => match never {},
        Err(reason) => reason,
    };
    log(&format!("cannot boot: {reason}"));
    sys::power_off();
    ExitCode::FAILURE
}

fn boot(stage2: &str) -> Result<std::convert::Infallible, String> {
    for (kind, at) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        attach(kind, at, kind, MsFlags::MS_NOSUID, "")?;
    }
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if command_line.split_whitespace().any(|word| word == "sublet.mode=probe") {
        log(PROBE_MARKER);
        sys::power_off();
        return Err("this machine does not turn off".to_owned());
    }
    load_modules();
    let rootfs = disk("rootfs")?;
    let data = disk("data")?;
    attach(text(&rootfs)?, "/lower", "erofs", MsFlags::MS_RDONLY, "")?;
    attach(text(&data)?, "/data", "ext4", MsFlags::MS_NOATIME, "")?;
    for folder in ["/data/upper", "/data/work"] {
        fs::create_dir_all(folder).map_err(|e| format!("cannot make {folder}: {e}"))?;
    }
    let layers = "lowerdir=/lower,upperdir=/data/upper,workdir=/data/work";
    attach("overlay", "/newroot", "overlay", MsFlags::MS_NOATIME, layers)?;
    switch_root()?;
    // The link still leads to this program, although no path does any more.
    let error = Command::new("/proc/self/exe").arg0("sublet-init").arg(stage2).env_clear().exec();
    Err(format!("cannot start stage 2: {error}"))
}

fn load_modules() {
    let list = fs::read_to_string(MODULES).unwrap_or_default();
    for path in list.lines() {
        // Some machine types lack the bus of some driver; what is truly missing shows when its disk does not appear.
        if let Err(e) = File::open(path).and_then(|file| sys::load_module(&file)) {
            log(&format!("module {path}: {e}"));
        }
    }
}

/// The block device with this serial number; waits for it to appear.
fn disk(serial: &str) -> Result<PathBuf, String> {
    let begun = Instant::now();
    loop {
        if let Some(found) = find_disk(serial).map_err(|e| format!("cannot list disks: {e}"))? {
            return Ok(found);
        }
        if begun.elapsed() > DISK_DEADLINE {
            return Err(format!("no disk {serial:?} appeared"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn find_disk(serial: &str) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        let is = fs::read_to_string(entry.path().join("serial")).is_ok_and(|text| text.trim() == serial);
        let device = Path::new("/dev").join(entry.file_name());
        if is && device.exists() {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

/// Makes `/newroot` the root and frees what the initrd holds.
fn switch_root() -> Result<(), String> {
    for folder in ["dev", "proc", "sys"] {
        let to = format!("/newroot/{folder}");
        fs::create_dir_all(&to).map_err(|e| format!("cannot make {to}: {e}"))?;
        moved(&format!("/{folder}"), &to)?;
    }
    // Memory the machine gets back.
    let _ = fs::remove_dir_all("/lib");
    std::env::set_current_dir("/newroot").map_err(|e| format!("cannot enter the new root: {e}"))?;
    moved(".", "/")?;
    std::os::unix::fs::chroot(".")
        .and_then(|()| std::env::set_current_dir("/"))
        .map_err(|e| format!("cannot change root: {e}"))
}

fn moved(from: &str, to: &str) -> Result<(), String> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .map_err(|e| format!("cannot move {from} to {to}: {e}"))
}

fn attach(what: &str, at: &str, kind: &str, flags: MsFlags, options: &str) -> Result<(), String> {
    fs::create_dir_all(at).map_err(|e| format!("cannot make {at}: {e}"))?;
    mount(Some(what), at, Some(kind), flags, Some(options)).map_err(|e| format!("cannot mount {what} on {at}: {e}"))
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not text", path.display()))
}
