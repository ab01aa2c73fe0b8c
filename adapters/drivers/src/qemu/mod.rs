//! Virtual machines on QEMU: on the processor where the boot probe passes there, else emulated.
//!
//! ```text
//! ROOT/machines/ID/  spec.json  lock  run.json (its processes)  console
//!                    own/  all that QEMU may change: disk.img (ext4, the machine's limit)  qmp.sock  guest.sock
//! ```
//! Each QEMU lives in a network namespace of its own, with one interface to its guest and no way out; as root in a control
//! group and as a user that owns nothing, as an ordinary user in a user namespace; of the host's files it sees its own and
//! programs, where the kernel has Landlock. It outlives the daemon; a new driver
//! finds it by `run.json` and never trusts a bare process id.

pub(crate) mod carrier;
mod config;
pub(crate) mod console;
mod fence;
mod interface;
mod limits;
mod monitor;
mod probe;
mod process;
pub(crate) mod start;
mod tap;
mod veth;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::geteuid;
use sublet_base::{MachineId, Seconds, keccak256};
use sublet_machine::{
    Capabilities, Driver, DriverError, DriverKind, MachineSpec, MachineStats, Observed, Prepared, Unusable,
};

use crate::cgroup::PARENT_LOCK;
use crate::folder::{Folders, Kept, Lock, check_state, failed};
use crate::helper::Helper;
use crate::probed::Probed;
use crate::{disk, files, netns};
use config::{Boot, CHANNEL, DISK, MONITOR, OWN};
use limits::Limits;
use monitor::{Monitor, Processors};
use probe::Found;
use process::Hold;
use start::{CONSOLE_FILE, Launch, Running};

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
    folders: Folders,
    probed: Probed<Found>,
}

impl QemuDriver {
    /// Machines in `config.root`. Nothing is tried yet: see [`Driver::probe`].
    ///
    /// # Errors
    /// The system's, if the folder cannot be made.
    pub fn new(config: QemuConfig) -> io::Result<Self> {
        let folders = Folders::open(&config.root)?;
        let root = folders.root().to_owned();
        let (kernel, initrd) = (std::path::absolute(&config.kernel)?, std::path::absolute(&config.initrd)?);
        Ok(Self { config: QemuConfig { root, kernel, initrd, ..config }, folders, probed: Probed::new() })
    }

    /// The flags QEMU is started with for a machine, without those for its network: for people who want to run it by
    /// hand, and for the benchmark that does.
    ///
    /// # Errors
    /// As [`Driver::probe`].
    pub fn flags(&self, spec: &MachineSpec) -> Result<Vec<String>, Unusable> {
        let found = self.found()?;
        let (kernel, initrd) = (&self.config.kernel, &self.config.initrd);
        let boot = Boot { engine: found.engine, kernel, initrd, words: "", clock: spec.clock };
        let mut args = config::base(boot, spec.id.as_str(), spec.resources.vcpus, spec.resources.memory);
        args.extend(config::devices(&spec.image.rootfs));
        Ok(args)
    }

    fn found(&self) -> Result<Found, Unusable> {
        self.probed.get(|| probe::remembered(&self.config, &self.folders.groups()))
    }

    fn parent_lock(&self) -> PathBuf {
        self.config.root.join(PARENT_LOCK)
    }

    /// QEMU's own folder.
    fn own(&self, id: &MachineId) -> PathBuf {
        self.folders.of(id).join(OWN)
    }

    fn monitor(&self, id: &MachineId) -> io::Result<Monitor> {
        Monitor::open(&self.own(id).join(MONITOR))
    }

    /// What the processors of a machine do that has a QEMU.
    fn processors(&self, id: &MachineId) -> io::Result<Option<Processors>> {
        let Some(running) = Running::load(&self.folders.of(id))? else { return Ok(None) };
        let asked = || self.monitor(id)?.processors();
        match running.qemu.is_alive()?.then(asked) {
            None => Ok(None),
            Some(Ok(processors)) => Ok(Some(processors)),
            // It may have ended while it was asked. One that lives and does not answer runs, and can be stopped.
            Some(Err(_)) => Ok(running.qemu.is_alive()?.then_some(Processors::Run)),
        }
    }

    fn state(&self, id: &MachineId) -> io::Result<Observed> {
        if !self.folders.of(id).is_dir() {
            return Ok(Observed::Absent);
        }
        Ok(match self.processors(id)? {
            Some(Processors::Run) => Observed::Running,
            Some(Processors::Halted) => Observed::Paused,
            Some(Processors::Broken) | None => Observed::Stopped,
        })
    }

    fn expect(&self, id: &MachineId, allowed: &[Observed], operation: &'static str) -> Result<(), DriverError> {
        check_state(id, self.state(id).map_err(failed(id, operation))?, allowed, operation)
    }

    /// The machine's processes, if its state is one of `allowed`.
    fn running(&self, id: &MachineId, allowed: &[Observed], operation: &'static str) -> Result<Running, DriverError> {
        self.expect(id, allowed, operation)?;
        let running = Running::load(&self.folders.of(id)).map_err(failed(id, operation))?;
        running.ok_or_else(|| DriverError::WrongState { id: id.clone(), observed: Observed::Stopped, operation })
    }

    fn launch(&self, spec: &MachineSpec, lock: &Lock) -> Result<(), DriverError> {
        let backend = |detail: String| DriverError::Backend { id: spec.id.clone(), operation: "start", detail };
        let found = self.found().map_err(|e| backend(e.to_string()))?;
        let mut args = self.flags(spec).map_err(|e| backend(e.to_string()))?;
        let group = self.folders.group(&spec.id);
        args.extend(config::confinement(run_as(&group)));
        let limits = || Limits::of(&spec.resources, found.engine, group, self.parent_lock());
        let limits = geteuid().is_root().then(limits);
        let reads = vec![self.config.kernel.clone(), self.config.initrd.clone(), spec.image.rootfs.clone()];
        let folder = self.folders.of(&spec.id);
        let launch = Launch { folder, program: self.config.qemu.clone(), args, limits, reads };
        start::start(&self.config.helper, &launch, lock).map(drop).map_err(|e| backend(e.to_string()))
    }

    /// Kills what is left of a boot and forgets it.
    fn clear(&self, id: &MachineId) -> io::Result<()> {
        Running::clear(&self.folders.of(id))?;
        if geteuid().is_root() { limits::remove(&self.folders.group(id), &self.parent_lock()) } else { Ok(()) }
    }

    /// Gives the guest time to end. One that does not, or a QEMU that does not answer, is killed by whoever comes next.
    fn ask_to_stop(&self, id: &MachineId, grace: Seconds) -> io::Result<()> {
        let Some(running) = Running::load(&self.folders.of(id))? else { return Ok(()) };
        let Some(hold) = Hold::on(&running.qemu)? else { return Ok(()) };
        let asked = self.monitor(id).and_then(|mut monitor| {
            let processors = monitor.processors()?;
            if processors == Processors::Halted {
                monitor.resume()?;
            }
            monitor.press_power_button()?;
            Ok(processors)
        });
        match asked {
            Ok(Processors::Broken) => Ok(()),
            _ => hold.wait(Duration::from_secs(grace.0.into())).map(drop),
        }
    }
}

/// The user a machine's QEMU becomes when it is started by root: one that owns nothing, and not another machine's.
fn run_as(group: &str) -> Option<u32> {
    let hash = keccak256(group);
    let number = u32::from_be_bytes([0, hash[0], hash[1], hash[2]]);
    geteuid().is_root().then_some((1 << 28) + number)
}

impl Driver for QemuDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Qemu
    }

    fn probe(&self) -> Result<Capabilities, Unusable> {
        self.found().map(|found| found.capabilities)
    }

    fn create(&self, spec: &MachineSpec) -> Result<Prepared, DriverError> {
        let id = &spec.id;
        if spec.resources.memory.0 < LEAST_MEMORY_MIB {
            let detail = format!("a virtual machine needs at least {LEAST_MEMORY_MIB} MiB of memory");
            return Err(DriverError::Backend { id: id.clone(), operation: "create", detail });
        }
        let lock = self.folders.make(id)?;
        if self.folders.known(spec)?.is_none() {
            let kept = Kept { spec: spec.clone(), first_id: None };
            self.folders.keep(&kept).map_err(failed(id, "create"))?;
        }
        files::private_folder(&self.own(id)).map_err(failed(id, "create"))?;
        let (path, size) = (self.own(id).join(DISK), spec.resources.disk.bytes());
        let made = lock.try_clone().and_then(|lock| disk::make(&path, size, 0, lock.into()));
        made.map_err(failed(id, "create"))?;
        self.prepared(id)
    }

    fn start(&self, id: &MachineId) -> Result<(), DriverError> {
        let lock = self.folders.lock(id)?;
        self.expect(id, &[Observed::Stopped], "start")?;
        let wrong = || DriverError::WrongState { id: id.clone(), observed: Observed::Stopped, operation: "start" };
        let kept = self.folders.kept(id).map_err(failed(id, "read"))?.ok_or_else(wrong)?;
        self.clear(id).map_err(failed(id, "clean up after"))?;
        self.launch(&kept.spec, &lock).inspect_err(|_| {
            // What is left is cleared at the next start or delete as well.
            self.clear(id).ok();
        })
    }

    fn stop(&self, id: &MachineId, grace: Seconds) -> Result<(), DriverError> {
        let _lock = self.folders.lock(id)?;
        // One that cannot be asked, or that cannot be seen, is killed all the same.
        self.ask_to_stop(id, grace).ok();
        self.clear(id).map_err(failed(id, "stop"))
    }

    fn kill(&self, id: &MachineId) -> Result<(), DriverError> {
        let kill = || match Running::load(&self.folders.of(id))? {
            Some(running) => Hold::on(&running.qemu)?.map_or(Ok(()), |hold| hold.kill()),
            None => Ok(()),
        };
        kill().map_err(failed(id, "kill"))
    }

    fn pause(&self, id: &MachineId) -> Result<(), DriverError> {
        let _lock = self.folders.lock(id)?;
        self.expect(id, &[Observed::Running], "pause")?;
        self.monitor(id).and_then(|mut monitor| monitor.pause()).map_err(failed(id, "pause"))
    }

    fn resume(&self, id: &MachineId) -> Result<(), DriverError> {
        let _lock = self.folders.lock(id)?;
        self.expect(id, &[Observed::Paused], "resume")?;
        self.monitor(id).and_then(|mut monitor| monitor.resume()).map_err(failed(id, "resume"))
    }

    fn delete(&self, id: &MachineId) -> Result<(), DriverError> {
        let _lock = self.folders.lock_if_any(id)?;
        self.clear(id).and_then(|()| files::remove_folder(&self.folders.of(id))).map_err(failed(id, "delete"))
    }

    fn observe(&self, id: &MachineId) -> Result<Observed, DriverError> {
        let Some(_lock) = self.folders.lock_if_any(id)? else { return Ok(Observed::Absent) };
        let look = || {
            let observed = self.state(id)?;
            if let Some(running) = Running::load(&self.folders.of(id))?
                && observed == Observed::Stopped
                && running.qemu.is_alive()?
            {
                self.clear(id)?;
            }
            Ok(observed)
        };
        look().map_err(failed(id, "observe"))
    }

    fn list(&self) -> Result<Vec<MachineId>, DriverError> {
        self.folders.list(DriverKind::Qemu)
    }

    fn prepared(&self, id: &MachineId) -> Result<Prepared, DriverError> {
        let folder = self.folders.of(id);
        if !folder.is_dir() {
            return Err(DriverError::NotFound(id.clone()));
        }
        Ok(Prepared { guest_channel: self.own(id).join(CHANNEL), console: folder.join(CONSOLE_FILE) })
    }

    fn dial(&self, id: &MachineId, port: u16) -> Result<TcpStream, DriverError> {
        let running = self.running(id, &[Observed::Running], "dial")?;
        let address = SocketAddr::from((interface::GUEST, port));
        netns::dial(&self.config.helper, running.qemu.pid.unsigned_abs(), address).map_err(failed(id, "dial"))
    }

    fn stats(&self, id: &MachineId) -> Result<MachineStats, DriverError> {
        let running = self.running(id, &[Observed::Running, Observed::Paused], "measure")?;
        let measure = || {
            let (memory_bytes, cpu_micros) = process::usage(running.qemu.pid)?;
            Ok(MachineStats { memory_bytes, cpu_micros, disk_bytes: disk::used(&self.own(id).join(DISK))? })
        };
        measure().map_err(failed(id, "measure"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::process::{Child, Command};
    use std::thread;

    use crate::fake::example_spec;
    use crate::process::Process;

    use super::*;

    /// A driver with a machine whose QEMU is a process that sleeps.
    fn with_qemu() -> (tempfile::TempDir, QemuDriver, MachineId, Child) {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("qemu");
        let nothing = PathBuf::from("/nonexistent");
        let (helper, qemu, kernel) = (Helper::new(nothing.clone()), nothing.clone(), nothing.clone());
        let driver = QemuDriver::new(QemuConfig { root, helper, qemu, kernel, initrd: nothing }).expect("opens");
        let spec = example_spec("one");
        let _lock = driver.folders.make(&spec.id).expect("made");
        let child = Command::new("sleep").arg("600").spawn().expect("starts");
        let process = Process::of(child.id().cast_signed()).expect("runs");
        let running = serde_json::json!({ "qemu": process, "console": process });
        files::replace(&driver.folders.of(&spec.id).join("run.json"), running.to_string().as_bytes()).expect("written");
        (folder, driver, spec.id, child)
    }

    #[test]
    fn a_qemu_that_does_not_answer_runs_and_can_be_stopped() {
        let (_folder, driver, id, mut child) = with_qemu();
        assert_eq!(driver.observe(&id).expect("looked"), Observed::Running);
        driver.stop(&id, Seconds(0)).expect("stopped");
        assert!(!child.wait().expect("ended").success(), "it was killed");
        assert_eq!(driver.observe(&id).expect("looked"), Observed::Stopped);
        driver.delete(&id).expect("deleted");
    }

    #[test]
    fn a_machine_of_a_version_that_gave_qemu_no_folder_can_be_deleted() {
        let (_folder, driver, id, mut child) = with_qemu();
        for name in [DISK, MONITOR, CHANNEL, CONSOLE_FILE] {
            fs::write(driver.folders.of(&id).join(name), "x").expect("written");
        }
        driver.delete(&id).expect("deleted");
        assert!(!child.wait().expect("ended").success(), "it was killed");
        assert_eq!(driver.observe(&id).expect("looked"), Observed::Absent);
    }

    #[test]
    fn a_guest_that_can_never_run_again_is_done_away_with() {
        let (_folder, driver, id, mut child) = with_qemu();
        files::private_folder(&driver.own(&id)).expect("made");
        let listener = UnixListener::bind(driver.own(&id).join(MONITOR)).expect("bound");
        thread::spawn(move || {
            let lines = [
                r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}"#,
                r#"{"return": {}}"#,
                r#"{"return": {"status": "internal-error", "singlestep": false, "running": false}}"#,
            ];
            for mut stream in listener.incoming().flatten() {
                stream.write_all(format!("{}\n", lines.join("\n")).as_bytes()).ok();
                io::copy(&mut stream, &mut io::sink()).ok();
            }
        });
        assert_eq!(driver.observe(&id).expect("looked"), Observed::Stopped);
        assert!(!child.wait().expect("ended").success(), "it was killed");
        driver.delete(&id).expect("deleted");
    }
}
