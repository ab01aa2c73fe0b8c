//! The machine that a workload asks for. Provider and mediator make it by the same rule: an exact result must not depend
//! on who runs the job, nor on the agreement's number.

use std::fmt;

use sublet_base::{Address, GiB, MachineId, keccak256};
use sublet_machine::{Clock, DriverKind, ImageRef, Resources};
use sublet_market as market;

use crate::guest::{Configure, Workload};
use crate::host::MachineRequest;

/// Processes at once in a machine people log in to.
const LOGIN_PIDS: u32 = 4096;
/// Processes at once in a job.
const TASK_PIDS: u32 = 1024;
/// Host name inside every job's machine.
const TASK_HOSTNAME: &str = "job";

impl MachineRequest {
    /// The machine `id` that runs a job. The document must have been checked.
    #[must_use]
    pub fn for_job(id: MachineId, job: market::JobDocument, driver: Option<DriverKind>) -> Self {
        let env = job.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let clock = match job.class {
            market::Class::None => Clock::Host,
            market::Class::Exact => Clock::Fixed,
        };
        let workload = Workload::Task { argv: job.argv, cwd: "/".into() };
        let guest = Configure { hostname: TASK_HOSTNAME.into(), workload, env, files: vec![], pids: TASK_PIDS };
        Self { id, resources: resources(&job.resources, TASK_PIDS), image: image(job.image), driver, guest, clock }
    }

    /// The machine `id` that a lease's renter logs in to. The request must have been checked.
    #[must_use]
    pub fn for_lease(id: MachineId, wanted: market::MachineRequest, driver: Option<DriverKind>) -> Self {
        let workload = Workload::Login { authorized_keys: wanted.ssh_keys };
        let hostname = wanted.name.to_string();
        let guest = Configure { hostname, workload, env: vec![], files: vec![], pids: LOGIN_PIDS };
        let (resources, image) = (resources(&wanted.resources, LOGIN_PIDS), image(wanted.image));
        Self { id, resources, image, driver, guest, clock: Clock::Host }
    }
}

/// Whose machines these are, on a host that serves several accounts, or one account in several networks: the beginning of a
/// hash of account and network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// Of the machines in which `account` serves agreements of this contract.
    #[must_use]
    pub fn of(account: Address, chain_id: u64, contract: Address) -> Self {
        let whose = [account.as_slice(), &chain_id.to_be_bytes(), contract.as_slice()].concat();
        Self(keccak256(whose)[..4].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the machine in which one of the numbered agreements of `mark` is served.
///
/// # Panics
/// If `kind` is no short word of lower-case letters.
#[must_use]
pub fn machine_name(kind: &str, number: u64, mark: &Mark) -> MachineId {
    let name = format!("{kind}-{number}-{mark}");
    name.parse().expect("a word, a number and a mark are a name")
}

/// The number of the agreement whose machine this is, if it bears `mark` and is of this kind.
#[must_use]
pub fn machine_number(machine: &MachineId, kind: &str, mark: &Mark) -> Option<u64> {
    let (digits, whose) = machine.as_str().strip_prefix(kind)?.strip_prefix('-')?.split_once('-')?;
    let number = digits.parse::<u64>().ok().filter(|n| n.to_string() == digits)?;
    (whose == mark.0).then_some(number)
}

/// How many machines of this size, each for an agreement of this kind, a whole host has room for, side by side. A zero in
/// `each` does not limit.
#[must_use]
pub fn room(host: &Resources, each: &market::Resources, kind: market::Kind) -> u32 {
    let pids = match kind {
        market::Kind::Lease => LOGIN_PIDS,
        market::Kind::Job => TASK_PIDS,
    };
    let each_gpus = each.gpus;
    let each = resources(each, pids);
    let ratio = |have: u32, need: u32| have.checked_div(need).unwrap_or(u32::MAX);
    ratio(host.vcpus.0, each.vcpus.0)
        .min(ratio(host.memory.0, each.memory.0))
        .min(ratio(host.disk.0, each.disk.0))
        .min(ratio(host.pids, each.pids))
        // No driver hands a GPU on.
        .min(ratio(0, each_gpus))
}

/// A machine always has a writable layer.
fn resources(size: &market::Resources, pids: u32) -> Resources {
    Resources { vcpus: size.vcpus, memory: size.memory, disk: size.disk.max(GiB(1)), pids }
}

fn image(image: market::ImageRef) -> ImageRef {
    ImageRef { name: image.name, digest: image.digest }
}

#[cfg(test)]
mod tests {
    use sublet_base::{MiB, Vcpus};

    use super::*;

    #[test]
    fn a_job_is_the_same_inside_under_every_name() {
        let document = serde_json::json!({ "module": { "name": "m", "version": "1.0.0" },
            "image": { "name": "m", "digest": sublet_base::Digest([1; 32]) }, "argv": ["/bin/true"],
            "env": { "B": "2", "A": "1" }, "inputs": {}, "class": "exact", "timeout": 60,
            "resources": { "vcpus": 1, "memory_mib": 64, "disk_gib": 0 } });
        let job: market::JobDocument = serde_json::from_value(document).expect("a job");
        let made = |name: &str| MachineRequest::for_job(name.parse().expect("a name"), job.clone(), None);
        let (provider, mediator) = (made("job-7"), made("mediation-7"));
        assert_eq!((&provider.guest, provider.resources), (&mediator.guest, mediator.resources));
        assert_eq!((provider.clock, mediator.clock), (Clock::Fixed, Clock::Fixed));
        let unchecked = market::JobDocument { class: market::Class::None, ..job.clone() };
        assert_eq!(MachineRequest::for_job("job-8".parse().expect("a name"), unchecked, None).clock, Clock::Host);
        assert_eq!(provider.guest.env, ["A=1", "B=2"]);
        assert_eq!((provider.resources.memory, provider.resources.disk), (MiB(64), GiB(1)));
    }

    #[test]
    fn a_machine_belongs_to_one_account_in_one_network_and_one_kind() {
        let (me, contract) = (Address::repeat_byte(0xab), Address::repeat_byte(2));
        let ours = Mark::of(me, 1, contract);
        let machine = machine_name("job", 7, &ours);
        assert_eq!(machine_number(&machine, "job", &ours), Some(7));
        assert_eq!(machine_number(&machine, "lease", &ours), None);
        for other in [Mark::of(contract, 1, contract), Mark::of(me, 2, contract), Mark::of(me, 1, me)] {
            assert_eq!(machine_number(&machine, "job", &other), None, "{other}");
        }
        for foreign in ["job-7", &format!("job-07-{ours}"), &format!("job-x-{ours}"), &format!("jobs-7-{ours}"), "web1"]
        {
            assert_eq!(machine_number(&foreign.parse().expect("a name"), "job", &ours), None, "{foreign}");
        }
    }

    #[test]
    fn room_is_what_the_scarcest_leaves_processes_and_graphics_processors_too() {
        let host = |pids| Resources { vcpus: Vcpus(8), memory: MiB(4096), disk: GiB(40), pids };
        let each = |gpus| market::Resources {
            vcpus: Vcpus(1),
            memory: MiB(512),
            disk: GiB(0),
            gpus,
            traits: market::Traits::NONE,
        };
        assert_eq!(room(&host(1 << 20), &each(0), market::Kind::Lease), 8);
        assert_eq!(room(&host(16_384), &each(0), market::Kind::Lease), 4);
        assert_eq!(room(&host(3 * TASK_PIDS), &each(0), market::Kind::Job), 3);
        assert_eq!(room(&host(1 << 20), &each(1), market::Kind::Job), 0);
        let small = Resources { disk: GiB(2), ..host(1 << 20) };
        assert_eq!(room(&small, &each(0), market::Kind::Job), 2, "a writable layer takes a GiB at least");
    }
}
