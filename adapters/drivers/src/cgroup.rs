//! A machine's cgroup, on hosts with version 1, version 2 or both.
//!
//! libcontainer makes a container's and writes its limits, `qemu/limits.rs` a virtual machine's; here they are found, frozen, measured,
//! emptied and removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::FlockArg;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::folder::{Lock, lock_file};

/// The cgroup hierarchies of this host.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchies {
    /// Mount point and controllers of each version 1 hierarchy.
    v1: Vec<(PathBuf, Vec<String>)>,
    v2: Option<PathBuf>,
}

impl Hierarchies {
    /// What is mounted here.
    pub(crate) fn find() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self { v1: vec![], v2: None };
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let (Some(point), right) = (left.split(' ').nth(4), right.split(' ').collect::<Vec<_>>()) else { continue };
            match right[..] {
                ["cgroup", _, options] => {
                    found.v1.push((PathBuf::from(point), options.split(',').map(str::to_owned).collect()));
                }
                ["cgroup2", ..] => found.v2 = Some(PathBuf::from(point)),
                _ => {}
            }
        }
        found
    }

    /// Whether a machine can be limited and frozen here.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        ["memory", "cpu", "pids", "freezer"].into_iter().find(|controller| match self.v1_point(controller) {
            Some(_) => false,
            None => !self.v1.is_empty() || !self.v2_offers(controller),
        })
    }

    fn v2_offers(&self, controller: &str) -> bool {
        let Some(point) = &self.v2 else { return false };
        let offered = fs::read_to_string(point.join("cgroup.controllers")).unwrap_or_default();
        // Freezing needs no controller in version 2.
        controller == "freezer" || offered.split_whitespace().any(|word| word == controller)
    }

    fn v1_point(&self, controller: &str) -> Option<&Path> {
        let has = |(_, controllers): &&(PathBuf, Vec<String>)| controllers.iter().any(|name| name == controller);
        self.v1.iter().find(has).map(|(point, _)| point.as_path())
    }

    /// Whether memory limits can include swap.
    pub(crate) fn counts_swap(&self) -> bool {
        match self.v1_point("memory") {
            Some(point) => point.join("memory.memsw.limit_in_bytes").exists(),
            None => Path::new("/proc/swaps").exists() && self.v2.is_some(),
        }
    }

    /// The cgroup called `name`, an absolute path within each hierarchy.
    pub(crate) fn group(&self, name: &str) -> Group {
        Group { name: name.trim_start_matches('/').to_owned(), hierarchies: self.clone() }
    }
}

/// The file that keeps whoever makes a machine's cgroup and whoever takes away their parent apart, in the driver's folder.
pub(crate) const PARENT_LOCK: &str = "cgroups.lock";

/// Held while a machine's cgroup is made: nobody takes away the parent meanwhile.
pub(crate) fn hold_parent(lock: &Path) -> io::Result<Lock> {
    lock_file(lock, FlockArg::LockShared)
}

/// One machine's cgroup.
#[derive(Debug)]
pub(crate) struct Group {
    name: String,
    hierarchies: Hierarchies,
}

impl Group {
    /// The folder for `controller`, whichever version has it.
    pub(crate) fn folder(&self, controller: &str) -> Option<PathBuf> {
        let point = self.hierarchies.v1_point(controller).or(self.hierarchies.v2.as_deref())?;
        Some(point.join(&self.name))
    }

    pub(crate) fn is_v1(&self, controller: &str) -> bool {
        self.hierarchies.v1_point(controller).is_some()
    }

    fn number(&self, controller: &str, file: &str) -> Option<u64> {
        fs::read_to_string(self.folder(controller)?.join(file)).ok()?.trim().parse().ok()
    }

    /// Memory charged, bytes.
    pub(crate) fn memory(&self) -> u64 {
        let file = if self.is_v1("memory") { "memory.usage_in_bytes" } else { "memory.current" };
        self.number("memory", file).unwrap_or(0)
    }

    /// Processor time used, microseconds.
    pub(crate) fn cpu_micros(&self) -> u64 {
        if self.is_v1("cpuacct") {
            return self.number("cpuacct", "cpuacct.usage").unwrap_or(0) / 1000;
        }
        let stat =
            self.folder("cpu").and_then(|folder| fs::read_to_string(folder.join("cpu.stat")).ok()).unwrap_or_default();
        stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok()).unwrap_or(0)
    }

    /// Whether it is frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        let Some(folder) = self.folder("freezer") else { return false };
        let file = if self.is_v1("freezer") { "freezer.state" } else { "cgroup.freeze" };
        let state = fs::read_to_string(folder.join(file)).unwrap_or_default();
        matches!(state.trim(), "FROZEN" | "FREEZING" | "1")
    }

    /// Freezes or thaws every process, and waits until that has happened.
    pub(crate) fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        let folder = self.folder("freezer").ok_or_else(|| io::Error::other("no freezer is mounted"))?;
        let (file, on, off) =
            if self.is_v1("freezer") { ("freezer.state", "FROZEN", "THAWED") } else { ("cgroup.freeze", "1", "0") };
        fs::write(folder.join(file), if frozen { on } else { off })?;
        let settled = || {
            if self.is_v1("freezer") {
                return fs::read_to_string(folder.join(file))
                    .map(|state| state.trim() == if frozen { on } else { off });
            }
            let wanted = if frozen { "frozen 1" } else { "frozen 0" };
            fs::read_to_string(folder.join("cgroup.events")).map(|events| events.lines().any(|line| line == wanted))
        };
        until(Duration::from_secs(5), "the processes did not freeze", settled)
    }

    /// Its processes.
    fn processes(&self) -> io::Result<Vec<Pid>> {
        let Some(folder) = self.folder("pids") else { return Ok(vec![]) };
        match fs::read_to_string(folder.join("cgroup.procs")) {
            Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok().map(Pid::from_raw)).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            Err(e) => Err(e),
        }
    }

    /// Kills whatever is in it, frozen or not, and waits until it is empty.
    pub(crate) fn kill_all(&self) -> io::Result<()> {
        until(Duration::from_secs(10), "processes do not die", || {
            let processes = self.processes()?;
            for &pid in &processes {
                match kill(pid, Signal::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            // Version 1 keeps a frozen process from dying.
            if !processes.is_empty() && self.is_frozen() {
                self.set_frozen(false)?;
            }
            Ok(processes.is_empty())
        })
    }

    /// Removes it from every hierarchy, and the parent with the last of the driver's machines; `lock` is
    /// [`PARENT_LOCK`]. It must be empty. Harmless when absent.
    pub(crate) fn remove(&self, lock: &Path) -> io::Result<()> {
        let points = self.hierarchies.v1.iter().map(|(point, _)| point).chain(&self.hierarchies.v2);
        let folders: Vec<PathBuf> = points.map(|point| point.join(&self.name)).collect();
        for folder in &folders {
            until(Duration::from_secs(5), "a cgroup stays busy", || match fs::remove_dir(folder) {
                Ok(()) => Ok(true),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => Ok(false),
                Err(e) => Err(e),
            })?;
        }
        let _alone = lock_file(lock, FlockArg::LockExclusive)?;
        for parent in folders.iter().filter_map(|folder| folder.parent()) {
            // It stays as long as it holds another machine's.
            fs::remove_dir(parent).ok();
        }
        Ok(())
    }
}

/// Waits until `done` says so; it is asked every few milliseconds.
pub(crate) fn until(limit: Duration, otherwise: &str, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    while !done()? {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, otherwise));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_and_unified_hosts_are_told_apart() {
        let hybrid = Hierarchies::parse(
            "30 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             31 25 0:28 / /sys/fs/cgroup/freezer rw shared:9 - cgroup cgroup rw,freezer\n\
             32 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(hybrid.v1_point("freezer"), Some(Path::new("/sys/fs/cgroup/freezer")));
        assert_eq!(hybrid.group("/a/b").folder("memory"), Some("/sys/fs/cgroup/memory/a/b".into()));
        assert_eq!(hybrid.missing(), Some("cpu"));
        let unified = Hierarchies::parse("32 25 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(unified.group("/a/b").folder("memory"), Some("/sys/fs/cgroup/a/b".into()));
    }
    /// Folders stand in for a hierarchy.
    #[test]
    fn the_parent_stays_while_a_machine_is_being_started_and_goes_with_the_last() -> io::Result<()> {
        let root = tempfile::tempdir()?;
        let hierarchies = Hierarchies { v1: vec![(root.path().join("h"), vec!["pids".into()])], v2: None };
        let (lock, parent) = (root.path().join(PARENT_LOCK), root.path().join("h/parent"));
        let last = hierarchies.group("/parent/last");
        fs::create_dir_all(parent.join("last"))?;
        let starting = hold_parent(&lock)?;
        let removing = thread::spawn({
            let lock = lock.clone();
            move || last.remove(&lock)
        });
        until(Duration::from_secs(10), "the last one stays", || Ok(!parent.join("last").exists()))?;
        fs::create_dir(parent.join("next"))?;
        drop(starting);
        removing.join().expect("no panic")?;
        assert!(parent.join("next").is_dir());
        hierarchies.group("/parent/next").remove(&lock)?;
        assert!(!parent.exists());
        Ok(())
    }
}
