//! Which driver runs a machine when nobody says.

use sublet_machine::{DriverKind, Isolation};
use sublet_wire::guest::Workload;
use sublet_wire::host::DriverReport;
use thiserror::Error;

/// No driver for it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoDriver {
    /// The one that was asked for cannot be used, or is not there.
    #[error("the {kind} driver cannot be used here: {reason}")]
    Unusable { kind: DriverKind, reason: String },
    /// None can.
    #[error("no driver can be used here: {0}")]
    None(String),
}

/// The driver for `workload`. A login gets a kernel of its own if that is possible at all; a task gets one only where
/// that costs nothing, because a container starts in a hundredth of the time. A simulation is the last resort.
pub(crate) fn choose(
    wanted: Option<DriverKind>,
    workload: &Workload,
    drivers: &[DriverReport],
) -> Result<DriverKind, NoDriver> {
    if let Some(kind) = wanted {
        let Some(report) = drivers.iter().find(|report| report.kind == kind) else {
            return Err(NoDriver::Unusable { kind, reason: "this host does not have it".into() });
        };
        return match &report.state {
            Ok(_) => Ok(kind),
            Err(unusable) => Err(NoDriver::Unusable { kind, reason: unusable.to_string() }),
        };
    }
    let rank = |report: &DriverReport| {
        let can = report.state.as_ref().ok()?;
        Some(match (can.isolation, can.accelerated, workload) {
            (Isolation::VirtualMachine, true, _) => 0,
            (Isolation::VirtualMachine, false, Workload::Login { .. }) => 1,
            (Isolation::Namespaces, _, _) => 2,
            (Isolation::VirtualMachine, false, Workload::Task { .. }) => 3,
            (Isolation::Simulated, _, _) => 4,
        })
    };
    let best = drivers.iter().filter_map(|report| Some((rank(report)?, report.kind))).min();
    best.map(|(_, kind)| kind).ok_or_else(|| {
        let reasons = drivers.iter().filter_map(|r| Some(format!("{}: {}", r.kind, r.state.as_ref().err()?)));
        NoDriver::None(reasons.collect::<Vec<_>>().join("; "))
    })
}

#[cfg(test)]
mod tests {
    use sublet_machine::{Capabilities, Unusable};

    use super::*;

    fn can(kind: DriverKind, isolation: Isolation, accelerated: bool) -> DriverReport {
        DriverReport { kind, state: Ok(Capabilities { isolation, pause: true, accelerated, notes: vec![] }) }
    }

    fn cannot(kind: DriverKind) -> DriverReport {
        DriverReport { kind, state: Err(Unusable { reason: "no".into(), remedy: "do".into() }) }
    }

    #[test]
    fn logins_get_kernels_and_tasks_get_speed() {
        let login = Workload::Login { authorized_keys: vec![] };
        let task = Workload::Task { argv: vec!["a".into()], cwd: "/".into() };
        let fake = can(DriverKind::Fake, Isolation::Simulated, false);
        let container = can(DriverKind::Container, Isolation::Namespaces, true);
        let emulated = can(DriverKind::Qemu, Isolation::VirtualMachine, false);
        let kvm = can(DriverKind::Qemu, Isolation::VirtualMachine, true);
        let all = [fake.clone(), container.clone(), emulated];
        assert_eq!(choose(None, &login, &all), Ok(DriverKind::Qemu));
        assert_eq!(choose(None, &task, &all), Ok(DriverKind::Container));
        assert_eq!(choose(None, &task, &[container, kvm]), Ok(DriverKind::Qemu));
        assert_eq!(choose(None, &task, &[fake, cannot(DriverKind::Qemu)]), Ok(DriverKind::Fake));
        assert!(matches!(choose(None, &task, &[cannot(DriverKind::Qemu)]), Err(NoDriver::None(_))));
        let asked = choose(Some(DriverKind::Qemu), &task, &[cannot(DriverKind::Qemu)]);
        assert_eq!(asked.expect_err("unusable").to_string(), "the qemu driver cannot be used here: no; do");
    }
}
