//! The boot probe: a container that holds nothing but our init is started, spoken to and stopped.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sublet_base::{Digest, GiB, MachineId, MiB, Seconds, Vcpus};
use sublet_machine::{
    Capabilities, Clock, DiskImage, Driver, ImageConfig, Isolation, MachineSpec, Observed, Resources, Unusable,
};
use sublet_wire::guest::{FromGuest, ToGuest, read_frame, write_frame};

use super::{ContainerConfig, ContainerDriver};
use crate::cgroup::{Hierarchies, until};
use crate::{files, guest};

/// How long the probe's guest may take to report, and to stop.
const DEADLINE: Duration = Duration::from_secs(10);

/// An empty folder as erofs: `mkfs.erofs -T0 --all-root -U 00000000-0000-0000-0000-000000000000 empty.erofs FOLDER`.
const EMPTY: &[u8] = include_bytes!("empty.erofs");

fn unusable(reason: impl Into<String>, remedy: &str) -> Unusable {
    Unusable { reason: reason.into(), remedy: remedy.to_owned() }
}

/// Finds out by trying.
pub(super) fn probe(config: &ContainerConfig) -> Result<Capabilities, Unusable> {
    if !nix::unistd::geteuid().is_root() {
        return Err(unusable(
            "containers need root, to mount images and set limits",
            "run the host as root, or use qemu",
        ));
    }
    for (tool, package) in [("mount", "mount"), ("mkfs.ext4", "e2fsprogs")] {
        let found =
            Command::new(tool).arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return Err(unusable(format!("`{tool}` is not installed"), &format!("install the package {package}")));
        }
    }
    let hierarchies =
        Hierarchies::find().map_err(|e| unusable(format!("cannot read the mounts: {e}"), "mount /proc"))?;
    if let Some(controller) = hierarchies.missing() {
        let reason = format!("the cgroup controller `{controller}` is missing, so limits would not hold");
        return Err(unusable(reason, "enable it in the kernel or the enclosing container"));
    }
    if !config.init.is_file() {
        return Err(unusable(format!("there is no init at {}", config.init.display()), "build it: make build"));
    }
    boot(config).map_err(|e| {
        unusable(
            format!("a test container failed: {e}"),
            "containers need Linux 5.19 with overlayfs, erofs and loop devices",
        )
    })?;
    let mut notes = vec!["machines share the host's kernel".to_owned()];
    if !hierarchies.counts_swap() {
        notes.push("swap is not counted into a machine's memory".to_owned());
    }
    Ok(Capabilities { isolation: Isolation::Namespaces, pause: true, accelerated: true, notes })
}

/// In a folder of its own, so that the probe's machine is never listed among the others.
fn boot(config: &ContainerConfig) -> Result<(), Box<dyn std::error::Error>> {
    let root = config.root.join("probe");
    let driver = ContainerDriver::new(ContainerConfig { root: root.clone(), ..config.clone() })?;
    let id: MachineId = "probe".parse()?;
    driver.delete(&id)?;
    let rootfs = root.join("empty.erofs");
    fs::write(&rootfs, EMPTY)?;
    let resources = Resources { vcpus: Vcpus(1), memory: MiB(64), disk: GiB(1), pids: 32 };
    let image = DiskImage { digest: Digest([0; 32]), rootfs, config: ImageConfig::default() };
    let hostname = id.to_string();
    let ran = run(&driver, &MachineSpec { id: id.clone(), resources, image, hostname, clock: Clock::Host });
    driver.delete(&id)?;
    files::remove_folder(&root)?;
    ran
}

fn run(driver: &ContainerDriver, spec: &MachineSpec) -> Result<(), Box<dyn std::error::Error>> {
    let prepared = driver.create(spec)?;
    driver.start(&spec.id)?;
    let mut channel = None;
    until(DEADLINE, "its init does not answer", || {
        channel = guest::connect(&prepared.guest_channel).ok();
        Ok(channel.is_some())
    })
    .map_err(|e| format!("{e}; its console says: {}", console(&prepared.console)))?;
    let mut channel = channel.ok_or("no channel")?;
    channel.set_read_timeout(Some(DEADLINE))?;
    let FromGuest::Hello { .. } = read_frame(&mut channel)? else { return Err("its init speaks out of turn".into()) };
    write_frame(&mut channel, &ToGuest::Shutdown)?;
    until(DEADLINE, "it does not shut down", || {
        driver.observe(&spec.id).map(|seen| seen == Observed::Stopped).map_err(io::Error::other)
    })?;
    driver.stop(&spec.id, Seconds(0))?;
    Ok(())
}

fn console(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    crate::helper::last_words(&text)
}
