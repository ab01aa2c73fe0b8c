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
mod limits;
mod mounts;
mod probe;
mod start;

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::FlockArg;
use sublet_base::{Digest, MachineId, Seconds, keccak256};
use sublet_machine::{
    Capabilities, DiskImage, Driver, DriverError, DriverKind, MachineSpec, MachineStats, Observed, Prepared, Unusable,
};

use crate::cgroup::{Group, Hierarchies, PARENT_LOCK, until};
use crate::folder::{Folders, Kept, Lock, check_state, failed, lock_file};
use crate::helper::Helper;
use crate::probed::Probed;
use crate::process::Process;
use crate::{disk, files, netns};
use start::Launch;

pub(crate) use mounts::{LEND_IDS, lend_ids_helper};
pub(crate) use start::{LAUNCH, launch_helper};

/// Where each machine's user and group ids begin: one of these ranges, above those of people and other tools.
const FIRST_IDS: u32 = 1 << 29;
/// Bytes of console from which it is begun anew; the file system it is on holds four times that.
const LONGEST_CONSOLE: u64 = 256 << 10;
/// How many ranges there are.
const RANGES: u32 = 8192;

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
    folders: Folders,
    probed: Probed<Capabilities>,
}

impl ContainerDriver {
    /// Containers in `config.root`. Nothing is tried yet: see [`Driver::probe`].
    ///
    /// # Errors
    /// The system's, if the folder cannot be made.
    pub fn new(config: ContainerConfig) -> io::Result<Self> {
        let folders = Folders::open(&config.root)?;
        let (root, init) = (folders.root().to_owned(), std::path::absolute(&config.init)?);
        Ok(Self { config: ContainerConfig { root, init, ..config }, folders, probed: Probed::new() })
    }

    fn group(&self, id: &MachineId) -> io::Result<Group> {
        Ok(Hierarchies::find()?.group(&self.folders.group(id)))
    }

    /// Gives the machine that is to be made user and group ids that no other of ours has, and remembers both.
    fn keep(&self, spec: &MachineSpec) -> Result<u32, DriverError> {
        let failed = || failed(&spec.id, "create");
        let _lock = self.shared_lock().map_err(failed())?;
        if let Some(first_id) = self.folders.known(spec)?.and_then(|kept| kept.first_id) {
            return Ok(first_id);
        }
        let taken: Vec<u32> =
            self.folders.all_kept().map_err(failed())?.into_iter().filter_map(|kept| kept.first_id).collect();
        let first_id = free_range(&self.folders.groups(), &taken)
            .ok_or_else(|| DriverError::NoRoom("every range of user ids is taken".into()))?;
        self.folders.keep(&Kept { spec: spec.clone(), first_id: Some(first_id) }).map_err(failed())?;
        Ok(first_id)
    }

    fn state(&self, id: &MachineId) -> io::Result<Observed> {
        let folder = self.folders.of(id);
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
        check_state(id, observed, allowed, operation)?;
        let process = Process::load(&self.folders.of(id).join("init.json")).map_err(failed(id, operation))?;
        process.ok_or_else(|| DriverError::WrongState { id: id.clone(), observed, operation })
    }

    /// Mounts what outlives a boot: the image, and the tmpfs that the guest may write to.
    fn mount(&self, spec: &MachineSpec, first_id: u32) -> io::Result<PathBuf> {
        let image = self.mount_image(&spec.image)?;
        let run = self.folders.of(&spec.id).join("run");
        if !mounts::is_mounted(&run)? {
            files::private_folder(&run)?;
            mounts::mount_tmpfs(&run, "mode=711,size=1m,nr_inodes=64")?;
        }
        let channel = run.join("channel");
        files::private_folder(&channel)?;
        chown(&channel, Some(first_id), Some(first_id))?;
        Ok(image)
    }

    /// Held by whoever deals with what machines share: images, and ranges of ids.
    fn shared_lock(&self) -> io::Result<Lock> {
        files::private_folder(&self.config.root.join("images"))?;
        lock_file(&self.config.root.join("images/lock"), FlockArg::LockExclusive)
    }

    fn image_point(&self, digest: &Digest) -> PathBuf {
        self.config.root.join("images").join(digest.hex())
    }

    fn mount_image(&self, image: &DiskImage) -> io::Result<PathBuf> {
        let lock = self.shared_lock()?;
        let point = self.image_point(&image.digest);
        if !mounts::is_mounted(&point)? {
            files::private_folder(&point)?;
            mounts::mount_file(&image.rootfs, "erofs", "ro,nosuid,nodev", &point, Stdio::from(lock.try_clone()?))?;
        }
        Ok(point)
    }

    /// Lets go of images that no machine runs.
    fn release_images(&self) -> io::Result<()> {
        let _lock = self.shared_lock()?;
        let used: Vec<String> = self.folders.all_kept()?.iter().map(|kept| kept.spec.image.digest.hex()).collect();
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
        group.remove(&self.config.root.join(PARENT_LOCK))?;
        match fs::remove_file(self.folders.of(id).join("init.json")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn launch(&self, id: &MachineId, image: PathBuf, lock: &Lock) -> io::Result<()> {
        let launch = Launch {
            folder: self.folders.of(id),
            image,
            init: self.config.init.clone(),
            cgroup: self.folders.group(id),
            parent_lock: self.config.root.join(PARENT_LOCK),
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

/// Begins a console anew that has grown, before it fills the small file system it is on; its end is kept in
/// `console.old`. What a machine prints meanwhile may be lost, and what fails is tried at the next look.
fn cut_console(path: &Path) {
    let cut = || {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let Some(before) = file.metadata()?.len().checked_sub(LONGEST_CONSOLE) else { return Ok(()) };
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(before))?;
        (&mut file).take(LONGEST_CONSOLE).read_to_end(&mut end)?;
        fs::write(path.with_extension("old"), end).ok();
        file.set_len(0)
    };
    cut().ok();
}

/// The first range that is free, counted from one that depends on the driver: another driver's machines are seldom near.
fn free_range(driver: &str, taken: &[u32]) -> Option<u32> {
    let hash = keccak256(driver);
    let begin = u32::from(u16::from_be_bytes([hash[0], hash[1]]));
    (0..RANGES).map(|step| FIRST_IDS + (begin + step) % RANGES * config::ID_COUNT).find(|first| !taken.contains(first))
}

impl Driver for ContainerDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Container
    }

    fn probe(&self) -> Result<Capabilities, Unusable> {
        self.probed.get(|| probe::probe(&self.config))
    }

    fn create(&self, spec: &MachineSpec) -> Result<Prepared, DriverError> {
        let id = &spec.id;
        let lock = self.folders.make(id)?;
        let first_id = self.keep(spec)?;
        let (path, bytes) = (self.folders.of(id).join("disk.img"), spec.resources.disk.bytes());
        let made = lock.try_clone().and_then(|lock| disk::make(&path, bytes, first_id, lock.into()));
        made.map_err(failed(id, "create"))?;
        self.prepared(id)
    }

    fn start(&self, id: &MachineId) -> Result<(), DriverError> {
        let lock = self.folders.lock(id)?;
        let observed = self.state(id).map_err(failed(id, "start"))?;
        check_state(id, observed, &[Observed::Stopped], "start")?;
        self.clear(id).map_err(failed(id, "clean up after"))?;
        let kept = self.folders.kept(id).map_err(failed(id, "read"))?;
        let Some(Kept { spec, first_id: Some(first_id) }) = kept else {
            return Err(DriverError::WrongState { id: id.clone(), observed, operation: "start" });
        };
        let image = self.mount(&spec, first_id).map_err(failed(id, "mount"))?;
        self.launch(id, image, &lock).map_err(|e| {
            let detail = e.to_string();
            // What the helper left is cleared at the next start or delete as well.
            self.clear(id).ok();
            DriverError::Backend { id: id.clone(), operation: "start", detail }
        })
    }

    fn stop(&self, id: &MachineId, grace: Seconds) -> Result<(), DriverError> {
        let _lock = self.folders.lock(id)?;
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
        let _lock = self.folders.lock(id)?;
        self.expect(id, &[Observed::Running], "pause")?;
        self.group(id).and_then(|group| group.set_frozen(true)).map_err(failed(id, "pause"))
    }

    fn resume(&self, id: &MachineId) -> Result<(), DriverError> {
        let _lock = self.folders.lock(id)?;
        self.expect(id, &[Observed::Paused], "resume")?;
        self.group(id).and_then(|group| group.set_frozen(false)).map_err(failed(id, "resume"))
    }

    fn delete(&self, id: &MachineId) -> Result<(), DriverError> {
        let folder = self.folders.of(id);
        let _lock = self.folders.lock_if_any(id)?;
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
        let Some(_lock) = self.folders.lock_if_any(id)? else { return Ok(Observed::Absent) };
        cut_console(&self.folders.of(id).join("run/console"));
        self.state(id).map_err(failed(id, "observe"))
    }

    fn list(&self) -> Result<Vec<MachineId>, DriverError> {
        self.folders.list(DriverKind::Container)
    }

    fn prepared(&self, id: &MachineId) -> Result<Prepared, DriverError> {
        let folder = self.folders.of(id);
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
            let disk_bytes = disk::used(&self.folders.of(id).join("disk.img"))?;
            Ok(MachineStats { memory_bytes: group.memory(), cpu_micros: group.cpu_micros(), disk_bytes })
        };
        measure().map_err(failed(id, "measure"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_console_that_has_grown_begins_anew_and_keeps_its_end() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("console");
        cut_console(&path);
        fs::write(&path, "short")?;
        cut_console(&path);
        assert_eq!(fs::read(&path)?, b"short");
        let mut printing = OpenOptions::new().append(true).open(&path)?;
        printing.write_all(&vec![b'x'; 700 << 10])?;
        printing.write_all(b"the end")?;
        cut_console(&path);
        printing.write_all(b"and on")?;
        assert_eq!(fs::read(&path)?, b"and on");
        let old = fs::read(path.with_extension("old"))?;
        assert!(old.ends_with(b"the end") && old.len() as u64 == LONGEST_CONSOLE);
        Ok(())
    }

    #[test]
    fn no_two_machines_share_ids() {
        let mut taken = Vec::new();
        for _ in 0..20 {
            let range = free_range("/sublet-1", &taken).expect("one is free");
            assert!(!taken.contains(&range));
            taken.push(range);
        }
        let back = taken.swap_remove(7);
        assert_eq!(free_range("/sublet-1", &taken), Some(back));
        let mut all: Vec<u32> = (0..RANGES).map(|range| FIRST_IDS + range * config::ID_COUNT).collect();
        assert_eq!(free_range("/sublet-1", &all), None);
        let last = all.pop();
        assert!(last.is_some_and(|last| last.checked_add(config::ID_COUNT).is_some()));
        assert_eq!(free_range("/sublet-1", &all), last);
        assert_ne!(free_range("/sublet-1", &[]), free_range("/sublet-2", &[]));
    }
}
