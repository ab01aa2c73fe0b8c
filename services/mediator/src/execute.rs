//! Does what was decided, one action at a time for each dispute. No decisions here: it writes down, calls, and reports.

use rand::Rng;
use sublet_base::{B256, JobId};
use sublet_chain::{Call, Refusal, SubmitError, TxKey};
use sublet_client::HostError;
use sublet_machine::DriverKind;
use sublet_market::{JobDocument, WorkloadDocument};
use sublet_store::StoreError;
use sublet_wire::host::MachineRequest;
use sublet_wire::link::ByteSource;
use thiserror::Error;

use crate::archives::KeepError;
use crate::ask::AskError;
use crate::case::{Ballot, Case, Note, machine_of};
use crate::decide::{Action, Send};
use crate::state::State;

/// An action that failed. It is decided again later, from what is then the case.
#[derive(Debug, Error)]
pub(crate) enum ExecuteError {
    #[error("the host did not do it")]
    Host(#[from] HostError),
    #[error("the chain did not do it")]
    Chain(#[from] SubmitError),
    #[error("the journal failed")]
    Store(#[from] StoreError),
    #[error("the archive was not kept")]
    Keep(#[from] KeepError),
    #[error("the archive could not be removed")]
    Drop(#[source] std::io::Error),
    #[error("the provider was not asked")]
    Ask(#[from] AskError),
}

/// Does one action about one dispute.
pub(crate) async fn execute(
    state: &State,
    driver: Option<DriverKind>,
    case: &Case,
    action: Action,
) -> Result<(), ExecuteError> {
    let (id, machine) = (case.id(), machine_of(case.id(), &state.mark));
    match action {
        Action::Note(note) => {
            tell(id, case, &note);
            state.note(id, note).await?;
        }
        Action::Create => create(state, driver, case).await?,
        Action::Start => {
            state.note(id, Note::Starting).await?;
            state.host.start(&machine).await?;
            state.note(id, Note::Started).await?;
        }
        Action::Keep => {
            let Some(found) = case.found else { return Ok(()) };
            let source: ByteSource = match &case.timed_out {
                Some(verdict) => Box::new(std::io::Cursor::new(verdict.archive())),
                None => state.host.result(&machine).await?,
            };
            state.archives.keep(id, source, found.bytes, found.hash).await?;
            state.note(id, Note::Kept).await?;
        }
        Action::Delete => {
            state.host.delete(&machine).await?;
            state.note(id, Note::Removed).await?;
        }
        Action::Seal(hash) => {
            tracing::info!(job = %id, vote = %hash, right = hash == case.raised.submitted, "votes");
            let salt = B256::from(rand::rng().random::<[u8; 32]>());
            state.note(id, Note::Sealed(Ballot { hash, salt })).await?;
        }
        Action::Send(send) => transact(state, id, &send).await?,
        Action::Drop => {
            state.archives.drop(id).await.map_err(ExecuteError::Drop)?;
            state.note(id, Note::Dropped).await?;
        }
        Action::Finish => {
            // What a crash between copying and noting left.
            state.archives.drop(id).await.map_err(ExecuteError::Drop)?;
            state.finish(id).await?;
            tracing::info!(job = %id, "closed");
        }
    }
    Ok(())
}

/// What people should read in the log.
fn tell(id: JobId, case: &Case, note: &Note) {
    match note {
        Note::Found(result) => {
            let same = result.hash == case.raised.submitted;
            tracing::info!(job = %id, exit_code = result.exit_code, result = %result.hash, same, "was run again");
        }
        Note::TimedOut(after) => tracing::info!(job = %id, %after, "was run again, and timed out as for its provider"),
        Note::Unable(reason) => {
            tracing::error!(job = %id, reason, "cannot be run again here; this mediator says nothing");
        }
        Note::Missed => tracing::error!(job = %id, "no vote in time: one fee of the bond is lost"),
        Note::Document(_)
        | Note::Archive
        | Note::Unanswered(_)
        | Note::Unasked
        | Note::Runs(_)
        | Note::Foreign
        | Note::Creating
        | Note::Starting
        | Note::Started
        | Note::Removed
        | Note::Kept
        | Note::Sealed(_)
        | Note::Over(_)
        | Note::Dropped => tracing::debug!(job = %id, step = note.step().0, "noted"),
    }
}

async fn create(state: &State, driver: Option<DriverKind>, case: &Case) -> Result<(), ExecuteError> {
    let id = case.id();
    let request = match machine_request(state, driver, case) {
        Ok(request) => request,
        Err(reason) => return unable(state, case, reason).await,
    };
    if !case.may_exist {
        state.note(id, Note::Creating).await?;
    }
    match state.host.create(request).await {
        Ok(_) => Ok(()),
        Err(HostError::Invalid(reason)) => unable(state, case, reason).await,
        Err(HostError::Taken(_)) => {
            // The name is ours alone: an older store or another chain left this one.
            tracing::warn!(job = %id, "an unknown machine has this dispute's name; removing it");
            Ok(state.host.delete(&machine_of(id, &state.mark)).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn unable(state: &State, case: &Case, reason: String) -> Result<(), ExecuteError> {
    let note = Note::Unable(reason);
    tell(case.id(), case, &note);
    Ok(state.note(case.id(), note).await?)
}

/// The machine the provider was to make, under a name of our own.
fn machine_request(state: &State, driver: Option<DriverKind>, case: &Case) -> Result<MachineRequest, String> {
    let document = case.document.as_deref().ok_or("no document was handed over")?;
    let job = JobDocument::open(document.as_bytes(), case.raised.workload).map_err(|e| e.to_string())?;
    Ok(MachineRequest::for_job(machine_of(case.id(), &state.mark), job, driver))
}

async fn transact(state: &State, job: JobId, send: &Send) -> Result<(), ExecuteError> {
    let (name, call) = match send {
        Send::Draw => ("draw", Call::Draw(job)),
        Send::Commit(commitment) => ("commit", Call::CommitVote { job, commitment: *commitment }),
        Send::Reveal(ballot) => ("reveal", Call::RevealVote { job, result: ballot.hash, salt: ballot.salt }),
        Send::Resolve => ("resolve", Call::Resolve(job)),
    };
    // The contract's own state makes a second one harmless, so the key need only live until the answer.
    match state.ledger.submit(&TxKey::passing(format!("{job}/{name}")), &call).await {
        Ok(landed) => {
            tracing::info!(%job, call = name, tx = %landed.tx, "done on chain");
            Ok(())
        }
        // Somebody else was quicker at what anybody may do.
        Err(error) if matches!(error.refusal(), Some(Refusal::DisputeWrongStage { .. })) => {
            tracing::debug!(%job, call = name, error = %error, "not needed any more");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
