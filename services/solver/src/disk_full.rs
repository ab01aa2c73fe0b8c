//! A full disk is waited out: what the chain did cannot be undone, so the book takes it in once there is room.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sublet_daemon::CancellationToken;
use sublet_store::StoreError;

/// How soon a full disk is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Does `work` again and again while the disk is full; nothing if told to stop meanwhile.
///
/// # Errors
/// The store's, if it is anything else.
pub(crate) async fn until_stored<'a, T>(
    stop: &CancellationToken,
    mut work: impl FnMut() -> BoxFuture<'a, Result<T, StoreError>>,
) -> Result<Option<T>, StoreError> {
    let mut said = false;
    loop {
        match work().await {
            Err(error) if error.is_full() => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(error = %sublet_daemon::report(&error), "waiting for room");
                }
            }
            other => return other.map(Some),
        }
        if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
            return Ok(None);
        }
    }
}
