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

/// Settles these jobs. What the contract does not take is decided again from what the chain then says.
pub(crate) async fn settle(state: &State, waiting: Vec<(JobId, SignedAcceptance)>) -> Result<(), ExecuteError> {
    let rows = if waiting.len() < 2 { waiting } else { asked(state, waiting).await? };
    match send(state, &rows).await {
        // One that takes all the gas takes the others down with it.
        Err(ExecuteError::Chain(SubmitError::Reverted { .. })) if rows.len() > 1 => {
            for row in rows {
                send(state, &[row]).await?;
            }
            Ok(())
        }
        other => other,
    }
}

async fn send(state: &State, rows: &[(JobId, SignedAcceptance)]) -> Result<(), ExecuteError> {
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
                    turned_down(state, *id, refusal).await?;
                }
            }
            Ok(())
        }
        Err(error) => match (&error, rows) {
            (SubmitError::Refused(why) | SubmitError::Reverted { refusal: Some(why), .. }, [(id, _)])
                if is_its_fault(why) =>
            {
                turned_down(state, *id, why).await
            }
            // It cost its gas for no reason that the contract has: it is the renter's signature that took it.
            (SubmitError::Reverted { refusal: None, .. }, [(id, _)]) => drop_acceptance(state, *id, &error).await,
            (_, _) => Err(error.into()),
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
    if is_its_fault(refusal) {
        return drop_acceptance(state, id, refusal).await;
    }
    tracing::warn!(job = %id, reason = %refusal, "the contract does not take the renter's acceptance now");
    Ok(())
}

async fn drop_acceptance(state: &State, id: JobId, reason: &(impl Display + Sync)) -> Result<(), ExecuteError> {
    let agreement = Agreement::Job(id);
    tracing::warn!(%agreement, %reason, "the contract does not take the renter's acceptance");
    if state.case(agreement).is_some() {
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
