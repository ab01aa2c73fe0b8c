//! The mediators, the bonds they answer with, and the sets they agreed to serve.
//!
//! ```text
//! (nobody) ──register──▶ serving ──retire──▶ retired ──withdraw, after UNBONDING and with nothing at stake──▶ (nobody)
//!                           ▲ └ register │ (another key, more bond)
//!                           └─register───┘
//! ```
//! A seat on a panel puts one fee of the bond at stake, which keeps it from being promised twice. Anybody may list anybody in a
//! set; only who joined it is drawn.

use std::collections::{BTreeMap, BTreeSet};

use sublet_base::{Address, Amount, U256, UnixTime};

use super::{CourtRules, Denied};
use crate::{MAX_STORED, MediatorSetId, sums};

/// One mediator's bond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bond {
    /// What it put down, less what it lost.
    pub amount: Amount,
    /// What its seats may cost it.
    pub at_stake: Amount,
    /// Since when it is in no new electorate.
    pub retired_at: Option<UnixTime>,
}

impl Bond {
    /// True if a panel that pays `fee` may be drawn from it.
    #[must_use]
    pub fn can_serve(&self, fee: Amount) -> bool {
        self.retired_at.is_none() && self.amount.0.saturating_sub(self.at_stake.0) >= fee.0
    }
}

/// A call of the court about the caller's own bond, or its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchCall {
    /// `registerMediator`
    Register {
        /// What to add; may be zero for who has a bond.
        bond: Amount,
    },
    /// `retireMediator`
    Retire,
    /// `withdrawBond`
    Withdraw,
    /// `joinSet`; again changes nothing.
    Join(MediatorSetId),
    /// `leaveSet`; likewise.
    Leave(MediatorSetId),
}

/// Money between a mediator's free balance and its bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondEffect {
    /// From the free balance into the bond.
    Posted(Amount),
    /// From the bond to the free balance.
    Returned(Amount),
}

/// A set: whom it lists, which never changes, and who of them serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Roster {
    members: BTreeSet<Address>,
    joined: BTreeSet<Address>,
}

/// Everybody with a bond, and every set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bench {
    bonds: BTreeMap<Address, Bond>,
    rosters: BTreeMap<MediatorSetId, Roster>,
}

impl Bench {
    /// A mediator's bond; an empty one for somebody who has none.
    #[must_use]
    pub fn bond(&self, mediator: Address) -> Bond {
        self.bonds.get(&mediator).copied().unwrap_or_default()
    }

    /// A new set that lists these members; none of them serves it yet.
    pub fn create_set(&mut self, set: MediatorSetId, members: &[Address]) {
        self.rosters.insert(set, Roster { members: members.iter().copied().collect(), joined: BTreeSet::new() });
    }

    /// Members that serve a set, ascending.
    pub fn joined(&self, set: MediatorSetId) -> impl Iterator<Item = Address> {
        self.rosters.get(&set).into_iter().flat_map(|roster| &roster.joined).copied()
    }

    /// All bonds together, in full width.
    #[must_use]
    pub fn total(&self) -> U256 {
        self.bonds.values().map(|bond| U256::from(bond.amount.0)).sum()
    }

    /// Does what `call` does for `mediator`, or nothing.
    ///
    /// # Errors
    /// [`Denied`]; nobody's bond has changed.
    pub fn apply(
        &mut self,
        call: BenchCall,
        mediator: Address,
        now: UnixTime,
        rules: &CourtRules,
    ) -> Result<Option<BondEffect>, Denied> {
        // Slashed down to nothing counts as none.
        let known = self.bonds.get(&mediator).copied().filter(|bond| bond.amount > Amount::ZERO);
        match call {
            BenchCall::Register { bond } => {
                let before = self.bond(mediator);
                let amount = Amount(before.amount.0.saturating_add(bond.0));
                if amount == Amount::ZERO {
                    return Err(Denied::Zero("bond"));
                }
                if amount.0 > MAX_STORED {
                    return Err(Denied::BondTooLarge(amount));
                }
                self.bonds.insert(mediator, Bond { amount, retired_at: None, ..before });
                Ok((bond > Amount::ZERO).then_some(BondEffect::Posted(bond)))
            }
            BenchCall::Retire => {
                let bond = known.ok_or(Denied::NoBond)?;
                if bond.retired_at.is_some() {
                    return Err(Denied::State("retired"));
                }
                self.bonds.insert(mediator, Bond { retired_at: Some(now), ..bond });
                Ok(None)
            }
            BenchCall::Withdraw => {
                let bond = known.ok_or(Denied::NoBond)?;
                let retired_at = bond.retired_at.ok_or(Denied::State("not retired"))?;
                let from = retired_at.plus(rules.unbonding);
                if now < from {
                    return Err(Denied::TooEarly(from));
                }
                if bond.at_stake > Amount::ZERO {
                    return Err(Denied::AtStake(bond.at_stake));
                }
                self.bonds.remove(&mediator);
                Ok(Some(BondEffect::Returned(bond.amount)))
            }
            BenchCall::Join(set) => {
                self.listing(set, mediator)?.joined.insert(mediator);
                Ok(None)
            }
            BenchCall::Leave(set) => {
                self.listing(set, mediator)?.joined.remove(&mediator);
                Ok(None)
            }
        }
    }

    /// The set, if it lists this account.
    fn listing(&mut self, set: MediatorSetId, account: Address) -> Result<&mut Roster, Denied> {
        self.rosters.get_mut(&set).filter(|roster| roster.members.contains(&account)).ok_or(Denied::NotListed)
    }

    /// A seat on a panel.
    pub(super) fn seat(&mut self, mediator: Address, fee: Amount) {
        let bond = self.bonds.entry(mediator).or_default();
        bond.at_stake.0 += fee.0;
    }

    /// The seat is given up.
    pub(super) fn release(&mut self, mediator: Address, fee: Amount) {
        if let Some(bond) = self.bonds.get_mut(&mediator) {
            bond.at_stake.0 = bond.at_stake.0.saturating_sub(fee.0);
        }
    }

    /// Takes what silence costs out of a bond: the renter's share, then the provider's.
    pub(super) fn forfeit(&mut self, mediator: Address, fee: Amount) -> (Amount, Amount) {
        let Some(bond) = self.bonds.get_mut(&mediator) else { return (Amount::ZERO, Amount::ZERO) };
        let (renter, provider) = sums::forfeit(fee, bond.amount);
        bond.amount.0 -= renter.0 + provider.0;
        (renter, provider)
    }
}
