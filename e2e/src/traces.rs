//! What a network leaves on this computer: processes, mounts, network namespaces and cgroups, found by looking, not by asking.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait;

/// Where cgroups are, version 2 and each controller of version 1.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What was seen of the machines of one home.
pub struct Traces {
    home: PathBuf,
    cgroups: BTreeSet<String>,
    namespaces: BTreeSet<PathBuf>,
    /// Machines of others, there before this network.
    foreign: BTreeSet<String>,
}

impl Traces {
    /// Of everything that belongs to `home`.
    pub fn of(home: &Path) -> Self {
        let foreign = machines().unwrap_or_default().into_iter().map(|(_, group)| group).collect();
        Self { home: home.to_owned(), cgroups: BTreeSet::new(), namespaces: BTreeSet::new(), foreign }
    }

    /// Remembers where the home's processes live now; returns how many there are.
    pub fn observe(&mut self) -> Result<usize> {
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let mut processes = self.processes()?;
        let machines = machines()?.into_iter().filter(|(_, group)| !self.foreign.contains(group));
        processes.extend(machines.map(|(id, _)| id));
        for id in &processes {
            let folder = Path::new("/proc").join(id.to_string());
            let groups = std::fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
            let groups = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
            self.cgroups.extend(groups.filter(|path| path.contains("/sublet-")).map(str::to_owned));
            let net = std::fs::read_link(folder.join("ns/net"));
            self.namespaces.extend(net.ok().filter(|net| *net != own));
        }
        Ok(processes.len())
    }

    /// Network namespaces of machines seen so far.
    pub fn namespaces(&self) -> usize {
        self.namespaces.len()
    }

    /// Waits until nothing is left of what was seen, nor of the home.
    pub fn wait_until_gone(&self, limit: Duration) -> Result<()> {
        let gone = wait::until("every trace to go", limit, || Ok(self.left()?.is_empty().then_some(())));
        gone.with_context(|| format!("left over: {:#?}", self.left()))
    }

    /// What is left.
    pub fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for id in self.processes()? {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            left.push(format!("process {id}: {}", String::from_utf8_lossy(&line).replace('\0', " ")));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let home = self.home.to_string_lossy();
        left.extend(mounts.lines().filter(|line| line.contains(home.as_ref())).map(|line| format!("mount {line}")));
        let kept = |net: &PathBuf| mounts.lines().any(|line| line.contains(net.to_string_lossy().as_ref()));
        let mut namespaces = BTreeSet::new();
        for id in all_processes()? {
            namespaces.extend(std::fs::read_link(format!("/proc/{id}/ns/net")));
        }
        let alive = self.namespaces.iter().filter(|net| namespaces.contains(*net) || kept(net));
        left.extend(alive.map(|net| format!("network namespace {}", net.display())));
        left.extend(self.groups_left()?);
        Ok(left)
    }

    fn groups_left(&self) -> Result<Vec<String>> {
        let mut roots = vec![PathBuf::from(CGROUPS)];
        for entry in std::fs::read_dir(CGROUPS)? {
            roots.push(entry?.path());
        }
        let places = roots.iter().flat_map(|root| self.cgroups.iter().map(move |group| (root, group)));
        let places = places.map(|(root, group)| root.join(group.trim_start_matches('/')));
        Ok(places.filter(|path| path.exists()).map(|path| format!("cgroup {}", path.display())).collect())
    }

    /// Processes that were started in the home, work in it, or see a part of it.
    fn processes(&self) -> Result<Vec<u32>> {
        let needle = self.home.as_os_str().as_bytes();
        let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        let own = std::process::id();
        // Mounts made in our namespace show in everybody's list; they are looked at once, on their own.
        let ours = std::fs::read_link("/proc/self/ns/mnt")?;
        let belongs = |id: &u32| {
            let folder = Path::new("/proc").join(id.to_string());
            let cwd = std::fs::read_link(folder.join("cwd")).unwrap_or_default();
            let elsewhere = std::fs::read_link(folder.join("ns/mnt")).is_ok_and(|space| space != ours);
            let files: &[&str] = if elsewhere { &["cmdline", "environ", "mountinfo"] } else { &["cmdline", "environ"] };
            let seen = files.iter().any(|name| holds(&std::fs::read(folder.join(name)).unwrap_or_default()));
            // A folder that is removed meanwhile is still named, as deleted.
            *id != own && (holds(cwd.as_os_str().as_bytes()) || seen)
        };
        Ok(all_processes()?.into_iter().filter(belongs).collect())
    }
}

/// Processes in the control group of a machine that serves an agreement or judges one: one in a container sees nothing of the home.
fn machines() -> Result<Vec<(u32, String)>> {
    let machine = |path: &str| {
        let mut parts = path.rsplit('/');
        let name = parts.next().unwrap_or_default();
        let serves = ["lease-", "job-", "mediation-"].iter().any(|kind| name.starts_with(kind));
        serves && parts.next().is_some_and(|parent| parent.starts_with("sublet-"))
    };
    let group = |id: u32| {
        let groups = std::fs::read_to_string(format!("/proc/{id}/cgroup")).unwrap_or_default();
        let path = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find(|path| machine(path));
        path.map(|path| (id, path.to_owned()))
    };
    Ok(all_processes()?.into_iter().filter_map(group).collect())
}

/// Processes of one machine whose command line holds `word`.
pub fn processes_of(machine: &str, word: &str) -> Result<Vec<u32>> {
    let found = machines()?.into_iter().filter(|(_, group)| group.rsplit('/').next() == Some(machine));
    let line = |id: u32| std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    Ok(found.map(|(id, _)| id).filter(|id| String::from_utf8_lossy(&line(*id)).contains(word)).collect())
}

/// Fails if anything that was started in a home still runs.
pub fn nothing_is_left(home: &Path) -> Result<()> {
    let left = started_in(home)?;
    ensure!(left.is_empty(), "still running: {left:#?}");
    Ok(())
}

/// Processes whose command line names the home, as that of everything `sublet up` starts does.
pub fn started_in(home: &Path) -> Result<Vec<String>> {
    let home = home.to_string_lossy();
    // A process may end while it is looked at.
    let line = |id: u32| std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let lines = all_processes()?.into_iter().map(|id| String::from_utf8_lossy(&line(id)).replace('\0', " "));
    Ok(lines.filter(|line| line.contains(home.as_ref())).collect())
}

/// Children of a process whose command line holds `word`.
pub fn children(parent: u32, word: &str) -> Result<Vec<u32>> {
    let is_child = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The name in parentheses may hold spaces; the parent is the second field after it.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        after.split_whitespace().nth(1).and_then(|text| text.parse().ok()) == Some(parent)
            && String::from_utf8_lossy(&line).contains(word)
    };
    Ok(all_processes()?.into_iter().filter(is_child).collect())
}

fn all_processes() -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        found.extend(entry?.file_name().to_string_lossy().parse::<u32>().ok());
    }
    Ok(found)
}
