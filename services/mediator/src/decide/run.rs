//! Running the job again, as its provider was to run it. Whatever goes wrong here is our own failure: it is tried again
//! while that makes sense, and then nothing is said.

use sublet_machine::{Guest, Phase};
use sublet_wire::host::MachineView;

use super::{Action, OnHost, Policy};
use crate::case::{Case, Note};

/// The next step towards our own result.
pub(super) fn run(case: &Case, host: OnHost<'_>, policy: &Policy) -> Option<Action> {
    if case.unable.is_some() || case.found.is_some() {
        return super::clean_up(case, host);
    }
    case.document.as_ref()?;
    match host {
        OnHost::Silent => None,
        OnHost::Absent if case.creations >= policy.creations && !case.may_exist => {
            Some(unable("the machine broke too often"))
        }
        OnHost::Absent => Some(Action::Create),
        OnHost::Here(machine) => attend(case, machine, policy),
    }
}

fn attend(case: &Case, machine: &MachineView, policy: &Policy) -> Option<Action> {
    if let Some(result) = machine.result {
        return Some(Action::Note(Note::Found(result)));
    }
    match (&machine.phase, &machine.guest) {
        (Phase::Failed(reason), _) => {
            Some(if case.creations >= policy.creations { unable(reason) } else { Action::Delete })
        }
        (_, Guest::GaveUp { reason }) => Some(unable(reason)),
        (Phase::Stopped, _) if case.starts >= policy.starts => {
            Some(unable("its machine kept stopping without a result"))
        }
        (Phase::Stopped, _) => Some(Action::Start),
        // However long it takes: only the end of the time to commit ends it.
        (
            Phase::Creating
            | Phase::Starting
            | Phase::Running
            | Phase::Pausing
            | Phase::Paused
            | Phase::Resuming
            | Phase::Stopping
            | Phase::Deleting
            | Phase::Deleted,
            Guest::Silent | Guest::Ready { .. } | Guest::Exited { .. },
        ) => None,
    }
}

fn unable(reason: &str) -> Action {
    Action::Note(Note::Unable(reason.chars().take(1000).collect()))
}
