//! Who judges: the peer keys of the mediators drawn for this provider's disputed jobs. They may fetch a job's document and
//! archive while it is disputed. What counts is the chain's record of the panel and the key each mediator registered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sublet_base::{JobId, PeerKey};
use sublet_chain::{DisputeRecord, DisputeStage, Ledger, ReadError};

/// The panels of disputed jobs, as the chain last had them.
#[derive(Debug, Default)]
pub(crate) struct Panels(Mutex<BTreeMap<JobId, BTreeSet<PeerKey>>>);

impl Panels {
    /// Looks a disputed job's panel up anew: it may just have been drawn, and a member may have changed its key.
    pub(crate) async fn refresh(&self, ledger: &dyn Ledger, job: JobId) -> Result<Option<DisputeRecord>, ReadError> {
        let mut keys = BTreeSet::new();
        let dispute = ledger.dispute(job).await?.filter(|dispute| dispute.stage != DisputeStage::Resolved);
        for seat in dispute.iter().flat_map(|dispute| &dispute.panel) {
            keys.extend(ledger.mediator(seat.mediator).await?.map(|mediator| mediator.peer_key));
        }
        self.lock().insert(job, keys);
        Ok(dispute)
    }

    /// The job is not disputed, or not any more.
    pub(crate) fn dismiss(&self, job: JobId) {
        self.lock().remove(&job);
    }

    /// Whether this peer judges this job now.
    pub(crate) fn sits(&self, peer: PeerKey, job: JobId) -> bool {
        self.lock().get(&job).is_some_and(|keys| keys.contains(&peer))
    }

    /// Whether this peer judges some job now.
    pub(crate) fn knows(&self, peer: PeerKey) -> bool {
        self.lock().values().any(|keys| keys.contains(&peer))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobId, BTreeSet<PeerKey>>> {
        // A panic elsewhere leaves a map of complete values.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
