//! The control group of a machine's QEMU. Only for root: an ordinary user's machines are bounded by what QEMU gives them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sublet_base::MiB;
use sublet_machine::Resources;

use super::config::{Engine, TRANSLATED_MIB};
use crate::cgroup::{Hierarchies, hold_parent};

/// What QEMU needs beyond its guest's memory and translated code, MiB.
const OVERHEAD: u32 = 130;
/// Threads of QEMU beyond one a processor: disks are read and written by up to 64.
const THREADS: u32 = 96;
/// Period over which processor time is counted, microseconds.
const PERIOD: u64 = 100_000;

/// Limits on a QEMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Name of the group in every hierarchy.
    group: String,
    /// What is held while it is made.
    parent_lock: PathBuf,
    memory_bytes: u64,
    cpu_micros: u64,
    threads: u32,
}

impl Limits {
    /// What a machine with these resources needs, and not more.
    pub(super) fn of(resources: &Resources, engine: Engine, group: String, parent_lock: PathBuf) -> Self {
        Self {
            group,
            parent_lock,
            memory_bytes: resources.memory.bytes() + overhead(engine).bytes(),
            cpu_micros: u64::from(resources.vcpus.0) * PERIOD,
            threads: resources.vcpus.0.saturating_add(THREADS),
        }
    }

    /// Puts the current process under them.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn enter(&self) -> io::Result<()> {
        let group = Hierarchies::find()?.group(&self.group);
        let _parent = hold_parent(&self.parent_lock)?;
        for controller in ["memory", "cpu", "cpuacct", "pids"] {
            let Some(folder) = group.folder(controller) else { continue };
            let v1 = group.is_v1(controller);
            if !v1 {
                if controller == "cpuacct" {
                    continue;
                }
                enable(&folder)?;
            }
            fs::create_dir_all(&folder)?;
            for (file, value) in self.files(controller, v1) {
                fs::write(folder.join(file), value)?;
            }
            fs::write(folder.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    fn files(&self, controller: &str, v1: bool) -> Vec<(&'static str, String)> {
        match (controller, v1) {
            ("memory", true) => vec![("memory.limit_in_bytes", self.memory_bytes.to_string())],
            ("memory", false) => vec![("memory.max", self.memory_bytes.to_string())],
            ("cpu", true) => {
                vec![("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", self.cpu_micros.to_string())]
            }
            ("cpu", false) => vec![("cpu.max", format!("{} {PERIOD}", self.cpu_micros))],
            ("pids", _) => vec![("pids.max", self.threads.to_string())],
            _ => vec![],
        }
    }
}

/// Lets `ROOT/PARENT/folder` have limits; version 2 asks for that at every level.
fn enable(folder: &Path) -> io::Result<()> {
    for level in folder.ancestors().skip(1).take(2).collect::<Vec<_>>().into_iter().rev() {
        fs::create_dir_all(level)?;
        fs::write(level.join("cgroup.subtree_control"), "+memory +cpu +pids")?;
    }
    Ok(())
}

/// Memory of the host that a machine takes beyond its own.
fn overhead(engine: Engine) -> MiB {
    match engine {
        Engine::Kvm => MiB(OVERHEAD),
        Engine::Tcg { .. } => MiB(OVERHEAD + TRANSLATED_MIB),
    }
}

/// Kills what is left in a group and removes it. Harmless when absent.
///
/// # Errors
/// The system's.
pub(super) fn remove(name: &str, parent_lock: &Path) -> io::Result<()> {
    let group = Hierarchies::find()?.group(name);
    group.kill_all()?;
    group.remove(parent_lock)
}

#[cfg(test)]
mod tests {
    use sublet_base::{GiB, Vcpus};

    use super::*;

    #[test]
    fn limits_follow_from_what_was_rented() {
        let resources = Resources { vcpus: Vcpus(2), memory: MiB(1024), disk: GiB(10), pids: 100 };
        let of = |engine| Limits::of(&resources, engine, "g".into(), "l".into());
        let real = of(Engine::Kvm);
        assert_eq!(real.files("memory", false), [("memory.max", ((1024 + 130_u64) << 20).to_string())]);
        assert_eq!(real.files("cpu", false), [("cpu.max", "200000 100000".to_owned())]);
        let emulated = of(Engine::Tcg { tsc_khz: 1 });
        assert_eq!(emulated.memory_bytes - real.memory_bytes, 128 << 20);
    }
}
