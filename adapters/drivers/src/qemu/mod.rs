//! Virtual machines on QEMU: on the processor where the boot probe passes there, else emulated.
//!
//! ```text
//! ROOT/machines/ID/  spec.json  disk.img (ext4, the machine's limit)  lock
//!                    run.json (its processes)  qmp.sock  guest.sock  console
//! ```
//! Each QEMU lives in a network namespace of its own, with one interface to its guest and no way out; as root in a control
//! group and as a user that owns nothing, as an ordinary user in a user namespace. It outlives the daemon; a new driver
//! finds it by `run.json` and never trusts a bare process id.

pub(crate) mod carrier;
pub(crate) mod console;
mod disk;
mod flags;
mod interface;
mod limits;
mod monitor;
mod probe;
mod process;
pub(crate) mod run;
mod tap;
mod veth;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use sublet_base::{MachineId, Seconds, keccak256};
use sublet_machine::{
    Capabilities, Driver, DriverError, DriverKind, MachineSpec, MachineStats, Observed, Prepared, Unusable,
};

use crate::helper::Helper;
use crate::{files, netns};
use flags::{Boot, CHANNEL, DISK, MONITOR};
use limits::Limits;
use monitor::{Monitor, Processors};
use probe::Found;
use process::Hold;
use run::{CONSOLE_FILE, Launch, Running};

/// Least memory in which the kernel and our init boot.
const LEAST_MEMORY_MIB: u32 = 96;

/// What the driver needs to know.
#[derive(Clone, Debug)]
pub struct QemuConfig {
    /// Its own folder.
    pub root: PathBuf,
    /// Our binary.
    pub helper: Helper,
    /// `qemu-system-x86_64`.
    pub qemu: PathBuf,
    /// The kernel every machine boots (`vmlinuz`).
    pub kernel: PathBuf,
    /// The initrd that goes with it: see [`crate::initrd`].
    pub initrd: PathBuf,
}

/// Machines on QEMU.
#[derive(Debug)]
pub struct QemuDriver {
    config: QemuConfig,
    /// Keeps drivers with different folders, and machines of one name in them, apart.
    instance: String,
    probed: Mutex<Option<Result<Found, Unusable>>>,
}

type Lock = Flock<File>;

impl QemuDriver {
    /// Machines in `config.root`. Nothing is tried yet: see [`Driver::probe`].
    ///
    /// # Errors
    /// The system's, if the folder cannot be made.
    pub fn new(config: QemuConfig) -> io::Result<Self> {
        files::private_folder(&config.root)?;
        let root = fs::canonicalize(&config.root)?;
        let (kernel, initrd) = (std::path::absolute(&config.kernel)?, std::path::absolute(&config.initrd)?);
        let instance = format!("{:x}", keccak256(root.as_os_str().as_encoded_bytes()))[..8].to_owned();
        Ok(Self { config: QemuConfig { root, kernel, initrd, ..config }, instance, probed: Mutex::new(None) })
    }

    /// The flags QEMU is started with for a machine, without those for its network: for people who want to run it by
    /// hand, and for the benchmark that does.
    ///
    /// # Errors
    /// As [`Driver::probe`].
    pub fn flags(&self, spec: &MachineSpec) -> Result<Vec<String>, Unusable> {
        let found = self.found()?;
        let boot = Boot { engine: found.engine, kernel: &self.config.kernel, initrd: &self.config.initrd, words: "" };
        let mut args = flags::base(boot, spec.id.as_str(), spec.resources.vcpus, spec.resources.memory);
        args.extend(flags::devices(&spec.image.rootfs));
        Ok(args)
    }

    fn found(&self) -> Result<Found, Unusable> {
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        probed.get_or_insert_with(|| probe::remembered(&self.config, &self.groups())).clone()
    }

    fn folder(&self, id: &MachineId) -> PathBuf {
        self.config.root.join("machines").join(id.as_str())
    }

    fn groups(&self) -> String {
        format!("sublet-{}", self.instance)
    }

    fn group(&self, id: &MachineId) -> String {
        format!("{}/{id}", self.groups())
    }

    /// One operation at a time on a machine, also across processes. The helper inherits it.
    fn lock(&self, id: &MachineId) -> Result<Lock, DriverError> {
        let path = self.folder(id).join("lock");
        let file = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(DriverError::NotFound(id.clone())),
            file => file.map_err(failed(id, "lock"))?,
        };
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failed(id, "lock")(e.into()))
    }

    fn monitor(&self, id: &MachineId) -> io::Result<Monitor> {
        Monitor::open(&self.folder(id).join(MONITOR))
    }

    fn state(&self, id: &MachineId) -> io::Result<Observed> {
        let folder = self.folder(id);
        if !folder.is_dir() {
            return Ok(Observed::Absent);
        }
        let Some(running) = Running::load(&folder)? else { return Ok(Observed::Stopped) };
        if !running.qemu.is_alive()? {
            return Ok(Observed::Stopped);
        }
        match self.monitor(id).and_then(|mut monitor| monitor.processors()) {
            Ok(Processors::Run) => Ok(Observed::Running),
            Ok(Processors::Halted | Processors::Broken) => Ok(Observed::Paused),
            // It may have ended while it was asked.
            Err(_) if !running.qemu.is_alive()? => Ok(Observed::Stopped),
            Err(e) => Err(e),
        }
    }

    /// The machine's processes, if its state is one of `allowed`.
    fn expect(&self, id: &MachineId, allowed: &[Observed], operation: &'static str) -> Result<Running, DriverError> {
        let observed = self.observe(id)?;
        let wrong = || DriverError::WrongState { id: id.clone(), observed, operation };
        if observed == Observed::Absent {
            return Err(DriverError::NotFound(id.clone()));
        }
        if !allowed.contains(&observed) {
            return Err(wrong());
        }
        Running::load(&self.folder(id)).map_err(failed(id, operation))?.ok_or_else(wrong)
    }

    fn spec(&self, id: &MachineId) -> io::Result<Option<MachineSpec>> {
        let text = files::read_if_any(&self.folder(id).join("spec.json"))?;
        Ok(text.map(|text| serde_json::from_slice(&text)).transpose()?)
    }

    fn launch(&self, spec: &MachineSpec, lock: &Lock) -> Result<(), DriverError> {
        let backend = |detail: String| DriverError::Backend { id: spec.id.clone(), operation: "start", detail };
        let found = self.found().map_err(|e| backend(e.to_string()))?;
        let mut args = self.flags(spec).map_err(|e| backend(e.to_string()))?;
        let group = self.group(&spec.id);
        args.extend(flags::confinement(run_as(&group)));
        let limits = geteuid().is_root().then(|| Limits::of(&spec.resources, found.engine, group));
        let launch = Launch { folder: self.folder(&spec.id), program: self.config.qemu.clone(), args, limits };
        run::start(&self.config.helper, &launch, lock).map(drop).map_err(|e| backend(e.to_string()))
    }

    /// Kills what is left of a boot and forgets it.
    fn clear(&self, id: &MachineId) -> io::Result<()> {
        Running::clear(&self.folder(id))?;
        if geteuid().is_root() { limits::remove(&self.group(id)) } else { Ok(()) }
    }

    fn ask_to_stop(&self, id: &MachineId, running: &Running, grace: Seconds) -> io::Result<()> {
        let Some(hold) = Hold::on(&running.qemu)? else { return Ok(()) };
        // A QEMU that does not answer is killed below all the same.
        let _ = self.monitor(id).and_then(|mut monitor| {
            if monitor.processors()? == Processors::Halted {
                monitor.resume()?;
            }
            monitor.press_power_button()
        });
        hold.wait(Duration::from_secs(grace.0.into())).map(drop)
    }
}

/// The user a machine's QEMU becomes when it is started by root: one that owns nothing, and not another machine's.
fn run_as(group: &str) -> Option<u32> {
    let hash = keccak256(group);
    let number = u32::from_be_bytes([0, hash[0], hash[1], hash[2]]);
    geteuid().is_root().then_some((1 << 28) + number)
}

fn failed(id: &MachineId, operation: &'static str) -> impl FnOnce(io::Error) -> DriverError {
    let id = id.clone();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull => DriverError::NoRoom(source.to_string()),
        _ => DriverError::Io { id, operation, source },
    }
}

impl Driver for QemuDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Qemu
    }

    fn probe(&self) -> Result<Capabilities, Unusable> {
        self.found().map(|found| found.capabilities)
    }

    fn create(&self, spec: &MachineSpec) -> Result<Prepared, DriverError> {
        let refused = |detail: String| DriverError::Backend { id: spec.id.clone(), operation: "create", detail };
        if spec.resources.memory.0 < LEAST_MEMORY_MIB {
            return Err(refused(format!("a virtual machine needs at least {LEAST_MEMORY_MIB} MiB of memory")));
        }
        let folder = self.folder(&spec.id);
        files::private_folder(&folder).map_err(failed(&spec.id, "create"))?;
        let lock = self.lock(&spec.id)?;
        match self.spec(&spec.id).map_err(failed(&spec.id, "create"))? {
            Some(known) if known != *spec => return Err(refused("it exists, and is to be something else".into())),
            Some(_) => {}
            None => {
                let text = serde_json::to_vec(spec).map_err(|e| failed(&spec.id, "create")(e.into()))?;
                files::replace(&folder.join("spec.json"), &text).map_err(failed(&spec.id, "create"))?;
            }
        }
        let size = spec.resources.disk.bytes();
        lock.try_clone()
            .and_then(|lock| disk::make(&folder.join(DISK), size, lock.into()))
            .map_err(failed(&spec.id, "create"))?;
        self.prepared(&spec.id)
    }

    fn start(&self, id: &MachineId) -> Result<(), DriverError> {
        let lock = self.lock(id)?;
        let observed = self.observe(id)?;
        let wrong = || DriverError::WrongState { id: id.clone(), observed, operation: "start" };
        if observed != Observed::Stopped {
            return Err(wrong());
        }
        let spec = self.spec(id).map_err(failed(id, "read"))?.ok_or_else(wrong)?;
        self.clear(id).map_err(failed(id, "clean up after"))?;
        self.launch(&spec, &lock).inspect_err(|_| {
            // What is left is cleared at the next start or delete as well.
            self.clear(id).ok();
        })
    }

    fn stop(&self, id: &MachineId, grace: Seconds) -> Result<(), DriverError> {
        let _lock = self.lock(id)?;
        match self.expect(id, &[Observed::Running, Observed::Paused], "stop") {
            // One that cannot be asked, or that cannot be seen, is killed below all the same.
            Ok(running) => drop(self.ask_to_stop(id, &running, grace)),
            Err(e @ DriverError::NotFound(_)) => return Err(e),
            Err(_) => {}
        }
        self.clear(id).map_err(failed(id, "stop"))
    }

    fn kill(&self, id: &MachineId) -> Result<(), DriverError> {
        let kill = || match Running::load(&self.folder(id))? {
            Some(running) => Hold::on(&running.qemu)?.map_or(Ok(()), |hold| hold.kill()),
            None => Ok(()),
        };
        kill().map_err(failed(id, "kill"))
    }

    fn pause(&self, id: &MachineId) -> Result<(), DriverError> {
        let _lock = self.lock(id)?;
        self.expect(id, &[Observed::Running], "pause")?;
        self.monitor(id).and_then(|mut monitor| monitor.pause()).map_err(failed(id, "pause"))
    }

    fn resume(&self, id: &MachineId) -> Result<(), DriverError> {
        let _lock = self.lock(id)?;
        self.expect(id, &[Observed::Paused], "resume")?;
        self.monitor(id).and_then(|mut monitor| monitor.resume()).map_err(failed(id, "resume"))
    }

    fn delete(&self, id: &MachineId) -> Result<(), DriverError> {
        let _lock = match self.lock(id) {
            Ok(lock) => Some(lock),
            Err(DriverError::NotFound(_)) => None,
            Err(e) => return Err(e),
        };
        self.clear(id).and_then(|()| files::remove_folder(&self.folder(id))).map_err(failed(id, "delete"))
    }

    fn observe(&self, id: &MachineId) -> Result<Observed, DriverError> {
        self.state(id).map_err(failed(id, "observe"))
    }

    fn list(&self) -> Result<Vec<MachineId>, DriverError> {
        files::machines_in(&self.config.root.join("machines")).map_err(|e| DriverError::Listing(DriverKind::Qemu, e))
    }

    fn prepared(&self, id: &MachineId) -> Result<Prepared, DriverError> {
        let folder = self.folder(id);
        if !folder.is_dir() {
            return Err(DriverError::NotFound(id.clone()));
        }
        Ok(Prepared { guest_channel: folder.join(CHANNEL), console: folder.join(CONSOLE_FILE) })
    }

    fn dial(&self, id: &MachineId, port: u16) -> Result<TcpStream, DriverError> {
        let running = self.expect(id, &[Observed::Running], "dial")?;
        let address = SocketAddr::from((interface::GUEST, port));
        netns::dial(&self.config.helper, running.qemu.pid.unsigned_abs(), address).map_err(failed(id, "dial"))
    }

    fn stats(&self, id: &MachineId) -> Result<MachineStats, DriverError> {
        let running = self.expect(id, &[Observed::Running, Observed::Paused], "measure")?;
        let measure = || {
            let (memory_bytes, cpu_micros) = process::usage(running.qemu.pid)?;
            Ok(MachineStats { memory_bytes, cpu_micros, disk_bytes: disk::used(&self.folder(id).join(DISK))? })
        };
        measure().map_err(failed(id, "measure"))
    }
}
