//! The vote, and what of the provider it needs.
//!
//! | our own run gave | the provider handed over | vote |
//! |---|---|---|
//! | another hash than was submitted | the document | that hash |
//! | the submitted hash | document and archive | that hash |
//! | the submitted hash | not the archive, but we could not ask often enough | that hash, at the last moment |
//! | the submitted hash, or nothing | not the archive, however often it was asked | zero |
//! | nothing | not even the document | zero |
//! | nothing | document and archive | none: our own failure is no verdict |
//!
//! A wrong result is voted down by what is right, not by zero, also when its archive is missing: a provider that shows
//! its archive to one half of a panel could otherwise split the honest votes.

use sublet_base::{Address, B256, Seconds, UnixTime};
use sublet_chain::{DisputeRecord, DisputeStage, SeatStage};

use super::{Policy, Seen};
use crate::case::Case;

/// True while the provider is to be asked for what it has not handed over.
#[must_use]
pub fn wanted(case: &Case, dispute: &DisputeRecord, me: Address) -> bool {
    let drawn =
        dispute.stage == DisputeStage::Commit && dispute.seat(me).is_some_and(|seat| seat.stage == SeatStage::Drawn);
    drawn && case.ballot.is_none() && (case.document.is_none() || !case.archive_seen)
}

/// Whether the provider was last asked so long ago that what it did not answer before counts no longer: it may have been
/// we who were away.
#[must_use]
pub fn lapsed(case: &Case, now: UnixTime, gap: Seconds) -> bool {
    case.silence.is_some_and(|silence| now > silence.last.plus(gap))
}

/// How long a provider is asked in vain before its silence is a verdict.
#[must_use]
pub fn patience(dispute: &DisputeRecord, policy: &Policy) -> Seconds {
    let window = u64::from(dispute.duration.0).saturating_add(policy.commit_slack.0.into());
    policy.patience.unwrap_or(Seconds(u32::try_from(window / 4).unwrap_or(u32::MAX)))
}

pub(super) fn verdict(case: &Case, seen: Seen<'_>, policy: &Policy) -> Option<B256> {
    let submitted = case.raised.submitted;
    let withheld = !case.archive_seen && gave_up(case, seen, policy);
    match &case.found {
        Some(result) if result.hash != submitted => Some(result.hash),
        Some(_) if withheld => Some(B256::ZERO),
        Some(_) => (case.archive_seen || last_moment(seen, policy)).then_some(submitted),
        // Our run may still show a better answer than zero.
        None if case.document.is_some() && case.unable.is_none() && !last_moment(seen, policy) => None,
        None => withheld.then_some(B256::ZERO),
    }
}

/// What counts is for how long it was asked, not for how long ago: the time in which we were away is not its silence.
fn gave_up(case: &Case, seen: Seen<'_>, policy: &Policy) -> bool {
    let patience = patience(seen.dispute, policy);
    case.silence.is_some_and(|s| s.times >= policy.asks && s.last >= s.since.plus(patience))
}

fn last_moment(seen: Seen<'_>, policy: &Policy) -> bool {
    let commit_by = seen.dispute.commit_by.unwrap_or(UnixTime(u64::MAX));
    seen.now.plus(policy.margin) >= commit_by
}
