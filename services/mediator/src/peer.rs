//! Answers renters over the link: the archive of a job that was run again, to the renter of that job and to nobody else.

use std::sync::Arc;

use async_trait::async_trait;
use sublet_base::{JobId, LeaseId, PeerKey};
use sublet_market::{Acceptance, Signature};
use sublet_wire::link::{
    Agreement, ByteSource, ByteStream, PeerHandler, Refusal, RefusalReason, ResultArchive, Status,
};

use crate::state::State;

/// The handler.
pub(crate) struct Peers {
    state: Arc<State>,
}

impl Peers {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }
}

fn unsupported<T>() -> Result<T, Refusal> {
    Err(Refusal::new(RefusalReason::Unsupported, "a mediator hands over results of disputed jobs, and nothing else"))
}

/// The same whether or not there is such a case: a stranger learns nothing about it.
fn unknown() -> Refusal {
    Refusal::new(RefusalReason::NotSeen, "this mediator has heard no dispute of yours, or not yet")
}

#[async_trait]
impl PeerHandler for Peers {
    async fn admit(&self, peer: PeerKey) -> Result<(), Refusal> {
        let known = self.state.cases().values().any(|case| case.raised.peer_key == peer);
        if known { Ok(()) } else { Err(unknown()) }
    }

    async fn result(&self, peer: PeerKey, job: JobId) -> Result<ResultArchive, Refusal> {
        let case = self.state.case(job).filter(|case| case.raised.peer_key == peer).ok_or_else(unknown)?;
        let Some(found) = case.found.filter(|_| case.kept) else {
            return Err(Refusal::new(RefusalReason::NotReady, "this mediator has no result of the job"));
        };
        match self.state.archives.open(job).await {
            Ok(content) => Ok(ResultArchive { length: found.bytes, hash: found.hash, content }),
            Err(error) => {
                tracing::error!(%job, error = %error, "could not open an archive");
                Err(Refusal::new(RefusalReason::Internal, "the archive could not be read; try again"))
            }
        }
    }

    async fn handover(&self, _: PeerKey, _: Agreement, _: String) -> Result<(), Refusal> {
        unsupported()
    }

    async fn status(&self, _: PeerKey, _: Agreement) -> Result<Status, Refusal> {
        unsupported()
    }

    async fn connect(&self, _: PeerKey, _: LeaseId, _: u16) -> Result<ByteStream, Refusal> {
        unsupported()
    }

    async fn document(&self, _: PeerKey, _: JobId) -> Result<String, Refusal> {
        unsupported()
    }

    async fn accept(&self, _: PeerKey, _: Acceptance, _: Signature) -> Result<(), Refusal> {
        unsupported()
    }

    async fn logs(&self, _: PeerKey, _: Agreement, _: bool) -> Result<ByteSource, Refusal> {
        unsupported()
    }

    async fn set_keys(&self, _: PeerKey, _: LeaseId, _: Vec<String>) -> Result<(), Refusal> {
        unsupported()
    }
}
