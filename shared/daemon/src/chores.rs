//! Work under way: at most one piece a subject, and a pause after each failure that grows with it.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use crate::Backoff;

/// Pieces of work, one at a time for each subject `S`. Dropped, they end where they are.
#[derive(Debug)]
pub struct Chores<S, E> {
    running: JoinSet<(S, Result<(), E>)>,
    busy: HashSet<S>,
    failures: HashMap<S, (u32, Instant)>,
    backoff: Backoff,
}

/// A piece of work that failed; its subject rests for a while.
#[derive(Debug)]
pub struct Failed<E> {
    /// Why.
    pub error: E,
    /// How often in a row.
    pub times: u32,
    /// How long it rests.
    pub rest: Duration,
}

impl<S: Clone + Eq + Hash + Send + 'static, E: Send + 'static> Chores<S, E> {
    /// Nothing under way; `backoff` says how long a subject rests after a failure.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self { running: JoinSet::new(), busy: HashSet::new(), failures: HashMap::new(), backoff }
    }

    /// True if nothing is under way about `subject` and it does not rest.
    #[must_use]
    pub fn may(&self, subject: &S) -> bool {
        !self.busy.contains(subject) && self.failures.get(subject).is_none_or(|(_, until)| Instant::now() >= *until)
    }

    /// Sets to work. Ask [`Chores::may`] first.
    pub fn start(&mut self, subject: S, work: impl Future<Output = Result<(), E>> + Send + 'static) {
        self.busy.insert(subject.clone());
        self.running.spawn(async move { (subject, work.await) });
    }

    /// The next piece that ends; pending for ever while nothing is under way.
    ///
    /// # Errors
    /// [`JoinError`] if it panicked.
    pub async fn ended(&mut self) -> Result<(S, Result<(), Failed<E>>), JoinError> {
        let Some(done) = self.running.join_next().await else { return std::future::pending().await };
        let (subject, result) = done?;
        self.busy.remove(&subject);
        let result = match result {
            Ok(()) => {
                self.failures.remove(&subject);
                Ok(())
            }
            Err(error) => {
                let times = self.failures.get(&subject).map_or(0, |f| f.0).saturating_add(1);
                let rest = self.backoff.delay(times);
                self.failures.insert(subject.clone(), (times, Instant::now() + rest));
                Err(Failed { error, times, rest })
            }
        };
        Ok((subject, result))
    }

    /// Forgets failures about subjects that are no more.
    pub fn retain(&mut self, keep: impl Fn(&S) -> bool) {
        self.failures.retain(|subject, _| keep(subject));
    }

    /// Waits until everything has ended; false if that takes longer than `within`.
    pub async fn drain(&mut self, within: Duration) -> bool {
        let all = async { while self.running.join_next().await.is_some() {} };
        timeout(within, all).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chores(first: Duration) -> Chores<&'static str, &'static str> {
        Chores::new(Backoff { first, max: Duration::from_secs(60), attempts: 0 })
    }

    #[tokio::test]
    async fn a_subject_is_worked_on_once_at_a_time_and_rests_after_a_failure() {
        let mut chores = chores(Duration::from_secs(60));
        chores.start("a", async { Err("no") });
        assert!(!chores.may(&"a") && chores.may(&"b"));
        let (subject, result) = chores.ended().await.expect("no panic");
        let failed = result.expect_err("it failed");
        assert_eq!((subject, failed.error, failed.times), ("a", "no", 1));
        assert!(!chores.may(&"a"), "it rests");
        chores.retain(|subject| *subject != "a");
        assert!(chores.may(&"a"));
    }

    #[tokio::test]
    async fn a_success_forgives() {
        let mut chores = chores(Duration::ZERO);
        for expected in [1, 2] {
            chores.start("a", async { Err("no") });
            let (_, result) = chores.ended().await.expect("no panic");
            assert_eq!(result.expect_err("it failed").times, expected);
            assert!(chores.may(&"a"));
        }
        chores.start("a", async { Ok(()) });
        assert!(chores.ended().await.expect("no panic").1.is_ok());
        chores.start("a", async { Err("no") });
        assert_eq!(chores.ended().await.expect("no panic").1.expect_err("it failed").times, 1);
        chores.start("b", std::future::pending());
        assert!(!chores.drain(Duration::from_millis(1)).await);
    }
}
