//! Throws away what the store need not know any longer, once a day: it would grow with every dispute there ever was.

use std::sync::Arc;
use std::time::Duration;

use sublet_daemon::{BoxError, CancellationToken};

use crate::state::State;

const EVERY: Duration = Duration::from_secs(24 * 3600);
/// Disputes that ended are remembered for this long, seconds.
const REMEMBER: u32 = 30 * 24 * 3600;

/// Prunes until `stop`.
pub(crate) async fn prune(state: Arc<State>, stop: CancellationToken) -> Result<(), BoxError> {
    loop {
        match state.store.journal().forget_finished(REMEMBER).await {
            Ok(entries) => tracing::debug!(entries, "pruned"),
            Err(error) => {
                tracing::warn!(error = %sublet_daemon::report(&error), "could not prune the store; tomorrow again");
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return Ok(());
        }
    }
}
