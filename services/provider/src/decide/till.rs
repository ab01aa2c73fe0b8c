//! Which of the waiting acceptances go on chain next: one at once while it is quiet, all that gathered meanwhile together.

use sublet_base::JobId;
use sublet_market::SignedAcceptance;

/// Settlements in one transaction at most.
pub const MOST_AT_ONCE: usize = 32;

/// Whether a settlement is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Till {
    /// Nothing is.
    Idle,
    /// One is; what comes meanwhile waits for it.
    Busy,
}

/// What to settle now. The others stay waiting: they are decided again.
#[must_use]
pub fn next_settlement(till: Till, waiting: Vec<(JobId, SignedAcceptance)>) -> Vec<(JobId, SignedAcceptance)> {
    match till {
        Till::Idle => waiting.into_iter().take(MOST_AT_ONCE).collect(),
        Till::Busy => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use sublet_base::{Amount, B256};
    use sublet_market::Acceptance;

    use super::*;

    fn waiting(count: u64) -> Vec<(JobId, SignedAcceptance)> {
        let accepted = |n| {
            let acceptance = Acceptance { job: JobId(n), result_hash: B256::ZERO, cost: Amount(1) };
            (JobId(n), SignedAcceptance { acceptance, signature: "0x00".parse().expect("hex") })
        };
        (0..count).map(accepted).collect()
    }

    #[test]
    fn what_gathers_while_one_is_under_way_goes_together() {
        let table =
            [(Till::Idle, 0, 0), (Till::Idle, 1, 1), (Till::Idle, 5, 5), (Till::Idle, 40, 32), (Till::Busy, 5, 0)];
        for (till, count, now) in table {
            let settled: Vec<_> = next_settlement(till, waiting(count)).iter().map(|(id, _)| id.0).collect();
            assert_eq!(settled, (0..now).collect::<Vec<_>>(), "{till:?} with {count}: the oldest first");
        }
    }
}
