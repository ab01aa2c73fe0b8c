//! The mediator's own account: registration, bond, the sets it serves, and money that need not lie in the contract.

use sublet_base::{Address, Amount, PeerKey};
use sublet_chain::{MediatorRecord, MediatorSetRecord};
use sublet_market::MediatorSetId;

/// How it stands with one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be drawn for the set's panels.
    Joined,
    /// A member that has not agreed to serve.
    Listed,
    /// The set does not list it, or there is no such set.
    Foreign,
}

impl Standing {
    /// How `mediator` stands with a set.
    #[must_use]
    pub fn of(set: &MediatorSetRecord, mediator: Address) -> Self {
        match (set.members.contains(&mediator), set.joined.contains(&mediator)) {
            (_, true) => Self::Joined,
            (true, false) => Self::Listed,
            (false, false) => Self::Foreign,
        }
    }
}

/// What is known about the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView<'a> {
    /// As registered, or not at all.
    pub record: Option<&'a MediatorRecord>,
    /// Free balance in the contract.
    pub free: Amount,
    /// The link key that should be registered.
    pub peer_key: PeerKey,
    /// How it stands with the configured sets.
    pub sets: &'a [(MediatorSetId, Standing)],
    /// The bond was posted since this process started: what is lost later is not topped up without a person looking.
    pub posted: bool,
}

/// What should be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountPolicy {
    /// Bond to have posted.
    pub bond: Amount,
    /// Above this free balance, withdraw.
    pub withdraw_above: Option<Amount>,
    /// What a withdrawal leaves.
    pub keep: Amount,
}

/// What to do about the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountAction {
    /// Register, replace the key, or add to the bond; ends a retirement.
    Register {
        /// What to add.
        add: Amount,
    },
    /// There is too little to register with.
    Missing(Amount),
    /// Agree to serve a set.
    Join(MediatorSetId),
    /// Take money out.
    Withdraw(Amount),
}

/// The next thing to do about the account. `None`: nothing.
#[must_use]
pub fn decide_account(view: &AccountView<'_>, policy: &AccountPolicy) -> Option<AccountAction> {
    let bond = view.record.map_or(Amount::ZERO, |r| r.bond);
    let missing = policy.bond.minus(bond).unwrap_or(Amount::ZERO);
    let current = view.record.is_some_and(|r| r.peer_key == view.peer_key && r.retired_at.is_none());
    if !current || (missing > Amount::ZERO && !view.posted) {
        return Some(match missing.minus(view.free) {
            Ok(short) if short > Amount::ZERO => AccountAction::Missing(short),
            Ok(_) | Err(_) => AccountAction::Register { add: missing },
        });
    }
    if let Some((set, _)) = view.sets.iter().find(|(_, standing)| *standing == Standing::Listed) {
        return Some(AccountAction::Join(*set));
    }
    let limit = policy.withdraw_above?;
    let surplus = view.free.minus(policy.keep).ok().filter(|s| *s > Amount::ZERO)?;
    (view.free > limit).then_some(AccountAction::Withdraw(surplus))
}

#[cfg(test)]
mod tests {
    use sublet_base::UnixTime;

    use super::*;

    const KEY: PeerKey = PeerKey([1; 32]);

    fn record(bond: u128) -> MediatorRecord {
        MediatorRecord { peer_key: KEY, bond: Amount(bond), at_stake: Amount::ZERO, retired_at: None }
    }

    /// What is known besides the record.
    struct Known<'a> {
        free: u128,
        sets: &'a [(MediatorSetId, Standing)],
        posted: bool,
    }

    fn next(record: Option<&MediatorRecord>, known: &Known<'_>) -> Option<AccountAction> {
        let policy = AccountPolicy { bond: Amount(10), withdraw_above: Some(Amount(50)), keep: Amount(5) };
        let (free, sets, posted) = (Amount(known.free), known.sets, known.posted);
        decide_account(&AccountView { record, free, peer_key: KEY, sets, posted }, &policy)
    }

    #[test]
    fn it_registers_bonds_joins_and_collects() {
        use AccountAction as A;
        let known = |free| Known { free, sets: &[], posted: true };
        let first = |free| Known { posted: false, ..known(free) };
        let (full, low) = (record(10), record(4));
        let other_key = MediatorRecord { peer_key: PeerKey([2; 32]), ..record(10) };
        let retired = MediatorRecord { retired_at: Some(UnixTime(1)), ..record(10) };
        let listed = [(MediatorSetId(1), Standing::Joined), (MediatorSetId(2), Standing::Listed)];
        let foreign = [(MediatorSetId(3), Standing::Foreign)];
        let table = [
            ("new", None, first(10), Some(A::Register { add: Amount(10) })),
            ("poor", None, first(7), Some(A::Missing(Amount(3)))),
            ("slashed before this start", Some(&low), first(6), Some(A::Register { add: Amount(6) })),
            ("slashed since", Some(&low), known(6), None),
            ("another key", Some(&other_key), known(0), Some(A::Register { add: Amount(0) })),
            ("retired", Some(&retired), known(0), Some(A::Register { add: Amount(0) })),
            ("a set to join", Some(&full), Known { sets: &listed, ..known(0) }, Some(A::Join(MediatorSetId(2)))),
            ("a set of others", Some(&full), Known { sets: &foreign, ..known(0) }, None),
            ("earned", Some(&full), known(51), Some(A::Withdraw(Amount(46)))),
            ("earned a little", Some(&full), known(50), None),
        ];
        for (name, record, known, expected) in table {
            assert_eq!(next(record, &known), expected, "{name}");
        }
    }
}
