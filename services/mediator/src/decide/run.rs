//! Running the job again, as its provider was to run it. Whatever goes wrong here is our own failure: it is tried again
//! while that makes sense, and then nothing is said. A machine that stops without a result may have done so by its host.

use sublet_base::{Seconds, UnixTime};
use sublet_machine::{Guest, Phase};
use sublet_market::JobDocument;
use sublet_wire::host::MachineView;
use sublet_wire::verdict::Verdict;

use super::{Action, OnHost, Policy};
use crate::case::{Case, Note};

/// The next step towards our own result.
pub(super) fn run(case: &Case, host: OnHost<'_>, now: UnixTime, policy: &Policy) -> Option<Action> {
    if case.unable.is_some() || case.found.is_some() {
        return super::clean_up(case, host);
    }
    let document = case.document.as_deref()?;
    match host {
        OnHost::Silent => None,
        OnHost::Absent if case.creations >= policy.creations && !case.may_exist => {
            Some(unable("the machine broke too often"))
        }
        OnHost::Absent => Some(Action::Create),
        OnHost::Here(machine) => attend(case, document, machine, now, policy),
    }
}

fn attend(case: &Case, document: &str, machine: &MachineView, now: UnixTime, policy: &Policy) -> Option<Action> {
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
        (Phase::Running | Phase::Paused, _) => match case.runs_since {
            None => Some(Action::Note(Note::Runs(now))),
            Some(since) => timed_out(case, document, now.since(since)),
        },
        (
            Phase::Creating
            | Phase::Starting
            | Phase::Pausing
            | Phase::Resuming
            | Phase::Stopping
            | Phase::Deleting
            | Phase::Deleted,
            Guest::Silent | Guest::Ready { .. } | Guest::Exited { .. },
        ) => None,
    }
}

/// A provider that submitted the timeout is right if it takes as long here. Otherwise only the end of the time to commit ends
/// the run: ours may be the slower host.
fn timed_out(case: &Case, document: &str, ran: u64) -> Option<Action> {
    let timeout = serde_json::from_str::<JobDocument>(document).map_or(Seconds(u32::MAX), |job| job.timeout);
    let same = ran > u64::from(timeout.0) && Verdict::timeout(timeout).result().hash == case.raised.submitted;
    same.then_some(Action::Note(Note::TimedOut(timeout)))
}

fn unable(reason: &str) -> Action {
    Action::Note(Note::Unable(reason.chars().take(1000).collect()))
}
