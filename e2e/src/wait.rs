//! Waiting for a condition with a deadline, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Polls `condition` until it yields a value.
///
/// # Errors
/// The condition's own error at once; a timeout that names `what` after `limit`.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
