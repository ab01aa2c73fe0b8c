//! Sums of money, rounded as the contract rounds: down, after multiplying in full width.

use sublet_base::{Amount, AmountOverflow, Bps, Price, Seconds, U256, UnixTime};

/// Share of the pledge a provider loses by letting an agreement expire unstarted or unfinished.
pub const EXPIRY_PENALTY: Bps = Bps(1_000);
/// Share of a penalty that a third party earns by calling `expire` or `fault`.
pub const REWARD: Bps = Bps(100);

/// The pledge `Q` for an escrow.
///
/// # Errors
/// [`AmountOverflow`] above 2^128 - 1.
pub fn pledge(escrow: Amount, bps: Bps) -> Result<Amount, AmountOverflow> {
    share(escrow, bps)
}

/// `bps` of `amount`, in full width, so that a large amount does not overflow on the way.
///
/// # Errors
/// [`AmountOverflow`] if the result is above 2^128 - 1.
pub fn share(amount: Amount, bps: Bps) -> Result<Amount, AmountOverflow> {
    let wide = U256::from(amount.0) * U256::from(bps.0) / U256::from(10_000);
    u128::try_from(wide).map(Amount).map_err(|_| AmountOverflow)
}

/// A share of at most the whole, which cannot overflow.
pub(crate) fn part(amount: Amount, bps: Bps) -> Amount {
    share(amount, Bps(bps.0.min(10_000))).unwrap_or(amount)
}

/// `min(limit, price * seconds)`: what may be paid out of a pot. A product above 2^128 - 1 is above any limit.
#[must_use]
pub fn rent(price: Price, seconds: u64, limit: Amount) -> Amount {
    price.0.checked_mul(u128::from(seconds)).map_or(limit, |due| Amount(due.min(limit.0)))
}

/// What a provider loses of its pledge by closing a lease at `now`: the rent of the notice it owes and did not give.
#[must_use]
pub fn notice_penalty(
    price: Price,
    notice: Seconds,
    notice_at: Option<UnixTime>,
    now: UnixTime,
    pledge: Amount,
) -> Amount {
    let given = notice_at.map_or(0, |at| now.since(at));
    rent(price, u64::from(notice.0).saturating_sub(given), pledge)
}

/// A job's cost: `price * min(used, duration)`, never above what it holds.
#[must_use]
pub fn job_cost(price: Price, used: Seconds, duration: Seconds, escrow: Amount) -> Amount {
    rent(price, u64::from(used.min(duration).0), escrow)
}

/// What a provider gets of a declared cost that nobody proved right or wrong; the odd unit stays with the renter.
#[must_use]
pub fn half(declared: Amount) -> Amount {
    Amount(declared.0 / 2)
}

/// What a whole panel costs, `F`.
///
/// # Errors
/// [`AmountOverflow`] above 2^128 - 1, which no set the contract takes reaches.
pub fn panel_fees(fee: Amount, panel_size: u8) -> Result<Amount, AmountOverflow> {
    fee.0.checked_mul(u128::from(panel_size)).map(Amount).ok_or(AmountOverflow)
}

/// Equal votes that decide: more than half of the whole panel, however many of it could be drawn or voted.
#[must_use]
pub fn majority(panel_size: u8) -> usize {
    usize::from(panel_size) / 2 + 1
}

/// What a juror that kept silent loses, and how the parties share it: renter's share, then the provider's.
#[must_use]
pub fn forfeit(fee: Amount, bond: Amount) -> (Amount, Amount) {
    let lost = fee.min(bond);
    let provider = half(lost);
    (Amount(lost.0 - provider.0), provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_one_and_the_largest_sums() {
        assert_eq!(pledge(Amount(u128::MAX), Bps(10_000)), Ok(Amount(u128::MAX)));
        assert_eq!(pledge(Amount(u128::MAX), Bps(10_001)), Err(AmountOverflow));
        assert_eq!(pledge(Amount(1), Bps(9_999)), Ok(Amount(0)));
        assert_eq!(rent(Price(u128::MAX), 2, Amount(7)), Amount(7));
        assert_eq!(rent(Price(3), 2, Amount(7)), Amount(6));
        assert_eq!(job_cost(Price(2), Seconds(100), Seconds(10), Amount(20)), Amount(20));
        assert_eq!(
            (half(Amount(0)), half(Amount(1)), half(Amount(u128::MAX))),
            (Amount(0), Amount(0), Amount(u128::MAX / 2))
        );
    }

    #[test]
    fn a_panel_costs_its_fees_and_decides_by_more_than_half_of_it() {
        assert_eq!(panel_fees(Amount(7), 15), Ok(Amount(105)));
        assert_eq!(panel_fees(Amount(u128::MAX), 2), Err(AmountOverflow));
        assert_eq!([1, 3, 5, 15].map(majority), [1, 2, 3, 8]);
    }

    #[test]
    fn a_silent_juror_loses_one_fee_at_most() {
        assert_eq!(forfeit(Amount(7), Amount(100)), (Amount(4), Amount(3)));
        assert_eq!(forfeit(Amount(7), Amount(6)), (Amount(3), Amount(3)));
        assert_eq!(forfeit(Amount(7), Amount(1)), (Amount(1), Amount(0)));
        assert_eq!(forfeit(Amount(7), Amount(0)), (Amount(0), Amount(0)));
    }
}
