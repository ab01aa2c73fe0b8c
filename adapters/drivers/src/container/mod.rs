//! Containers: namespaces and cgroups on the host's kernel, through libcontainer.
//!
//! ```text
//! ROOT/images/DIGEST/         the erofs image, mounted once, shared, read-only
//! ROOT/machines/ID/spec.json  disk.img (ext4, the machine's limit)  init.json (its first process)  lock
//!                  run/       tmpfs of limited size, because the guest writes there: channel/guest.sock, console
//! ```
//! Everything else (overlay, loop device of the disk, bind mounts) lives in the container's own mount namespace and goes
//! with it. Nothing is kept in memory: a new driver sees what an earlier one left. Root only.

mod config;
mod launch;
mod mounts;
mod probe;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use sublet_base::{Digest, MachineId, Seconds, keccak256};
use sublet_machine::{
    Capabilities, DiskImage, Driver, DriverError, DriverKind, MachineSpec, MachineStats, Observed, Prepared, Unusable,
};

use crate::cgroup::{Group, Hierarchies, until};
use crate::helper::Helper;
use crate::process::Process;
use crate::{files, netns};
use launch::Launch;

pub(crate) use launch::{LAUNCH, launch_helper};
pub(crate) use mounts::{LEND_IDS, lend_ids_helper};

/// What the driver needs to know.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    /// Its own folder.
    pub root: PathBuf,
    /// Our binary.
    pub helper: Helper,
    /// The static init that becomes every machine's first process.
    pub init: PathBuf,
}

/// Machines as containers.
#[derive(Debug)]
pub struct ContainerDriver {
    config: ContainerConfig,
    /// Keeps drivers with different folders, and machines of one name in them, apart.
    instance: String,
    probed: Mutex<Option<Result<Capabilities, Unusable>>>,
}

type Lock = Flock<File>;

impl ContainerDriver {
    /// Containers in `config.root`. Nothing is tried yet: see [`Driver::probe`].
    ///
    /// # Errors
    /// The system's, if the folder cannot be made.
    pub fn new(config: ContainerConfig) -> io::Result<Self> {
        files::private_folder(&config.root)?;
        let root = fs::canonicalize(&config.root)?;
        let init = std::path::absolute(&config.init)?;
        let instance = format!("{:x}", keccak256(root.as_os_str().as_encoded_bytes()))[..8].to_owned();
        Ok(Self { config: ContainerConfig { root, init, ..config }, instance, probed: Mutex::new(None) })
    }

    fn folder(&self, id: &MachineId) -> PathBuf {
        self.config.root.join("machines").join(id.as_str())
    }

    fn cgroup_name(&self, id: &MachineId) -> String {
        format!("/sublet-{}/{id}", self.instance)
    }

    fn group(&self, id: &MachineId) -> io::Result<Group> {
        Ok(Hierarchies::find()?.group(&self.cgroup_name(id)))
    }

    /// First of the machine's ids on the host: one of 8192 ranges above those of people and other tools.
    fn first_id(&self, id: &MachineId) -> u32 {
        let hash = keccak256(self.cgroup_name(id));
        (1 << 29) + u32::from(u16::from_be_bytes([hash[0], hash[1]]) % 8192) * config::ID_COUNT
    }

    /// One operation at a time on a machine, also across processes: a helper inherits the lock, so that whoever comes
    /// after a daemon that died in the middle waits until its helper is done.
    fn lock(&self, id: &MachineId) -> Result<Lock, DriverError> {
        let path = self.folder(id).join("lock");
        let file = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(DriverError::NotFound(id.clone())),
            file => file.map_err(failed(id, "lock"))?,
        };
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failed(id, "lock")(e.into()))
    }

    fn state(&self, id: &MachineId) -> io::Result<Observed> {
        let folder = self.folder(id);
        if !folder.is_dir() {
            return Ok(Observed::Absent);
        }
        let alive = Process::load(&folder.join("init.json"))?.map_or(Ok(false), |process| process.is_alive())?;
        Ok(match alive {
            false => Observed::Stopped,
            true if self.group(id)?.is_frozen() => Observed::Paused,
            true => Observed::Running,
        })
    }

    /// The machine's first process, if its state is one of `allowed`.
    fn expect(&self, id: &MachineId, allowed: &[Observed], operation: &'static str) -> Result<Process, DriverError> {
        let observed = self.state(id).map_err(failed(id, operation))?;
        let wrong = || DriverError::WrongState { id: id.clone(), observed, operation };
        if observed == Observed::Absent {
            return Err(DriverError::NotFound(id.clone()));
        }
        if !allowed.contains(&observed) {
            return Err(wrong());
        }
        Process::load(&self.folder(id).join("init.json")).map_err(failed(id, operation))?.ok_or_else(wrong)
    }

    /// Mounts what outlives a boot: the image, and the tmpfs that the guest may write to.
    fn mount(&self, spec: &MachineSpec) -> io::Result<PathBuf> {
        let image = self.mount_image(&spec.image)?;
        let run = self.folder(&spec.id).join("run");
        if !mounts::is_mounted(&run)? {
            files::private_folder(&run)?;
            mounts::mount_tmpfs(&run, "mode=711,size=1m,nr_inodes=64")?;
        }
        let channel = run.join("channel");
        files::private_folder(&channel)?;
        let owner = Some(self.first_id(&spec.id));
        chown(&channel, owner, owner)?;
        Ok(image)
    }

    fn images_lock(&self) -> io::Result<Lock> {
        files::private_folder(&self.config.root.join("images"))?;
        let path = self.config.root.join("images/lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e.into())
    }

    fn image_point(&self, digest: &Digest) -> PathBuf {
        self.config.root.join("images").join(digest.hex())
    }

    fn mount_image(&self, image: &DiskImage) -> io::Result<PathBuf> {
        let lock = self.images_lock()?;
        let point = self.image_point(&image.digest);
        if !mounts::is_mounted(&point)? {
            files::private_folder(&point)?;
            mounts::mount_file(&image.rootfs, "erofs", "ro,nosuid,nodev", &point, Stdio::from(lock.try_clone()?))?;
        }
        Ok(point)
    }

    /// Lets go of images that no machine runs.
    fn release_images(&self) -> io::Result<()> {
        let _lock = self.images_lock()?;
        let mut used = Vec::new();
        for id in files::machines_in(&self.config.root.join("machines"))? {
            if let Some(text) = files::read_if_any(&self.folder(&id).join("spec.json"))? {
                let spec: MachineSpec = serde_json::from_slice(&text)?;
                used.push(spec.image.digest.hex());
            }
        }
        for entry in fs::read_dir(self.config.root.join("images"))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && !used.iter().any(|digest| entry.file_name() == digest.as_str()) {
                mounts::unmount(&entry.path())?;
                fs::remove_dir(entry.path())?;
            }
        }
        Ok(())
    }

    /// Kills what is left of a boot and forgets it.
    fn clear(&self, id: &MachineId) -> io::Result<()> {
        let group = self.group(id)?;
        group.kill_all()?;
        group.remove()?;
        match fs::remove_file(self.folder(id).join("init.json")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn launch(&self, id: &MachineId, image: PathBuf, lock: &Lock) -> io::Result<()> {
        let launch = Launch {
            folder: self.folder(id),
            image,
            init: self.config.init.clone(),
            cgroup: self.cgroup_name(id),
            first_id: self.first_id(id),
            swap: Hierarchies::find()?.counts_swap(),
        };
        let mut command = self.config.helper.command(LAUNCH);
        command.arg(serde_json::to_string(&launch)?).stdin(Stdio::from(lock.try_clone()?)).stdout(Stdio::null());
        self.config.helper.finish(command.stderr(Stdio::piped()).spawn()?).map(drop)
    }

    fn ask_to_stop(&self, id: &MachineId, process: &Process, grace: Seconds) -> io::Result<()> {
        process.terminate()?;
        let group = self.group(id)?;
        if group.is_frozen() {
            group.set_frozen(false)?;
        }
        let asked = until(Duration::from_secs(grace.0.into()), "it does not stop", || Ok(!process.is_alive()?));
        match asked {
            Err(e) if e.kind() == io::ErrorKind::TimedOut => Ok(()),
            other => other,
        }
    }
}

fn failed(id: &MachineId, operation: &'static str) -> impl FnOnce(io::Error) -> DriverError {
    let id = id.clone();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull => DriverError::NoRoom(source.to_string()),
        _ => DriverError::Io { id, operation, source },
    }
}

impl Driver for ContainerDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Container
    }

    fn probe(&self) -> Result<Capabilities, Unusable> {
        let mut probed = self.probed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        probed.get_or_insert_with(|| probe::probe(&self.config)).clone()
    }

    fn create(&self, spec: &MachineSpec) -> Result<Prepared, DriverError> {
        let folder = self.folder(&spec.id);
        files::private_folder(&folder).map_err(failed(&spec.id, "create"))?;
        let lock = self.lock(&spec.id)?;
        let make = || {
            launch::save_spec(&folder, spec)?;
            let (path, bytes) = (folder.join("disk.img"), spec.resources.disk.bytes());
            launch::make_disk(&path, bytes, self.first_id(&spec.id), Stdio::from(lock.try_clone()?))
        };
        make().map_err(failed(&spec.id, "create"))?;
        self.prepared(&spec.id)
    }

    fn start(&self, id: &MachineId) -> Result<(), DriverError> {
        let lock = self.lock(id)?;
        let observed = self.state(id).map_err(failed(id, "start"))?;
        if observed != Observed::Stopped {
            return Err(DriverError::WrongState { id: id.clone(), observed, operation: "start" });
        }
        self.clear(id).map_err(failed(id, "clean up after"))?;
        let text = fs::read(self.folder(id).join("spec.json")).map_err(failed(id, "read"))?;
        let spec: MachineSpec = serde_json::from_slice(&text).map_err(|e| failed(id, "read")(e.into()))?;
        let image = self.mount(&spec).map_err(failed(id, "mount"))?;
        self.launch(id, image, &lock).map_err(|e| {
            let detail = e.to_string();
            // What the helper left is cleared at the next start or delete as well.
            self.clear(id).ok();
            DriverError::Backend { id: id.clone(), operation: "start", detail }
        })
    }

    fn stop(&self, id: &MachineId, grace: Seconds) -> Result<(), DriverError> {
        let _lock = self.lock(id)?;
        match self.expect(id, &[Observed::Running, Observed::Paused], "stop") {
            // One that cannot be asked, or that cannot be seen, is killed below all the same.
            Ok(process) => drop(self.ask_to_stop(id, &process, grace)),
            Err(e @ DriverError::NotFound(_)) => return Err(e),
            Err(_) => {}
        }
        self.clear(id).map_err(failed(id, "stop"))
    }

    fn kill(&self, id: &MachineId) -> Result<(), DriverError> {
        self.group(id).and_then(|group| group.kill_all()).map_err(failed(id, "kill"))
    }

    fn pause(&self, id: &MachineId) -> Result<(), DriverError> {
        let _lock = self.lock(id)?;
        self.expect(id, &[Observed::Running], "pause")?;
        self.group(id).and_then(|group| group.set_frozen(true)).map_err(failed(id, "pause"))
    }

    fn resume(&self, id: &MachineId) -> Result<(), DriverError> {
        let _lock = self.lock(id)?;
        self.expect(id, &[Observed::Paused], "resume")?;
        self.group(id).and_then(|group| group.set_frozen(false)).map_err(failed(id, "resume"))
    }

    fn delete(&self, id: &MachineId) -> Result<(), DriverError> {
        let folder = self.folder(id);
        let _lock = match self.lock(id) {
            Ok(lock) => Some(lock),
            Err(DriverError::NotFound(_)) => None,
            Err(e) => return Err(e),
        };
        let remove = || {
            self.clear(id)?;
            mounts::unmount(&folder.join("run"))?;
            files::remove_folder(&folder)?;
            self.release_images()
        };
        remove().map_err(failed(id, "delete"))
    }

    /// Waits for an operation under way, also one that a daemon began which has died since.
    fn observe(&self, id: &MachineId) -> Result<Observed, DriverError> {
        let _lock = match self.lock(id) {
            Err(DriverError::NotFound(_)) => return Ok(Observed::Absent),
            lock => lock?,
        };
        self.state(id).map_err(failed(id, "observe"))
    }

    fn list(&self) -> Result<Vec<MachineId>, DriverError> {
        files::machines_in(&self.config.root.join("machines"))
            .map_err(|e| DriverError::Listing(DriverKind::Container, e))
    }

    fn prepared(&self, id: &MachineId) -> Result<Prepared, DriverError> {
        let folder = self.folder(id);
        if !folder.is_dir() {
            return Err(DriverError::NotFound(id.clone()));
        }
        Ok(Prepared { guest_channel: folder.join("run/channel/guest.sock"), console: folder.join("run/console") })
    }

    fn dial(&self, id: &MachineId, port: u16) -> Result<TcpStream, DriverError> {
        let process = self.expect(id, &[Observed::Running], "dial")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        netns::dial(&self.config.helper, process.pid.unsigned_abs(), address).map_err(failed(id, "dial"))
    }

    fn stats(&self, id: &MachineId) -> Result<MachineStats, DriverError> {
        self.expect(id, &[Observed::Running, Observed::Paused], "measure")?;
        let measure = || {
            let group = self.group(id)?;
            let disk_bytes = fs::metadata(self.folder(id).join("disk.img"))?.blocks() * 512;
            Ok(MachineStats { memory_bytes: group.memory(), cpu_micros: group.cpu_micros(), disk_bytes })
        };
        measure().map_err(failed(id, "measure"))
    }
}
