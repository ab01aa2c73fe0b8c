//! What failed rests before it is tried again. Anything else about the same subject does not wait for that: a machine that
//! cannot be made must not hold back the refusal that is due.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use sublet_daemon::Backoff;
use tokio::time::Instant;

/// Below every margin before a deadline that matters.
const PATIENCE: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(5), attempts: 0 };

/// What failed last about each subject.
#[derive(Debug)]
pub(crate) struct Rests<S, A> {
    failures: HashMap<S, Failure<A>>,
}

#[derive(Debug)]
struct Failure<A> {
    action: A,
    times: u32,
    until: Instant,
}

impl<S: Eq + Hash, A: PartialEq> Rests<S, A> {
    /// Nothing has failed.
    pub(crate) fn new() -> Self {
        Self { failures: HashMap::new() }
    }

    /// Whether this very action rests.
    pub(crate) fn rests(&self, subject: &S, action: &A) -> bool {
        self.failures.get(subject).is_some_and(|f| f.action == *action && Instant::now() < f.until)
    }

    /// It failed again, or something else did for the first time: how often in a row, and how long it rests.
    pub(crate) fn failed(&mut self, subject: S, action: A) -> (u32, Duration) {
        let before = self.failures.get(&subject).filter(|f| f.action == action).map_or(0, |f| f.times);
        let times = before.saturating_add(1);
        let rest = PATIENCE.delay(times);
        self.failures.insert(subject, Failure { action, times, until: Instant::now() + rest });
        (times, rest)
    }

    /// Something about it worked.
    pub(crate) fn worked(&mut self, subject: &S) {
        self.failures.remove(subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_failed_rests() {
        let mut rests = Rests::new();
        assert_eq!(rests.failed(7, "create").0, 1);
        assert_eq!(rests.failed(7, "create").0, 2);
        assert!(rests.rests(&7, &"create"));
        assert!(!rests.rests(&7, &"reject") && !rests.rests(&8, &"create"));
        for _ in 0..20 {
            assert!(rests.failed(7, "create").1 <= PATIENCE.max);
        }
        assert_eq!(rests.failed(7, "reject").0, 1);
        assert!(!rests.rests(&7, &"create"), "what failed longer ago may be tried again");
        rests.worked(&7);
        assert!(!rests.rests(&7, &"reject"));
    }
}
