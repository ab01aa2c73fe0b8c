//! The host role: the drivers of this computer behind a private socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use serde::Serialize;
use sublet_base::{MachineId, Seconds};
use sublet_daemon::{CancellationToken, config, create_private_dir};
use sublet_drivers::Helper;
use sublet_drivers::container::{ContainerConfig, ContainerDriver};
use sublet_drivers::fake::FakeDriver;
use sublet_drivers::qemu::{QemuConfig, QemuDriver};
use sublet_host::{HostConfig, Images, PortError, Ports, StoredRecords};
use sublet_images::Artefacts;
use sublet_machine::{DiskImage, Driver, DriverError, ImageConfig, ImageRef};
use sublet_store::Store;

use crate::home::Home;

/// The host of a home when none is named.
pub(crate) const DEFAULT: &str = "host";
/// What a machine gets to shut down in when its network does.
const STOP_GRACE: Seconds = Seconds(5);
const QEMU: &str = "qemu-system-x86_64";

/// What may run machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Virtual machines and containers, as far as this computer can.
    Real,
    /// Nothing runs: for simulations.
    Simulated,
}

/// What the command line says about it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct HostFlags {
    pub(crate) socket: Option<PathBuf>,
}

/// A host that is about to run.
pub(crate) struct Host {
    config: HostConfig,
    ports: Ports,
}

/// The socket of a host: a path, or the name of a host in this home.
pub(crate) fn socket(home: &Home, host: &str) -> PathBuf {
    if host.contains('/') { PathBuf::from(host) } else { home.role(host).join("host.sock") }
}

/// The `[host]` section; folder and socket are in the home unless configured.
pub(crate) fn configuration(home: &Home, role: &str, file: Option<PathBuf>, flags: &HostFlags) -> Result<HostConfig> {
    let mut config: HostConfig = config::load("host", file.as_deref(), flags)?;
    let unset = HostConfig::default();
    if config.data == unset.data {
        config.data = home.role(role);
    }
    if config.socket == unset.socket {
        config.socket = socket(home, role);
    }
    Ok(config)
}

/// Takes up what the host left in its folder.
pub(crate) async fn start(config: HostConfig, kinds: Kinds) -> Result<Host> {
    create_private_dir(&config.data)?;
    let images: Arc<dyn Images> = match kinds {
        Kinds::Real => Arc::new(Artefacts::locate()?.store().context("cannot open the image cache")?),
        Kinds::Simulated => Arc::new(NoDisks),
    };
    let store = Store::open(&config.data.join("host.db")).await.context("cannot open the host's records")?;
    let drivers = drivers(&config.data, kinds)?;
    Ok(Host { config, ports: Ports { drivers, images, records: Arc::new(StoredRecords::new(&store)) } })
}

impl Host {
    /// Runs until `shutdown`; machines run on.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<()> {
        Ok(sublet_host::run(self.config, self.ports, shutdown).await?)
    }
}

/// The drivers over their folders in `data`; nothing is tried yet.
pub(crate) fn drivers(data: &Path, kinds: Kinds) -> Result<Vec<Arc<dyn Driver>>> {
    let folder = data.join("drivers");
    if kinds == Kinds::Simulated {
        return Ok(vec![Arc::new(FakeDriver::new(&folder.join("fake"))?)]);
    }
    let artefacts = Artefacts::locate()?;
    let binary = std::env::current_exe().context("cannot tell where this binary is")?;
    let container =
        ContainerConfig { root: folder.join("container"), helper: Helper::new(binary.clone()), init: artefacts.init() };
    let qemu = QemuConfig {
        root: folder.join("qemu"),
        helper: Helper::new(binary),
        qemu: PathBuf::from(QEMU),
        kernel: artefacts.vmlinuz(),
        initrd: artefacts.initrd(),
    };
    Ok(vec![Arc::new(ContainerDriver::new(container)?), Arc::new(QemuDriver::new(qemu)?)])
}

/// Stops every machine that a host left running in `data`; the next start goes on with them. Blocks.
pub(crate) fn stop_machines(data: &Path) -> Result<()> {
    each_machine(data, |driver, id| driver.stop(id, STOP_GRACE))?;
    // A start mounts what it needs again, so that a network that is down holds nothing of this computer but files.
    for mount in mounts_below(data)? {
        umount2(&mount, MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount {}", mount.display()))?;
    }
    Ok(())
}

/// Removes every machine that a host left in `data`. Blocks.
pub(crate) fn remove_machines(data: &Path) -> Result<()> {
    each_machine(data, |driver, id| driver.delete(id))
}

fn each_machine(data: &Path, act: impl Fn(&dyn Driver, &MachineId) -> Result<(), DriverError>) -> Result<()> {
    let root = data.join("drivers");
    for kinds in [Kinds::Real, Kinds::Simulated] {
        if !root.exists() || (kinds == Kinds::Simulated && !root.join("fake").exists()) {
            continue;
        }
        for driver in drivers(data, kinds)? {
            for id in driver
                .list()
                .with_context(|| format!("cannot list the {} machines in {}", driver.kind(), data.display()))?
            {
                act(driver.as_ref(), &id)?;
            }
        }
    }
    Ok(())
}

/// What is mounted below a folder, the innermost first.
fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read what is mounted")?;
    // The fifth field; spaces and the like are written as octal escapes.
    let plain = |text: &str| text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    let mut found: Vec<_> =
        table.lines().filter_map(|line| line.split(' ').nth(4)).map(plain).map(PathBuf::from).collect();
    found.retain(|mount| mount.starts_with(folder));
    found.reverse();
    Ok(found)
}

/// Images of simulated machines: never read.
struct NoDisks;

impl Images for NoDisks {
    fn prepare(&self, image: &ImageRef) -> Result<DiskImage, PortError> {
        Ok(DiskImage { digest: image.digest, rootfs: PathBuf::from("/dev/null"), config: ImageConfig::default() })
    }
}
