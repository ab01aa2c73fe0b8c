//! Throws away what the store need not know any longer, once a day: it would grow with every agreement there ever was.

use std::sync::Arc;
use std::time::Duration;

use sublet_base::{B256, Seconds, UnixTime};
use sublet_daemon::{BoxError, CancellationToken};
use sublet_store::{Expect, StoreError};

use crate::offers::Signed;
use crate::state::{LEAVING, SIGNED, STANDING, State};

const EVERY: Duration = Duration::from_secs(24 * 3600);
/// The chain's time is known soon after a start.
const SOON: Duration = Duration::from_secs(60);
/// Agreements that ended are remembered for this long, seconds.
const REMEMBER: u32 = 30 * 24 * 3600;
/// An offer is known for this long after it could last be opened: its event may be read late.
const LATE: Seconds = Seconds(REMEMBER);

/// Prunes until `stop`.
pub(crate) async fn prune(state: Arc<State>, stop: CancellationToken) -> Result<(), BoxError> {
    let mut wait = SOON;
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        wait = EVERY;
        let now = state.heard().now;
        if let Err(error) = once(&state, now).await {
            tracing::warn!(error = %sublet_daemon::report(&error), "could not prune the store; tomorrow again");
        }
    }
    Ok(())
}

async fn once(state: &State, now: UnixTime) -> Result<(), StoreError> {
    let entries = state.store.journal().forget_finished(REMEMBER).await?;
    let signed = state.store.documents(SIGNED);
    let mut used: Vec<B256> = state.cases().values().map(|case| case.opened.offer).collect();
    for standing in [STANDING, LEAVING] {
        used.extend(state.store.documents(standing).list::<Signed>().await?.into_iter().map(|d| d.value.hash));
    }
    let mut offers = 0;
    for document in signed.list::<Signed>().await? {
        let Signed { offer, hash, .. } = &document.value;
        if offer.offer.valid_until.plus(LATE) < now && !used.contains(hash) {
            signed.delete(&document.key, Expect::Anything).await?;
            offers += 1;
        }
    }
    tracing::debug!(entries, offers, "pruned");
    Ok(())
}
