//! How matches are shared out over transactions: alone while it is quiet, together while others are on their way.

/// What may be on its way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Openings in one transaction.
    pub(crate) batch: usize,
    /// Transactions.
    pub(crate) transactions: usize,
}

impl Limits {
    /// Matches that may be sent now, with this many transactions on their way. The others wait, and so gather.
    pub(crate) fn room(&self, on_their_way: usize) -> usize {
        self.transactions.saturating_sub(on_their_way).saturating_mul(self.batch)
    }

    /// The matches of one round as transactions, in order.
    pub(crate) fn share<T>(&self, matches: Vec<T>) -> Vec<Vec<T>> {
        let mut shares: Vec<Vec<T>> = Vec::new();
        for found in matches {
            match shares.last_mut() {
                Some(last) if last.len() < self.batch => last.push(found),
                Some(_) | None => shares.push(vec![found]),
            }
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_fill_one_transaction_after_the_other() {
        let limits = Limits { batch: 3, transactions: 2 };
        let table: [(usize, &[usize]); 5] = [(0, &[]), (1, &[1]), (3, &[3]), (4, &[3, 1]), (6, &[3, 3])];
        for (matches, shares) in table {
            let shared = limits.share((0..matches).collect());
            assert_eq!(shared.iter().map(Vec::len).collect::<Vec<_>>(), shares);
            assert_eq!(shared.concat(), (0..matches).collect::<Vec<_>>(), "in order");
        }
        assert_eq!([0, 1, 2, 9].map(|on_their_way| limits.room(on_their_way)), [6, 3, 0, 0]);
    }
}
