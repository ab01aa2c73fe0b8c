//! The boot probe: boots the real kernel and initrd, which say so and turn the machine off. Nothing less is believed:
//! a `/dev/kvm` that opens, makes machines and starts processors may still run no kernel.
//!
//! A probe that passed is remembered in `ROOT/probe.json` until the host reboots or something it depended on changes, so
//! that a daemon that restarts finds its machines at once.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::FlockArg;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use sublet_base::{GiB, MiB, Vcpus};
use sublet_machine::{Capabilities, Clock, Isolation, Resources, Unusable};
use sublet_wire::guest::PROBE_MARKER;

use super::config::{self, Backend, Boot, Engine, MONITOR, OWN};
use super::limits::{self, Limits};
use super::monitor::{Monitor, Processors};
use super::start::{self, CONSOLE_FILE, Launch, Running};
use super::{QemuConfig, fence, tap};
use crate::cgroup::PARENT_LOCK;
use crate::folder::lock_file;
use crate::{disk, files};

/// How long the probe may take on the processor itself.
const KVM_DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take emulated, on a host that is busy with other things.
const TCG_DEADLINE: Duration = Duration::from_secs(120);

/// Where it is remembered.
const REMEMBERED: &str = "probe.json";

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) engine: Engine,
    pub(super) capabilities: Capabilities,
}

fn unusable(reason: impl Into<String>, remedy: impl Into<String>) -> Unusable {
    Unusable { reason: reason.into(), remedy: remedy.into() }
}

/// What a result holds for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Circumstances {
    boot: String,
    user: u32,
    /// Every file that matters; absent ones by path alone.
    files: Vec<(PathBuf, Option<Stamp>)>,
}

/// Inode, length, time of change and mode of a file.
type Stamp = (u64, u64, i64, u32);

impl Circumstances {
    fn of(config: &QemuConfig) -> io::Result<Self> {
        let about = |path: &Path| {
            let about = fs::metadata(path).ok();
            (path.to_owned(), about.map(|m| (m.ino(), m.len(), m.ctime(), m.mode())))
        };
        let paths =
            [config.qemu.as_path(), &config.kernel, &config.initrd, Path::new("/dev/kvm"), Path::new(tap::DEVICE)];
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self { boot, user: geteuid().as_raw(), files: paths.into_iter().map(about).collect() })
    }
}

/// [`probe`], unless it is known what that would find.
pub(super) fn remembered(config: &QemuConfig, group: &str) -> Result<Found, Unusable> {
    let path = config.root.join(REMEMBERED);
    let now = Circumstances::of(config).ok();
    let known = files::read_if_any(&path).ok().flatten();
    let known = known.and_then(|text| serde_json::from_slice::<(Circumstances, Found)>(&text).ok());
    if let Some((then, found)) = known
        && Some(&then) == now.as_ref()
    {
        return Ok(found);
    }
    let found = probe(config, group)?;
    if let Some(now) = now
        && let Ok(text) = serde_json::to_vec(&(now, &found))
        && let Err(e) = files::replace(&path, &text)
    {
        tracing::warn!(path = %path.display(), error = %e, "cannot remember the boot probe");
    }
    Ok(found)
}

/// Finds out by trying: on the processor if there is a `/dev/kvm`, else emulated.
fn probe(config: &QemuConfig, group: &str) -> Result<Found, Unusable> {
    tools(config)?;
    let mut notes = Vec::new();
    if !geteuid().is_root() {
        notes.push("limits on processor and memory are QEMU's own; a control group needs root".to_owned());
    }
    if !fence::is_possible() {
        notes
            .push("this kernel has no Landlock: a QEMU that its guest took over can read what its user may".to_owned());
    }
    let accelerated = if Path::new("/dev/kvm").exists() {
        boot(config, Engine::Kvm, KVM_DEADLINE, group).map_err(|e| format!("/dev/kvm is there but runs no guest: {e}"))
    } else {
        Err("there is no /dev/kvm".to_owned())
    };
    let (engine, network) = match accelerated {
        Ok(network) => (Engine::Kvm, network),
        Err(reason) => {
            notes.push(format!("machines are emulated, which is slow: {reason}"));
            emulated(config, group)?
        }
    };
    if network == Backend::Frames {
        notes.push(format!(
            "{} is closed to this user: a process carries each machine's network, which is slower and takes a processor's time",
            tap::DEVICE
        ));
    }
    let accelerated = engine == Engine::Kvm;
    Ok(Found {
        engine,
        capabilities: Capabilities { isolation: Isolation::VirtualMachine, pause: true, accelerated, notes },
    })
}

fn emulated(config: &QemuConfig, group: &str) -> Result<(Engine, Backend), Unusable> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let tsc_khz = config::tsc_khz(&cpuinfo)
        .ok_or_else(|| unusable("the speed of this processor's clock is not in /proc/cpuinfo", "use an x86-64 host"))?;
    let engine = Engine::Tcg { tsc_khz };
    let network = boot(config, engine, TCG_DEADLINE, group).map_err(|e| {
        let text = e.to_string();
        let remedy = match () {
            () if text.contains(start::NETWORK) => {
                "allow this user to open /dev/net/tun, or load the kernel module veth, or run the host as root"
            }
            () if text.contains(start::NAMESPACE) => {
                "allow user namespaces (user.max_user_namespaces), or run the host as root"
            }
            () => "check that qemu, kernel and initrd belong together",
        };
        unusable(format!("a test machine did not boot: {text}"), remedy)
    })?;
    Ok((engine, network))
}

fn tools(config: &QemuConfig) -> Result<(), Unusable> {
    let runs = |command: &mut Command| {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !runs(Command::new(&config.qemu).arg("--version")) {
        return Err(unusable(format!("{} does not run", config.qemu.display()), "install the package qemu-system-x86"));
    }
    if !runs(disk::formatter().arg("-V")) {
        return Err(unusable("mkfs.ext4 does not run", "install the package e2fsprogs"));
    }
    for (what, path) in [("kernel", &config.kernel), ("initrd", &config.initrd)] {
        if let Err(e) = File::open(path) {
            return Err(unusable(format!("the {what} {} cannot be read: {e}", path.display()), "build it: make build"));
        }
    }
    Ok(())
}

/// Boots a machine without disks to its end; what its network was.
fn boot(config: &QemuConfig, engine: Engine, deadline: Duration, group: &str) -> io::Result<Backend> {
    let folder = config.root.join("probe");
    files::private_folder(&folder)?;
    let lock = lock_file(&config.root.join("probe.lock"), FlockArg::LockExclusive)?;
    let (group, parent_lock) = (format!("{group}/probe"), config.root.join(PARENT_LOCK));
    let clear = || {
        Running::clear(&folder)?;
        if geteuid().is_root() {
            limits::remove(&group, &parent_lock)?;
        }
        files::remove_folder(&folder)
    };
    // What a probe that was killed left behind.
    clear()?;
    files::private_folder(&folder.join(OWN))?;
    let resources = Resources { vcpus: Vcpus(1), memory: MiB(256), disk: GiB(0), pids: 0 };
    let boot =
        Boot { engine, kernel: &config.kernel, initrd: &config.initrd, words: "sublet.mode=probe", clock: Clock::Host };
    let mut args = config::base(boot, "probe", resources.vcpus, resources.memory);
    args.extend(config::confinement(super::run_as(&group)));
    let limits = geteuid().is_root().then(|| Limits::of(&resources, engine, group.clone(), parent_lock.clone()));
    let reads = vec![config.kernel.clone(), config.initrd.clone()];
    let launch = Launch { folder: folder.clone(), program: config.qemu.clone(), args, limits, reads };
    let result = start::start(&config.helper, &launch, &lock).and_then(|running| {
        watch(&folder, &running, deadline)?;
        Ok(if running.is_carried() { Backend::Frames } else { Backend::Tap })
    });
    clear()?;
    result
}

fn watch(folder: &Path, running: &Running, deadline: Duration) -> io::Result<()> {
    let begun = Instant::now();
    while running.qemu.is_alive()? {
        let broken = Monitor::open(&folder.join(OWN).join(MONITOR)).and_then(|mut monitor| monitor.processors());
        if broken.is_ok_and(|processors| processors == Processors::Broken) {
            return Err(io::Error::other("QEMU reports an internal error"));
        }
        if begun.elapsed() > deadline {
            return Err(io::Error::other(format!("it said nothing within {} s", deadline.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    running.wait_console()?;
    let console = fs::read(folder.join(CONSOLE_FILE)).unwrap_or_default();
    if String::from_utf8_lossy(&console).contains(PROBE_MARKER) {
        return Ok(());
    }
    Err(io::Error::other(start::said(folder)))
}
