//! What only a virtual machine needs of its init: file systems, network, a group to limit processes, the power button.

use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use sublet_wire::guest::CLOCK_WORD;

use crate::machine::Machine;
use crate::{log, shutdown, sys};

/// The guest's address on the only link it has.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const CGROUPS: &str = "/sys/fs/cgroup";
/// The group every workload runs in.
pub(crate) const WORKLOAD_GROUP: &str = "/sys/fs/cgroup/workload";

/// Completes what stage 1 began. What fails is said on the console; the machine is worth more than a part of it.
pub(crate) fn prepare() {
    let hidden = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mounts = [
        ("devpts", "/dev/pts", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"),
        ("tmpfs", "/dev/shm", hidden, "mode=1777"),
        ("tmpfs", "/run", hidden, "mode=755"),
        ("cgroup2", CGROUPS, hidden | MsFlags::MS_NOEXEC, ""),
    ];
    for (kind, at, flags, options) in mounts {
        // A cgroup mount point cannot be made, it comes with sysfs.
        let _ = fs::create_dir_all(at);
        if let Err(e) = mount(Some(kind), at, Some(kind), flags, Some(options)) {
            log(&format!("cannot mount {at}: {e}"));
        }
    }
    for (link, target) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx")]
    {
        let at = PathBuf::from("/dev").join(link);
        if link == "ptmx" {
            let _ = fs::remove_file(&at);
        }
        let _ = std::os::unix::fs::symlink(target, at);
    }
    say("lo", sys::raise_interface("lo", None));
    say("eth0", sys::raise_interface("eth0", Some((ADDRESS, NETMASK))));
    say(
        "process limits",
        fs::write(format!("{CGROUPS}/cgroup.subtree_control"), "+pids")
            .and_then(|()| fs::create_dir_all(WORKLOAD_GROUP)),
    );
}

fn say(what: &str, result: std::io::Result<()>) {
    if let Err(e) = result {
        log(&format!("{what}: {e}"));
    }
}

/// Sets the clock to what the driver wants, if it wants any time but the host's.
///
/// # Errors
/// The system's.
pub(crate) fn set_clock() -> std::io::Result<()> {
    let command_line = fs::read_to_string("/proc/cmdline")?;
    let wanted = command_line.split_whitespace().find_map(|word| word.strip_prefix(CLOCK_WORD)?.parse().ok());
    wanted.map_or(Ok(()), sys::set_clock)
}

/// Shuts down when somebody presses the power button.
pub(crate) fn watch_power_button(machine: &Arc<Machine>) {
    let Ok(devices) = fs::read_dir("/dev/input") else { return };
    for device in devices.flatten() {
        if !device.file_name().as_encoded_bytes().starts_with(b"event") {
            continue;
        }
        let (path, machine) = (device.path(), Arc::clone(machine));
        let watch = move || {
            if power_key_pressed(&path).unwrap_or(false) {
                shutdown::run(&machine);
            }
        };
        say("power button", std::thread::Builder::new().name("power".into()).spawn(watch).map(drop));
    }
}

/// Waits for the power key on an input device; false if the device goes away.
fn power_key_pressed(path: &std::path::Path) -> std::io::Result<bool> {
    const KEY: u16 = 1;
    const POWER: u16 = 116;
    // struct input_event: 16 bytes of time, then type, code (u16) and value (i32).
    let mut event = [0; 24];
    let mut device = fs::File::open(path)?;
    loop {
        device.read_exact(&mut event)?;
        let (kind, code) = (u16::from_ne_bytes([event[16], event[17]]), u16::from_ne_bytes([event[18], event[19]]));
        if kind == KEY && code == POWER && event[20] == 1 {
            return Ok(true);
        }
    }
}
