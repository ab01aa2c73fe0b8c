//! What a host is told: where it keeps things, what it may give away, what it puts up with.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sublet_base::{GiB, MiB, Vcpus};
use sublet_machine::Resources;

/// Configuration of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostConfig {
    /// Folder for outputs and results; one host a folder.
    pub data: PathBuf,
    /// Unix socket to serve on. Only its owner may open it.
    pub socket: PathBuf,
    /// What machines may take.
    pub capacity: Capacity,
    /// Most that a task may print and save together, MiB. One that exceeds it fails.
    pub max_output_mib: u32,
    /// How long a guest may take to report after its start, seconds.
    pub boot_timeout_seconds: u32,
}

/// What machines may take. What is not said is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capacity {
    /// Virtual processors; measured: the host's.
    pub vcpus: Option<u32>,
    /// Memory, MiB; measured: three quarters of the host's.
    pub memory_mib: Option<u32>,
    /// Disk, GiB; measured: four fifths of what is free below `data` or taken by what is there already. The last fifth is
    /// for results and images, which are not counted otherwise.
    pub disk_gib: Option<u32>,
    /// Processes of all machines together; measured: half of what the kernel allows.
    pub pids: Option<u32>,
    /// Processors promised for each hundred there are.
    pub cpu_percent: u32,
    /// Memory promised for each hundred there is.
    pub memory_percent: u32,
    /// Disk promised for each hundred there is. Above 100, machines that fill theirs may find it full early.
    pub disk_percent: u32,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            data: "data/host".into(),
            socket: "data/host.sock".into(),
            capacity: Capacity::default(),
            max_output_mib: 64,
            boot_timeout_seconds: 180,
        }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            vcpus: None,
            memory_mib: None,
            disk_gib: None,
            pids: None,
            cpu_percent: 100,
            memory_percent: 100,
            disk_percent: 100,
        }
    }
}

impl HostConfig {
    pub(crate) fn max_output(&self) -> u64 {
        MiB(self.max_output_mib).bytes()
    }

    pub(crate) fn boot_timeout(&self) -> Duration {
        Duration::from_secs(self.boot_timeout_seconds.into())
    }
}

impl Capacity {
    /// What may be promised in total.
    ///
    /// # Errors
    /// The system's, if something must be measured and cannot be.
    pub(crate) fn total(&self, data: &Path) -> std::io::Result<Resources> {
        let vcpus = match self.vcpus {
            Some(count) => count,
            None => u32::try_from(std::thread::available_parallelism()?.get()).unwrap_or(u32::MAX),
        };
        let memory = match self.memory_mib {
            Some(mib) => mib,
            None => installed_memory()? / 4 * 3,
        };
        let disk = match self.disk_gib {
            Some(gib) => gib,
            None => offered(free_disk(data)?, taken_below(data)?),
        };
        let pids = match self.pids {
            Some(count) => count,
            None => most_processes()? / 2,
        };
        Ok(Resources {
            vcpus: Vcpus(percent(vcpus, self.cpu_percent)),
            memory: MiB(percent(memory, self.memory_percent)),
            disk: GiB(percent(disk, self.disk_percent)),
            pids,
        })
    }
}

fn percent(whole: u32, share: u32) -> u32 {
    u32::try_from(u64::from(whole) * u64::from(share) / 100).unwrap_or(u32::MAX)
}

/// MiB of memory in this computer.
fn installed_memory() -> std::io::Result<u32> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    let kib = kib.ok_or_else(|| std::io::Error::other("/proc/meminfo does not say how much memory there is"))?;
    Ok(u32::try_from(kib / 1024).unwrap_or(u32::MAX))
}

/// Processes that the kernel runs at once.
fn most_processes() -> std::io::Result<u32> {
    let read = |path: &str| -> std::io::Result<u32> {
        let text = std::fs::read_to_string(path)?;
        text.trim().parse().map_err(|_| std::io::Error::other(format!("{path} holds no number")))
    };
    Ok(read("/proc/sys/kernel/pid_max")?.min(read("/proc/sys/kernel/threads-max")?))
}

/// GiB to offer where so many bytes are free and so many are taken by machines that are there already, whose disks are
/// promised out of the whole.
fn offered(free: u64, taken: u64) -> u32 {
    u32::try_from((free.saturating_add(taken) / 5 * 4) >> 30).unwrap_or(u32::MAX)
}

/// Bytes free for us on the file system of `path`.
fn free_disk(path: &Path) -> std::io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Bytes that the files below `path` take on its own file system. What goes away meanwhile is not counted.
fn taken_below(path: &Path) -> std::io::Result<u64> {
    let device = std::fs::metadata(path)?.dev();
    let (mut folders, mut taken) = (vec![path.to_owned()], 0_u64);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.dev() != device => {}
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => taken = taken.saturating_add(found.blocks().saturating_mul(512)),
                Err(_) => {}
            }
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_measured_and_overcommit_is_applied() {
        let measured = Capacity::default().total(Path::new("/")).expect("measured");
        assert!(measured.vcpus.0 > 0 && measured.memory.0 > 0 && measured.pids > 0, "{measured:?}");
        let said = Capacity {
            vcpus: Some(4),
            memory_mib: Some(1000),
            disk_gib: Some(7),
            pids: Some(9),
            cpu_percent: 250,
            ..Capacity::default()
        };
        let total = said.total(Path::new("/nonexistent")).expect("nothing to measure");
        assert_eq!((total.vcpus, total.memory, total.disk, total.pids), (Vcpus(10), MiB(1000), GiB(7), 9));
    }

    #[test]
    fn a_restart_offers_the_same_disk_whatever_machines_have_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = folder.path().join("drivers/machines/one");
        std::fs::create_dir_all(&disk).expect("made");
        let before = taken_below(folder.path()).expect("measured");
        std::fs::write(disk.join("disk.img"), vec![1; 3 << 20]).expect("written");
        std::fs::File::create(disk.join("sparse")).and_then(|file| file.set_len(1 << 40)).expect("made");
        let taken = taken_below(folder.path()).expect("measured") - before;
        assert!((3 << 20..4 << 20).contains(&taken), "{taken}");
        assert_eq!(offered(100 << 30, 0), 80);
        assert_eq!(offered(70 << 30, 30 << 30), 80);
    }
}
