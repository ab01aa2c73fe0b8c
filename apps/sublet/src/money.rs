//! Where an agreement's money went, in the same words everywhere.

use std::fmt;

use serde::Serialize;
use sublet_base::Amount;
use sublet_chain::Split;

/// What its end moved, token units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Money {
    /// To the provider.
    pub(crate) paid: Amount,
    /// Back to the renter.
    pub(crate) refunded: Amount,
    /// Of the provider's pledge, to the renter.
    pub(crate) compensation: Amount,
}

impl From<&Split> for Money {
    fn from(split: &Split) -> Self {
        let compensation = split.slashed.minus(split.reward).unwrap_or_default();
        Self { paid: split.paid, refunded: split.refunded, compensation }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} SUB was paid and {} SUB came back", self.paid, self.refunded)?;
        match self.compensation {
            Amount::ZERO => Ok(()),
            amount => write!(f, ", and {amount} SUB of the provider's pledge"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_back_is_said_to_the_last_part() {
        let split = Split {
            paid: Amount::ZERO,
            refunded: Amount::tokens(3),
            pledge_back: Amount::tokens(1),
            slashed: Amount::tokens(2),
            caller: Default::default(),
            reward: Amount::ZERO,
        };
        let said = Money::from(&split).to_string();
        assert_eq!(said, "0 SUB was paid and 3 SUB came back, and 2 SUB of the provider's pledge");
        let kept = Money::from(&Split { slashed: Amount::ZERO, ..split }).to_string();
        assert_eq!(kept, "0 SUB was paid and 3 SUB came back");
    }
}
