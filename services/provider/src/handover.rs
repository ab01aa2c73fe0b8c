//! Documents of agreements: each has the hash on chain and asks for no more than was offered, however it comes.

use sublet_base::B256;
use sublet_market::{BadWorkload, Class, JobDocument, MachineRequest, WorkloadDocument};
use sublet_store::StoreError;
use sublet_wire::link::Agreement;
use thiserror::Error;

use crate::case::{Case, Note};
use crate::execute::ExecuteError;
use crate::state::State;

/// Why a document is not this agreement's.
#[derive(Debug, Error)]
pub(crate) enum Unfit {
    /// What was offered is not known now.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// What was offered is not known here.
    #[error("the offer was signed by another installation")]
    Foreign,
    /// It has another hash, or asks for what was not agreed.
    #[error(transparent)]
    Workload(#[from] BadWorkload),
}

/// Checks a document against the hash on chain and against what was offered.
pub(crate) async fn check(state: &State, case: &Case, document: &str) -> Result<(), Unfit> {
    let opened = &case.opened;
    let signed = state.signed(opened.offer).await?.ok_or(Unfit::Foreign)?;
    let agreed = &signed.offer.offer.resources;
    match case.id() {
        Agreement::Lease(_) => MachineRequest::open(document.as_bytes(), opened.workload)?.within(agreed)?,
        Agreement::Job(_) => {
            let job = JobDocument::open(document.as_bytes(), opened.workload)?;
            let class = job.class;
            job.within(agreed, opened.duration)?;
            if class != opened.class {
                return Err(other_class(class).into());
            }
        }
    };
    Ok(())
}

/// The order's class is on chain; a document that says otherwise is another job.
fn other_class(class: Class) -> BadWorkload {
    let why = sublet_market::text::BadText::Form(match class {
        Class::None => "the class that was ordered: exact",
        Class::Exact => "the class that was ordered: none",
    });
    BadWorkload::Text { field: "class".into(), why }
}

/// Looks for the document on chain, and notes what was found. One that cannot be served is rejected at once: whoever placed
/// it has no other.
pub(crate) async fn look_up(state: &State, case: &Case, order: B256) -> Result<Note, ExecuteError> {
    let placed = state.ledger.placed_order(order).await?;
    let Some(bytes) = placed.and_then(|placed| placed.workload) else { return Ok(Note::Unplaced) };
    let Ok(document) = String::from_utf8(bytes) else {
        return Ok(Note::Failed("the document on chain is no text".to_owned()));
    };
    match check(state, case, &document).await {
        Ok(()) => Ok(Note::Handed(document)),
        Err(Unfit::Store(error)) => Err(error.into()),
        Err(error @ (Unfit::Foreign | Unfit::Workload(_))) => {
            Ok(Note::Failed(format!("the document on chain cannot be served: {error}")))
        }
    }
}
