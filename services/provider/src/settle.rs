//! Collects what renters accepted: one settlement as itself, several in one transaction whose rows fail alone.

use sublet_base::JobId;
use sublet_chain::{Call, Event, Refusal, TxKey};
use sublet_market::SignedAcceptance;
use sublet_wire::link::Agreement;

use crate::case::Note;
use crate::execute::ExecuteError;
use crate::state::State;

/// One settlement is under way at a time, so one name will do. The contract's own state makes a second one harmless.
const KEY: &str = "provider/settle";

/// Settles these jobs. What the contract does not take is decided again from what the chain then says.
pub(crate) async fn settle(state: &State, waiting: Vec<(JobId, SignedAcceptance)>) -> Result<(), ExecuteError> {
    let rows = if waiting.len() < 2 { waiting } else { asked(state, waiting).await? };
    let call = match rows.as_slice() {
        [] => return Ok(()),
        [(_, acceptance)] => Call::SettleJob(acceptance.clone()),
        several => Call::SettleJobs(several.iter().map(|(_, acceptance)| acceptance.clone()).collect()),
    };
    match state.ledger.submit(&TxKey::passing(KEY), &call).await {
        Ok(landed) => {
            tracing::info!(jobs = rows.len(), tx = %landed.tx, "settled");
            for event in &landed.events {
                if let Event::SettleRefused { id, refusal, .. } = event {
                    turned_down(state, *id, refusal).await?;
                }
            }
            Ok(())
        }
        Err(error) => match (error.refusal(), rows.as_slice()) {
            (Some(refusal), [(id, _)]) if is_its_fault(refusal) => turned_down(state, *id, refusal).await,
            (Some(_) | None, _) => Err(error.into()),
        },
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
            Err(refusal) => turned_down(state, id, &refusal).await?,
        }
    }
    Ok(rows)
}

/// An acceptance that is itself at fault is dropped; otherwise the job has changed, and the next look will tell.
async fn turned_down(state: &State, id: JobId, refusal: &Refusal) -> Result<(), ExecuteError> {
    let agreement = Agreement::Job(id);
    tracing::warn!(%agreement, reason = %refusal, "the contract does not take the renter's acceptance");
    if is_its_fault(refusal) && state.case(agreement).is_some() {
        state.note(agreement, Note::Accepted(None)).await?;
    }
    Ok(())
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
