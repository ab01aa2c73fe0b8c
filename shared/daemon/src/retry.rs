//! Retrying with exponential backoff and jitter, until it works, is final, or the program stops.

use std::time::Duration;

use rand::Rng;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// An error that knows whether another attempt can help.
pub trait Retryable {
    /// Whether the same call may succeed later.
    fn is_retryable(&self) -> bool;
}

/// How long to wait between attempts: `first`, doubled each time up to `max`, each shortened by up to half at random
/// so that many waiters do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Longest first wait.
    pub first: Duration,
    /// Longest wait.
    pub max: Duration,
    /// Attempts in all, 0 for no end.
    pub attempts: u32,
}

impl Default for Backoff {
    /// 200 ms up to 15 s, without end.
    fn default() -> Self {
        Self { first: Duration::from_millis(200), max: Duration::from_secs(15), attempts: 0 }
    }
}

impl Backoff {
    /// The same with an end after `attempts`.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// How long to wait after the `failed`-th failed attempt (from 1).
    #[must_use]
    pub fn delay(&self, failed: u32) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(failed.saturating_sub(1).min(30)).unwrap_or(u32::MAX));
        doubled.min(self.max).mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

/// Why retrying ended without success. Prints as what was tried; the last error is the source.
#[derive(Debug, Error)]
pub enum RetryError<E: std::error::Error + 'static> {
    /// Trying again cannot help.
    #[error("{what} failed")]
    Final {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: E,
    },
    /// It failed as often as allowed.
    #[error("{what} failed {attempts} times")]
    GaveUp {
        /// What was tried.
        what: String,
        /// How often.
        attempts: u32,
        /// Why it failed the last time.
        #[source]
        source: E,
    },
    /// The program is stopping.
    #[error("{what} was interrupted")]
    Stopped {
        /// What was tried.
        what: String,
    },
}

/// Calls `operation` until it succeeds. `what` names it in log lines and errors, as in "reading block 7".
///
/// # Errors
/// [`RetryError`]. A running attempt is dropped when `stop` is cancelled.
pub async fn retry<T, E, F>(
    what: &str,
    backoff: Backoff,
    stop: &CancellationToken,
    mut operation: impl FnMut() -> F,
) -> Result<T, RetryError<E>>
where
    E: std::error::Error + Retryable + 'static,
    F: Future<Output = Result<T, E>>,
{
    let mut failed = 0;
    loop {
        let stopped = || RetryError::Stopped { what: what.to_owned() };
        let source = match stop.run_until_cancelled(operation()).await.ok_or_else(stopped)? {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        failed += 1;
        if !source.is_retryable() {
            return Err(RetryError::Final { what: what.to_owned(), source });
        }
        if failed == backoff.attempts {
            return Err(RetryError::GaveUp { what: what.to_owned(), attempts: failed, source });
        }
        let wait = backoff.delay(failed);
        tracing::warn!(what, failed, wait_ms = wait.as_millis(), error = %crate::report::with_causes(&source), "will try again");
        stop.run_until_cancelled(tokio::time::sleep(wait)).await.ok_or_else(stopped)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Error)]
    #[error("attempt {0}")]
    struct Failure(u32, bool);

    impl Retryable for Failure {
        fn is_retryable(&self) -> bool {
            self.1
        }
    }

    const QUICK: Backoff = Backoff { first: Duration::from_nanos(1), max: Duration::from_nanos(8), attempts: 4 };

    async fn run(until: u32, retryable: bool, stop: CancellationToken) -> (u32, Result<u32, RetryError<Failure>>) {
        let mut calls = 0;
        let result = retry("counting", QUICK, &stop, || {
            calls += 1;
            let now = calls;
            async move { if now < until { Err(Failure(now, retryable)) } else { Ok(now) } }
        })
        .await;
        (calls, result)
    }

    #[tokio::test]
    async fn ends_on_success_on_a_final_error_and_when_out_of_attempts() {
        assert!(matches!(run(3, true, CancellationToken::new()).await, (3, Ok(3))));
        assert!(matches!(run(3, false, CancellationToken::new()).await, (1, Err(RetryError::Final { .. }))));
        assert!(matches!(
            run(9, true, CancellationToken::new()).await,
            (4, Err(RetryError::GaveUp { attempts: 4, .. }))
        ));
    }

    #[tokio::test]
    async fn stops_with_the_program() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(matches!(run(9, true, stop).await.1, Err(RetryError::Stopped { .. })));
    }

    #[test]
    fn waits_grow_to_the_limit_and_never_beyond() {
        let backoff = Backoff::default();
        for failed in 1..100 {
            let wait = backoff.delay(failed);
            assert!(wait <= backoff.max && wait >= backoff.first / 2, "attempt {failed} waited {wait:?}");
        }
        assert!(backoff.delay(50) >= backoff.max / 2);
    }
}
