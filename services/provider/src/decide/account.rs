//! The provider's own account: registration, beats, and money that need not lie in the contract.

use sublet_base::{Amount, PeerKey, Seconds, UnixTime};
use sublet_chain::ProviderRecord;

/// What is known about the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView<'a> {
    /// As registered, or not at all.
    pub record: Option<&'a ProviderRecord>,
    /// The info it was registered with, if that is known yet.
    pub registered_info: Option<&'a str>,
    /// Free balance in the contract.
    pub free: Amount,
    /// The link key that should be registered.
    pub peer_key: PeerKey,
    /// The info that should be registered.
    pub info: &'a str,
    /// When the host last answered.
    pub host_seen: UnixTime,
}

/// When to do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountPolicy {
    /// A beat after this long; well below the contract's `MAX_GAP`.
    pub beat_every: Seconds,
    /// No beat vouches for machines on a host that has been silent for longer than this.
    pub host_patience: Seconds,
    /// Above this free balance, withdraw.
    pub withdraw_above: Option<Amount>,
    /// What a withdrawal leaves for pledges.
    pub keep: Amount,
}

/// What to do about the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountAction {
    /// Register, or change the registration.
    Register,
    /// Take new agreements.
    GoOnline,
    /// Take no new agreements: the host is gone.
    GoOffline,
    /// Prove life.
    Beat,
    /// Take money out.
    Withdraw(Amount),
}

/// The next thing to do about the account. `None`: nothing.
#[must_use]
pub fn decide_account(view: &AccountView<'_>, policy: &AccountPolicy, now: UnixTime) -> Option<AccountAction> {
    let other_info = view.registered_info.is_some_and(|info| info != view.info);
    let Some(record) = view.record.filter(|r| r.peer_key == view.peer_key && !other_info) else {
        return Some(AccountAction::Register);
    };
    let host_lives = now <= view.host_seen.plus(policy.host_patience);
    match (host_lives, record.online) {
        (true, false) => return Some(AccountAction::GoOnline),
        (false, true) => return Some(AccountAction::GoOffline),
        (true, true) if now >= record.last_beat.plus(policy.beat_every) => return Some(AccountAction::Beat),
        (true, true) | (false, false) => {}
    }
    let limit = policy.withdraw_above?;
    let surplus = view.free.minus(policy.keep).ok().filter(|s| *s > Amount::ZERO)?;
    (view.free > limit).then_some(AccountAction::Withdraw(surplus))
}
