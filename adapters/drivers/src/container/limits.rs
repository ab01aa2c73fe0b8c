//! What a container may use: memory, time and processes by its control group, the rest by limits on a process. And what
//! it sees of the host's processors.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sublet_base::Vcpus;
use sublet_machine::MachineSpec;

/// The limits of its control group.
pub(super) fn resources(spec: &MachineSpec, swap: bool) -> Value {
    let period = 100_000;
    let memory = spec.resources.memory.bytes();
    let mut limits = json!({ "limit": memory });
    if swap {
        limits["swap"] = json!(memory);
    }
    json!({
        "memory": limits,
        "cpu": {
            "quota": u64::from(spec.resources.vcpus.0) * period,
            "period": period,
            "shares": u64::from(spec.resources.vcpus.0).saturating_mul(1024).min(262_144),
        },
        "pids": { "limit": spec.resources.pids },
    })
}

/// Explicit limits, none above what we have ourselves: raising one takes a capability the host may lack.
pub(super) fn rlimits() -> Vec<Value> {
    use nix::sys::resource::{Resource, getrlimit};
    let wanted = [
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE, 65_536),
        ("RLIMIT_CORE", Resource::RLIMIT_CORE, 0),
        ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK, 8 << 20),
        ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE, 819_200),
    ];
    let limit = |(name, resource, wanted): (&str, Resource, u64)| {
        let most = getrlimit(resource).map_or(wanted, |(_, hard)| wanted.min(hard));
        json!({ "type": name, "hard": most, "soft": most })
    };
    wanted.into_iter().map(limit).collect()
}

/// Lets the current process, and what becomes of it, run on as many of the host's processors as were rented, so that
/// programs count what they have. `spread` keeps machines from all choosing the same.
///
/// # Errors
/// The system's.
pub(super) fn pin(vcpus: Vcpus, spread: u32) -> io::Result<()> {
    let own = sched_getaffinity(Pid::from_raw(0))?;
    let usable: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| own.is_set(cpu).unwrap_or(false)).collect();
    let mut chosen = CpuSet::new();
    for cpu in choose(&usable, vcpus, spread) {
        chosen.set(cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &chosen)?)
}

fn choose(usable: &[usize], vcpus: Vcpus, spread: u32) -> Vec<usize> {
    let count = usable.len().min(vcpus.0 as usize);
    usable.iter().copied().cycle().skip(spread as usize * count % usable.len().max(1)).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_see_what_was_rented_and_are_spread_over_the_host() {
        let usable = [0, 2, 4, 6];
        assert_eq!(choose(&usable, Vcpus(2), 0), [0, 2]);
        assert_eq!(choose(&usable, Vcpus(2), 1), [4, 6]);
        assert_eq!(choose(&usable, Vcpus(3), 1), [6, 0, 2]);
        assert_eq!(choose(&usable, Vcpus(9), 5), usable);
        assert_eq!(choose(&[], Vcpus(1), 7), [0; 0]);
    }
}
