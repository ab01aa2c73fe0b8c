//! Work under way: at most one piece a subject. What failed rests before it is tried again, longer each time; anything
//! else about the same subject does not wait for that: a machine that cannot be made must not hold back a refusal that is due.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use crate::Backoff;

/// Pieces of work: one step `A` at a time for each subject `S`. Dropped, they end where they are.
#[derive(Debug)]
pub struct Chores<S, A, E> {
    running: JoinSet<(S, A, Result<(), E>)>,
    busy: HashSet<S>,
    failures: HashMap<S, Failure<A>>,
    backoff: Backoff,
}

/// What failed last about a subject.
#[derive(Debug)]
struct Failure<A> {
    step: A,
    times: u32,
    until: Instant,
}

/// A piece of work that failed; this step of its subject rests for a while.
#[derive(Debug)]
pub struct Failed<E> {
    /// Why.
    pub error: E,
    /// How often in a row.
    pub times: u32,
    /// How long it rests.
    pub rest: Duration,
}

impl<S, A, E> Chores<S, A, E>
where
    S: Clone + Eq + Hash + Send + 'static,
    A: PartialEq + Send + 'static,
    E: Send + 'static,
{
    /// Nothing under way; `backoff` says how long a step rests after a failure.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self { running: JoinSet::new(), busy: HashSet::new(), failures: HashMap::new(), backoff }
    }

    /// True if something is under way about `subject`.
    #[must_use]
    pub fn is_busy(&self, subject: &S) -> bool {
        self.busy.contains(subject)
    }

    /// True if nothing is under way about `subject` and this very step does not rest.
    #[must_use]
    pub fn may(&self, subject: &S, step: &A) -> bool {
        let rests = |failure: &Failure<A>| failure.step == *step && Instant::now() < failure.until;
        !self.is_busy(subject) && !self.failures.get(subject).is_some_and(rests)
    }

    /// Sets to work. Ask [`Chores::may`] first.
    pub fn start(&mut self, subject: S, step: A, work: impl Future<Output = Result<(), E>> + Send + 'static) {
        self.busy.insert(subject.clone());
        self.running.spawn(async move { (subject, step, work.await) });
    }

    /// The next piece that ends; pending for ever while nothing is under way.
    ///
    /// # Errors
    /// [`JoinError`] if it panicked.
    pub async fn ended(&mut self) -> Result<(S, Result<(), Failed<E>>), JoinError> {
        let Some(done) = self.running.join_next().await else { return std::future::pending().await };
        let (subject, step, result) = done?;
        self.busy.remove(&subject);
        let result = match result {
            Ok(()) => {
                self.failures.remove(&subject);
                Ok(())
            }
            Err(error) => {
                let before = self.failures.get(&subject).filter(|failure| failure.step == step);
                let times = before.map_or(0, |failure| failure.times).saturating_add(1);
                let rest = self.backoff.delay(times);
                self.failures.insert(subject.clone(), Failure { step, times, until: Instant::now() + rest });
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

    fn chores(first: Duration) -> Chores<&'static str, &'static str, &'static str> {
        Chores::new(Backoff { first, max: Duration::from_secs(60), attempts: 0 })
    }

    #[tokio::test]
    async fn a_subject_is_worked_on_once_at_a_time_and_only_what_failed_rests() {
        let mut chores = chores(Duration::from_secs(60));
        chores.start("a", "make", async { Err("no") });
        assert!(chores.is_busy(&"a") && !chores.may(&"a", &"refuse") && chores.may(&"b", &"make"));
        let (subject, result) = chores.ended().await.expect("no panic");
        let failed = result.expect_err("it failed");
        assert_eq!((subject, failed.error, failed.times), ("a", "no", 1));
        assert!(!chores.may(&"a", &"make"), "it rests");
        assert!(chores.may(&"a", &"refuse"), "another step is not held back");
        chores.start("a", "refuse", async { Err("no") });
        let failed = chores.ended().await.expect("no panic").1.expect_err("it failed");
        assert_eq!(failed.times, 1, "counted for itself");
        assert!(chores.may(&"a", &"make") && !chores.may(&"a", &"refuse"));
        chores.retain(|subject| *subject != "a");
        assert!(chores.may(&"a", &"refuse"));
    }

    #[tokio::test]
    async fn a_success_forgives() {
        let mut chores = chores(Duration::ZERO);
        for expected in [1, 2] {
            chores.start("a", "make", async { Err("no") });
            let (_, result) = chores.ended().await.expect("no panic");
            assert_eq!(result.expect_err("it failed").times, expected);
            assert!(chores.may(&"a", &"make"));
        }
        chores.start("a", "make", async { Ok(()) });
        assert!(chores.ended().await.expect("no panic").1.is_ok());
        chores.start("a", "make", async { Err("no") });
        assert_eq!(chores.ended().await.expect("no panic").1.expect_err("it failed").times, 1);
        chores.start("b", "make", std::future::pending());
        assert!(!chores.drain(Duration::from_millis(1)).await);
    }
}
