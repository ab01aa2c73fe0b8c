//! Collects what renters accepted: one settlement as itself, several in one transaction whose rows fail alone.

use std::fmt::Display;

use sublet_base::JobId;
use sublet_chain::{Call, Event, Refusal, SubmitError, TxKey};
use sublet_market::SignedAcceptance;
use sublet_wire::link::Agreement;

use crate::case::Note;
use crate::execute::ExecuteError;
use crate::state::State;

/// One settlement is under way at a time, so one name will do. The contract's own state makes a second one harmless.
const KEY: &str = "provider/settle";

/// What it took to find out that the contract does not want an acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    /// It was only asked.
    Nothing,
    /// It was sent.
    Gas,
}

/// Settles these jobs. What the contract does not take is decided again from what the chain then says.
pub(crate) async fn settle(state: &State, waiting: Vec<(JobId, SignedAcceptance)>) -> Result<(), ExecuteError> {
    let rows = if waiting.len() < 2 { waiting } else { asked(state, waiting).await? };
    match send(state, &rows, Cost::Nothing).await {
        // One that takes all the gas takes the others down with it. It has cost that, even if it is not sent again.
        Err(ExecuteError::Chain(SubmitError::Reverted { .. })) if rows.len() > 1 => {
            for row in rows {
                send(state, &[row], Cost::Gas).await?;
            }
            Ok(())
        }
        other => other,
    }
}

/// `spent`: what these rows have cost before.
async fn send(state: &State, rows: &[(JobId, SignedAcceptance)], spent: Cost) -> Result<(), ExecuteError> {
    let call = match rows {
        [] => return Ok(()),
        [(_, acceptance)] => Call::SettleJob(acceptance.clone()),
        several => Call::SettleJobs(several.iter().map(|(_, acceptance)| acceptance.clone()).collect()),
    };
    match state.ledger.submit(&TxKey::passing(KEY), &call).await {
        Ok(landed) => {
            tracing::info!(jobs = rows.len(), tx = %landed.tx, "settled");
            for event in &landed.events {
                if let Event::SettleRefused { id, refusal, .. } = event {
                    turned_down(state, *id, refusal, Cost::Gas).await?;
                }
            }
            Ok(())
        }
        Err(error) => {
            let note = match &error {
                SubmitError::Refused(why) => to_note(Some(why), spent),
                SubmitError::Reverted { refusal, .. } => to_note(refusal.as_ref(), Cost::Gas),
                _ => None,
            };
            match (note, rows) {
                (Some(note), [(id, _)]) => drop_acceptance(state, *id, note, &sublet_daemon::report(&error)).await,
                (_, _) => Err(error.into()),
            }
        }
    }
}

/// The rows that the contract would take: a refused one costs gas.
async fn asked(
    state: &State,
    waiting: Vec<(JobId, SignedAcceptance)>,
) -> Result<Vec<(JobId, SignedAcceptance)>, ExecuteError> {
    let mut rows = Vec::new();
    for (id, acceptance) in waiting {
        match state.ledger.check(&Call::SettleJob(acceptance.clone())).await? {
            Ok(()) => rows.push((id, acceptance)),
            Err(refusal) => turned_down(state, id, &refusal, Cost::Nothing).await?,
        }
    }
    Ok(rows)
}

async fn turned_down(state: &State, id: JobId, refusal: &Refusal, cost: Cost) -> Result<(), ExecuteError> {
    if let Some(note) = to_note(Some(refusal), cost) {
        return drop_acceptance(state, id, note, refusal).await;
    }
    tracing::warn!(job = %id, reason = %refusal, "the contract does not take the renter's acceptance now");
    Ok(())
}

async fn drop_acceptance(
    state: &State,
    id: JobId,
    note: Note,
    reason: &(impl Display + Sync),
) -> Result<(), ExecuteError> {
    let agreement = Agreement::Job(id);
    tracing::warn!(%agreement, %reason, "the contract does not take the renter's acceptance");
    if state.case(agreement).is_some() {
        state.note(agreement, note).await?;
    }
    Ok(())
}

/// What to note of an acceptance that the contract does not take. `None`: the job has changed, and the next look will tell.
fn to_note(why: Option<&Refusal>, cost: Cost) -> Option<Note> {
    match (why, cost) {
        (Some(Refusal::JobWrongState { .. }), _) => None,
        // It passed when it was asked about. A renter's contract can arrange that, with any reason or none, again and again.
        (_, Cost::Gas) => Some(Note::InVain),
        (Some(why), Cost::Nothing) => is_its_fault(why).then_some(Note::Accepted(None)),
        (None, Cost::Nothing) => None,
    }
}

/// Sending it again cannot help.
fn is_its_fault(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::AcceptanceBadSignature { .. }
            | Refusal::JobResultDiffers { .. }
            | Refusal::JobCostTooHigh { .. }
            | Refusal::JobCostTooLow { .. }
    )
}

#[cfg(test)]
mod tests {
    use sublet_base::{Address, UnixTime};
    use sublet_chain::JobState;

    use super::*;

    #[test]
    fn only_what_cost_gas_was_in_vain() {
        let unsigned = Refusal::AcceptanceBadSignature { renter: Address::ZERO, job: 7 };
        let starved = Refusal::JobCallbackGas { id: 7, left: 1, needed: 2 };
        let early = Refusal::TooEarly { id: 7, not_before: UnixTime(1) };
        let over = Refusal::JobWrongState { id: 7, state: JobState::Ended };
        let table = [
            (Some(&unsigned), Some(Note::Accepted(None)), Some(Note::InVain)),
            (Some(&starved), None, Some(Note::InVain)),
            (Some(&early), None, Some(Note::InVain)),
            (None, None, Some(Note::InVain)),
            (Some(&over), None, None),
        ];
        for (why, asked, sent) in table {
            assert_eq!(to_note(why, Cost::Nothing), asked, "{why:?} when asked");
            assert_eq!(to_note(why, Cost::Gas), sent, "{why:?} on chain");
        }
    }
}
