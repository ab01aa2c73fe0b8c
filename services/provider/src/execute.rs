//! Does what was decided, one action at a time for each agreement. No decisions here: it writes down, calls, and reports.

use std::time::Duration;

use sublet_base::{MachineId, Seconds, UnixTime};
use sublet_chain::{Call, ReadError, SubmitError, TxKey};
use sublet_client::HostError;
use sublet_market::{JobDocument, MachineRequest};
use sublet_store::StoreError;
use sublet_wire::host;
use sublet_wire::link::Agreement;
use thiserror::Error;
use tokio::time::timeout;

use crate::case::{Case, Note};
use crate::config::ProviderConfig;
use crate::decide::{Action, Policy, Send};
use crate::handover::look_up;
use crate::offers::Signed;
use crate::state::State;

/// An action that failed. It is decided again later, from what is then the case.
#[derive(Debug, Error)]
pub(crate) enum ExecuteError {
    #[error("the host did not do it")]
    Host(#[from] HostError),
    #[error("the chain did not do it")]
    Chain(#[from] SubmitError),
    #[error("the chain did not say")]
    Read(#[from] ReadError),
    #[error("the journal failed")]
    Store(#[from] StoreError),
    #[error("it was given up after {} s: something else is due", .0.as_secs())]
    Late(Duration),
}

/// Does one action about one agreement. What waits for the host or for old events is given up after `left`, if that is
/// given: it is decided again, and so is what else is due by then.
pub(crate) async fn execute_within(
    left: Option<Seconds>,
    state: &State,
    config: &ProviderConfig,
    policy: &Policy,
    case: &Case,
    action: Action,
    now: UnixTime,
) -> Result<(), ExecuteError> {
    let patient = matches!(action, Action::Note(_) | Action::Send(_) | Action::Finish);
    let work = execute(state, config, policy, case, action, now);
    match left.filter(|_| !patient).map(|left| Duration::from_secs(left.0.into())) {
        Some(left) => timeout(left, work).await.unwrap_or(Err(ExecuteError::Late(left))),
        None => work.await,
    }
}

async fn execute(
    state: &State,
    config: &ProviderConfig,
    policy: &Policy,
    case: &Case,
    action: Action,
    now: UnixTime,
) -> Result<(), ExecuteError> {
    let (id, machine) = (case.id(), state.machine(case.id()));
    match action {
        Action::Note(note) => {
            tell(id, &note);
            state.note(id, note).await?;
        }
        Action::LookUp => {
            let note = match case.opened.order {
                Some(order) => look_up(state, case, order).await?,
                None => Note::Unplaced,
            };
            tell(id, &note);
            state.note(id, note).await?;
        }
        Action::Create => create(state, config, case).await?,
        Action::Start => {
            state.note(id, Note::Starting(now)).await?;
            state.host.start(&machine).await?;
            state.note(id, Note::Started).await?;
        }
        Action::Stop => {
            state.host.stop(&machine, policy.stop_grace).await?;
        }
        Action::Delete => {
            state.host.delete(&machine).await?;
            state.note(id, Note::Removed).await?;
        }
        Action::Send(send) => transact(state, id, send).await?,
        Action::Finish => {
            state.finish(id).await?;
            tracing::info!(agreement = %id, "closed");
        }
    }
    Ok(())
}

/// What people should read in the log.
fn tell(id: Agreement, note: &Note) {
    match note {
        Note::Failed(reason) => tracing::warn!(agreement = %id, reason, "cannot be served"),
        Note::RanOut(Some(_)) => tracing::info!(agreement = %id, "the rent is used up; the machine is stopped"),
        Note::RanOut(None) => tracing::info!(agreement = %id, "topped up"),
        Note::Missing(Some(_)) => tracing::warn!(agreement = %id, "the host does not have the machine"),
        Note::Judged(verdict, _) => tracing::info!(agreement = %id, reason = verdict.reason, "ended without a result"),
        Note::Finished(f) => tracing::info!(agreement = %id, exit_code = f.result.exit_code, "finished"),
        Note::Handed(_)
        | Note::Unplaced
        | Note::Foreign
        | Note::Creating
        | Note::Starting(_)
        | Note::Started
        | Note::Removed
        | Note::Accepted(_)
        | Note::InVain
        | Note::Fetched
        | Note::Hindered(_)
        | Note::Missing(None)
        | Note::Ended(_) => tracing::debug!(agreement = %id, step = note.step().0, "noted"),
    }
}

async fn create(state: &State, config: &ProviderConfig, case: &Case) -> Result<(), ExecuteError> {
    let id = case.id();
    let request = match state.signed(case.opened.offer).await? {
        Some(signed) => machine_request(state.machine(id), case, config, &signed),
        None => Err("the offer was signed by another installation of this provider".to_owned()),
    };
    let request = match request {
        Ok(request) => request,
        Err(reason) => return Ok(state.note(id, Note::Failed(reason)).await?),
    };
    if !case.may_exist {
        state.note(id, Note::Creating).await?;
    }
    match state.host.create(request).await {
        Ok(_) => Ok(()),
        Err(HostError::Invalid(reason)) => Ok(state.note(id, Note::Failed(reason)).await?),
        Err(HostError::Taken(_)) => {
            // Names of agreements are ours: an older store or another chain left this one.
            tracing::warn!(agreement = %id, "an unknown machine has this agreement's name; removing it");
            Ok(state.host.delete(&state.machine(id)).await?)
        }
        Err(error) => {
            // Not when the host is away: that is seen, and passes by itself.
            if !matches!(error, HostError::Unavailable(_)) && case.hindered.as_deref() != Some(&error.to_string()) {
                state.note(id, Note::Hindered(error.to_string())).await?;
            }
            Err(error.into())
        }
    }
}

/// The machine an agreement needs. Its document was checked when it was handed over.
fn machine_request(
    machine: MachineId,
    case: &Case,
    config: &ProviderConfig,
    signed: &Signed,
) -> Result<host::MachineRequest, String> {
    let document = case.document.as_deref().ok_or("no document was handed over")?;
    let unreadable = |error: serde_json::Error| format!("the document cannot be read: {error}");
    let driver = config.offers.iter().find(|o| o.name == signed.name).and_then(|o| o.driver);
    Ok(match case.id() {
        Agreement::Lease(_) => {
            let wanted: MachineRequest = serde_json::from_str(document).map_err(unreadable)?;
            host::MachineRequest::for_lease(machine, wanted, driver)
        }
        Agreement::Job(_) => {
            let wanted: JobDocument = serde_json::from_str(document).map_err(unreadable)?;
            host::MachineRequest::for_job(machine, wanted, driver)
        }
    })
}

async fn transact(state: &State, id: Agreement, send: Send) -> Result<(), ExecuteError> {
    let Some((name, call)) = call(id, &send) else { return Ok(()) };
    // The contract's own state makes a second one harmless, so the key need only live until the answer.
    let answer = state.ledger.submit(&TxKey::passing(format!("{id}/{name}")), &call).await;
    let landed = answer?;
    tracing::info!(agreement = %id, call = name, tx = %landed.tx, "done on chain");
    Ok(())
}

/// The contract's call, and its name. `None` if the two kinds were mixed up.
fn call(id: Agreement, send: &Send) -> Option<(&'static str, Call)> {
    Some(match (id, send) {
        (Agreement::Lease(id), Send::StartLease) => ("start", Call::StartLease(id)),
        (Agreement::Lease(id), Send::RejectLease) => ("reject", Call::RejectLease(id)),
        (Agreement::Lease(id), Send::ExpireLease) => ("expire", Call::ExpireLease(id)),
        (Agreement::Lease(id), Send::SettleLease) => ("settle", Call::SettleLease(id)),
        (Agreement::Lease(id), Send::CloseLease { max_penalty }) => {
            ("close", Call::CloseLease { id, max_penalty: *max_penalty })
        }
        (Agreement::Job(id), Send::RejectJob) => ("reject", Call::RejectJob(id)),
        (Agreement::Job(job), Send::SubmitJob { result, used }) => {
            ("submit", Call::SubmitJob { job, result: *result, used: *used })
        }
        (Agreement::Job(id), Send::FinalizeJob) => ("finalize", Call::FinalizeJob(id)),
        (Agreement::Job(id), Send::ExpireJob) => ("expire", Call::ExpireJob(id)),
        (Agreement::Job(id), Send::DrawPanel) => ("draw", Call::Draw(id)),
        (Agreement::Job(id), Send::ResolveDispute) => ("resolve", Call::Resolve(id)),
        (Agreement::Lease(_) | Agreement::Job(_), _) => return None,
    })
}
