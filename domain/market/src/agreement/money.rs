//! What an agreement holds, and how it leaves. Every agreement has its own pots; nothing is pooled.

use sublet_base::Amount;

/// Whose free balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// Who pays.
    Renter,
    /// Who is paid.
    Provider,
    /// Who opened the agreement.
    Solver,
    /// Who made this call.
    Caller,
}

/// Which of the agreement's pots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pot {
    /// The renter's money for the provider.
    Escrow,
    /// The provider's collateral.
    Pledge,
    /// The renter's money for the solver.
    Fee,
}

/// One consequence of a call, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// From a pot to a free balance.
    Pay {
        /// From.
        pot: Pot,
        /// To.
        to: Party,
        /// Never zero.
        amount: Amount,
    },
    /// From a free balance into a pot; the call fails if the balance is short.
    Lock {
        /// From.
        from: Party,
        /// Into.
        pot: Pot,
        /// Never zero.
        amount: Amount,
    },
    /// The call counts as the provider's beat.
    Beat,
}

/// What an agreement holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The renter's money for the provider.
    pub escrow: Amount,
    /// The provider's collateral.
    pub pledge: Amount,
    /// The renter's money for the solver.
    pub fee: Amount,
}

impl Held {
    /// Everything, in full width: three pots may exceed one balance.
    #[must_use]
    pub fn total(&self) -> sublet_base::U256 {
        [self.escrow, self.pledge, self.fee].into_iter().map(|a| sublet_base::U256::from(a.0)).sum()
    }

    fn pot(&mut self, pot: Pot) -> &mut Amount {
        match pot {
            Pot::Escrow => &mut self.escrow,
            Pot::Pledge => &mut self.pledge,
            Pot::Fee => &mut self.fee,
        }
    }

    /// Pays at most what the pot has; returns what was paid.
    pub(super) fn pay(&mut self, pot: Pot, to: Party, amount: Amount, out: &mut Vec<Effect>) -> Amount {
        let left = self.pot(pot);
        let amount = amount.min(*left);
        left.0 -= amount.0;
        if amount > Amount::ZERO {
            out.push(Effect::Pay { pot, to, amount });
        }
        amount
    }

    /// Pays all that a pot still has.
    pub(super) fn empty(&mut self, pot: Pot, to: Party, out: &mut Vec<Effect>) {
        let all = *self.pot(pot);
        self.pay(pot, to, all, out);
    }

    /// Slashes `penalty` from the pledge: `reward` of it to the caller, the rest to the renter.
    pub(super) fn slash(&mut self, penalty: Amount, reward: Amount, out: &mut Vec<Effect>) {
        let penalty = penalty.min(self.pledge);
        let reward = self.pay(Pot::Pledge, Party::Caller, reward.min(penalty), out);
        self.pay(Pot::Pledge, Party::Renter, Amount(penalty.0 - reward.0), out);
    }
}
