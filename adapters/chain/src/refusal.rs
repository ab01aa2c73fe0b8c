//! Why the contract refuses a call: its custom errors as an enum, each with a sentence a person understands.

use alloy::primitives::Bytes;
use alloy::sol_types::{Panic, Revert, SolError, SolInterface};
use sublet_base::{Address, Amount, B256, Seconds, U256, UnixTime};
use sublet_market::{Class, Kind};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::agreement::{JobState, LeaseState};
use crate::bindings::Sublet::SubletErrors as E;
use crate::bindings::SubletToken::SubletTokenErrors as T;
use crate::convert::{amount, label, seconds, units};

/// A call the contract refuses, with the values that decided it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The sentences are the documentation; the fields are the values they print.
pub enum Refusal {
    #[error("the amount is zero")]
    ZeroAmount,
    #[error("the address is zero")]
    ZeroAddress,
    #[error("the balance of {account} is too low: {free} is free, {needed} is needed, {} is missing; deposit more", Amount(needed.0.saturating_sub(free.0)))]
    Short { account: Address, free: Amount, needed: Amount },
    #[error("the token credited {credited} of {asked}: tokens that take a fee on transfer are not accepted")]
    DepositDiffers { asked: Amount, credited: Amount },
    #[error("only the guardian may do that")]
    GuardianOnly { caller: Address },
    #[error("new agreements are paused by the guardian; running ones and withdrawals are not touched")]
    OpenIsPaused,
    #[error("{provider} is not registered as a provider")]
    ProviderUnknown { provider: Address },
    #[error("a provider needs a peer key")]
    ProviderZeroPeerKey,
    #[error("the provider's info has {length} bytes; the most is {max}")]
    ProviderInfoTooLong { length: u64, max: u64 },
    #[error("the provider {provider} takes no new agreements now")]
    ProviderOffline { provider: Address },
    #[error("the provider {provider} has not been heard of since {}", clock(last_beat))]
    ProviderStale { provider: Address, last_beat: UnixTime },
    #[error("the offer {offer} is not signed by {provider} for this chain and contract")]
    OfferBadSignature { provider: Address, offer: B256 },
    #[error("the offer {offer} was valid until {}", clock(valid_until))]
    OfferExpired { offer: B256, valid_until: UnixTime },
    #[error("the offer {offer} was cancelled by its provider")]
    OfferCancelled { offer: B256 },
    #[error("the provider has cancelled all offers of epoch {offered}; the epoch is {current} now")]
    OfferEpochOver { offered: u64, current: u64 },
    #[error("the offer {offer} has all its {capacity} agreements open")]
    OfferFull { offer: B256, capacity: u32 },
    #[error("the offer's price is zero")]
    OfferZeroPrice,
    #[error("the pledge for this duration rounds to zero: the provider would risk nothing")]
    OfferZeroPledge,
    #[error("the order {order} is not signed by {renter} for this chain and contract")]
    OrderBadSignature { renter: Address, order: B256 },
    #[error("the order {order} was valid until {}", clock(valid_until))]
    OrderExpired { order: B256, valid_until: UnixTime },
    #[error("the order's number {nonce} of {renter} is already filled or cancelled")]
    OrderNonceUsed { renter: Address, nonce: U256 },
    #[error("the order may only be opened by its solver {solver} or its renter, not by {caller}")]
    OrderOtherSolver { caller: Address, solver: Address },
    #[error("the order wants the provider {ordered}; the offer is of {offered}")]
    OrderOtherProvider { offered: Address, ordered: Address },
    #[error("the offer is for a {offered}, the order for a {ordered}")]
    KindDiffers { offered: Kind, ordered: Kind },
    #[error("the offer has {offered} of {what}; the order wants at least {ordered}")]
    TooSmall { what: String, offered: u128, ordered: u128 },
    #[error("the offer's machine has not the properties the order asks for")]
    TraitsDiffer { offered: B256, ordered: B256 },
    #[error("the offer's price {}/s is above the order's limit {}/s", price, max)]
    PriceTooHigh { price: Amount, max: Amount },
    #[error("the duration {duration} is outside the offer's {min} to {max}")]
    DurationOutside { duration: Seconds, min: Seconds, max: Seconds },
    #[error("offer and order name different mediators: set {offered} and set {ordered}")]
    MediatorsDiffer { offered: u64, ordered: u64 },
    #[error("the order's challenge window of {window} is longer than the {max} the offer allows")]
    WindowTooLong { window: Seconds, max: Seconds },
    #[error("a lease has no result to check: its class must be none")]
    LeaseHasClass,
    #[error("{what} is {value}; the most is {max}")]
    OutOfRange { what: String, value: u128, max: u128 },
    #[error("the acceptance of job {job} is not signed by its renter {renter}")]
    AcceptanceBadSignature { renter: Address, job: u64 },
    #[error("agreement {id} does not allow this to {caller}")]
    OtherParty { id: u64, caller: Address },
    #[error("too late for agreement {id}: the deadline was {}", clock(deadline))]
    TooLate { id: u64, deadline: UnixTime },
    #[error("too early for agreement {id}: not before {}", clock(not_before))]
    TooEarly { id: u64, not_before: UnixTime },
    #[error("lease {id} is {state}")]
    LeaseWrongState { id: u64, state: LeaseState },
    #[error("lease {id} would last {duration} s in total; its offer allows {max}")]
    LeaseTooLong { id: u64, duration: u64, max: Seconds },
    #[error("notice of lease {id} was given at {}", clock(notice_at))]
    LeaseNoticeAlreadyGiven { id: u64, notice_at: UnixTime },
    #[error("a top-up of no seconds")]
    LeaseZeroSeconds,
    #[error("job {id} is {state}")]
    JobWrongState { id: u64, state: JobState },
    #[error("the result hash of job {id} is zero")]
    JobZeroResult { id: u64 },
    #[error("job {id} was submitted with result {submitted}, not {given}")]
    JobResultDiffers { id: u64, submitted: B256, given: B256 },
    #[error("the cost {cost} of job {id} is above {max}")]
    JobCostTooHigh { id: u64, cost: Amount, max: Amount },
    #[error("the cost {cost} of job {id} is below {min}: only its provider may settle for less")]
    JobCostTooLow { id: u64, cost: Amount, min: Amount },
    #[error("a result of class {class} is not refused but disputed (job {id})")]
    JobNotRefusable { id: u64, class: Class },
    #[error("{account} has {balance} in its wallet; {needed} is needed, {} is missing", Amount(needed.0.saturating_sub(balance.0)))]
    TokenShort { account: Address, balance: Amount, needed: Amount },
    #[error("{allowance} is approved for {spender}; {needed} is needed")]
    TokenNotApproved { spender: Address, allowance: Amount, needed: Amount },
    #[error("the faucet gives {account} only {left} more, not {asked}")]
    FaucetCap { account: Address, left: Amount, asked: Amount },
    /// A failed `require` of some other contract.
    #[error("the contract says: {0}")]
    Said(String),
    /// Overflow, division by zero and the like inside the contract.
    #[error("the contract panicked with code {0:#x}")]
    Panicked(u64),
    /// An error this version does not know.
    #[error("the contract refuses with {}", if data.is_empty() { "no reason".to_owned() } else { format!("an unknown reason ({data})") })]
    Unknown { data: Bytes },
}

/// A time people can read.
fn clock(time: &UnixTime) -> String {
    let read = i64::try_from(time.0).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    read.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| time.to_string())
}

impl Refusal {
    /// Reads what a reverted call returned.
    #[must_use]
    pub fn from_revert(data: &[u8]) -> Self {
        if let Ok(error) = E::abi_decode(data) {
            return Self::from_contract(error, data);
        }
        if let Ok(error) = T::abi_decode(data) {
            return Self::from_token(&error, data);
        }
        if let Ok(revert) = Revert::abi_decode(data) {
            return Self::Said(revert.reason.chars().take(200).collect());
        }
        match Panic::abi_decode(data) {
            Ok(panic) => Self::Panicked(panic.code.saturating_to()),
            Err(_) => Self::unknown(data),
        }
    }

    fn unknown(data: &[u8]) -> Self {
        Self::Unknown { data: Bytes::copy_from_slice(&data[..data.len().min(256)]) }
    }

    fn from_token(error: &T, data: &[u8]) -> Self {
        match error {
            T::ERC20InsufficientBalance(e) => {
                Self::TokenShort { account: e.sender, balance: units(e.balance), needed: units(e.needed) }
            }
            T::ERC20InsufficientAllowance(e) => {
                Self::TokenNotApproved { spender: e.spender, allowance: units(e.allowance), needed: units(e.needed) }
            }
            T::FaucetCapExceeded(e) => {
                Self::FaucetCap { account: e.account, left: units(e.left), asked: units(e.asked) }
            }
            _ => Self::unknown(data),
        }
    }

    fn from_contract(error: E, data: &[u8]) -> Self {
        match error {
            E::AccountZeroAmount(_) => Self::ZeroAmount,
            E::AccountZeroAddress(_) => Self::ZeroAddress,
            E::AccountShort(e) => Self::Short { account: e.account, free: units(e.free), needed: units(e.needed) },
            E::AccountDepositDiffers(e) => Self::DepositDiffers { asked: units(e.asked), credited: units(e.credited) },
            E::GuardianOnly(e) => Self::GuardianOnly { caller: e.caller },
            E::OpenIsPaused(_) => Self::OpenIsPaused,
            E::ProviderUnknown(e) => Self::ProviderUnknown { provider: e.provider },
            E::ProviderZeroPeerKey(_) => Self::ProviderZeroPeerKey,
            E::ProviderInfoTooLong(e) => {
                Self::ProviderInfoTooLong { length: e.length.saturating_to(), max: e.max.saturating_to() }
            }
            E::ProviderIsOffline(e) => Self::ProviderOffline { provider: e.provider },
            E::ProviderStale(e) => Self::ProviderStale { provider: e.provider, last_beat: UnixTime(e.lastBeat) },
            E::AgreementOtherParty(e) => Self::OtherParty { id: e.id, caller: e.caller },
            E::AgreementTooLate(e) => Self::TooLate { id: e.id, deadline: UnixTime(e.deadline.saturating_to()) },
            E::AgreementTooEarly(e) => Self::TooEarly { id: e.id, not_before: UnixTime(e.notBefore.saturating_to()) },
            other => Self::from_documents(other, data),
        }
    }

    /// Refusals of `open`.
    fn from_documents(error: E, data: &[u8]) -> Self {
        match error {
            E::OfferBadSignature(e) => Self::OfferBadSignature { provider: e.provider, offer: e.offerHash },
            E::OfferExpired(e) => Self::OfferExpired { offer: e.offerHash, valid_until: UnixTime(e.validUntil) },
            E::OfferIsCancelled(e) => Self::OfferCancelled { offer: e.offerHash },
            E::OfferEpochOver(e) => Self::OfferEpochOver { offered: e.offered, current: e.current },
            E::OfferFull(e) => Self::OfferFull { offer: e.offerHash, capacity: e.capacity },
            E::OfferZeroPrice(_) => Self::OfferZeroPrice,
            E::OfferZeroPledge(_) => Self::OfferZeroPledge,
            E::OrderBadSignature(e) => Self::OrderBadSignature { renter: e.renter, order: e.orderHash },
            E::OrderExpired(e) => Self::OrderExpired { order: e.orderHash, valid_until: UnixTime(e.validUntil) },
            E::OrderNonceUsed(e) => Self::OrderNonceUsed { renter: e.renter, nonce: e.nonce },
            E::OrderOtherSolver(e) => Self::OrderOtherSolver { caller: e.caller, solver: e.solver },
            E::OrderOtherProvider(e) => Self::OrderOtherProvider { offered: e.offered, ordered: e.ordered },
            E::MatchKindDiffers(e) => match (Kind::try_from(e.offered), Kind::try_from(e.ordered)) {
                (Ok(offered), Ok(ordered)) => Self::KindDiffers { offered, ordered },
                _ => Self::unknown(data),
            },
            E::MatchTooSmall(e) => Self::TooSmall {
                what: label(e.what),
                offered: e.offered.saturating_to(),
                ordered: e.ordered.saturating_to(),
            },
            E::MatchTraitsDiffer(e) => Self::TraitsDiffer { offered: e.offered, ordered: e.ordered },
            E::MatchPriceTooHigh(e) => Self::PriceTooHigh { price: amount(e.price), max: amount(e.maxPrice) },
            E::MatchDurationOutside(e) => {
                Self::DurationOutside { duration: seconds(e.duration), min: seconds(e.min), max: seconds(e.max) }
            }
            E::MatchMediatorsDiffer(e) => Self::MediatorsDiffer { offered: e.offered, ordered: e.ordered },
            E::MatchWindowTooLong(e) => Self::WindowTooLong { window: seconds(e.window), max: seconds(e.max) },
            E::MatchLeaseHasClass(_) => Self::LeaseHasClass,
            E::MatchOutOfRange(e) => {
                Self::OutOfRange { what: label(e.what), value: e.value.saturating_to(), max: e.max.saturating_to() }
            }
            other => Self::from_agreements(other, data),
        }
    }

    /// Refusals of the calls on one lease or job.
    fn from_agreements(error: E, data: &[u8]) -> Self {
        match error {
            E::AcceptanceBadSignature(e) => Self::AcceptanceBadSignature { renter: e.renter, job: e.job },
            E::LeaseWrongState(e) => match LeaseState::try_from(e.state) {
                Ok(state) => Self::LeaseWrongState { id: e.id, state },
                Err(_) => Self::unknown(data),
            },
            E::LeaseTooLong(e) => {
                Self::LeaseTooLong { id: e.id, duration: e.duration.saturating_to(), max: seconds(e.max) }
            }
            E::LeaseNoticeAlreadyGiven(e) => {
                Self::LeaseNoticeAlreadyGiven { id: e.id, notice_at: UnixTime(e.noticeAt) }
            }
            E::LeaseZeroSeconds(_) => Self::LeaseZeroSeconds,
            E::JobWrongState(e) => match JobState::try_from(e.state) {
                Ok(state) => Self::JobWrongState { id: e.id, state },
                Err(_) => Self::unknown(data),
            },
            E::JobZeroResult(e) => Self::JobZeroResult { id: e.id },
            E::JobResultDiffers(e) => Self::JobResultDiffers { id: e.id, submitted: e.submitted, given: e.given },
            E::JobCostTooHigh(e) => Self::JobCostTooHigh { id: e.id, cost: amount(e.cost), max: amount(e.max) },
            E::JobCostTooLow(e) => Self::JobCostTooLow { id: e.id, cost: amount(e.cost), min: amount(e.min) },
            E::JobNotRefusable(e) => match Class::try_from(e.class) {
                Ok(class) => Self::JobNotRefusable { id: e.id, class },
                Err(_) => Self::unknown(data),
            },
            _ => Self::unknown(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::Sublet as s;

    #[test]
    fn sentences_have_the_numbers_and_times_that_decided() {
        let late = s::AgreementTooLate { id: 7, deadline: U256::from(1_795_000_000u64) }.abi_encode();
        let sentence = Refusal::from_revert(&late).to_string();
        assert_eq!(sentence, "too late for agreement 7: the deadline was 2026-11-18T11:06:40Z");
        let small =
            s::MatchTooSmall { what: word("vcpus"), offered: U256::from(1), ordered: U256::from(4) }.abi_encode();
        assert_eq!(Refusal::from_revert(&small).to_string(), "the offer has 1 of vcpus; the order wants at least 4");
        let said = Revert { reason: "no".to_owned() }.abi_encode();
        assert_eq!(Refusal::from_revert(&said), Refusal::Said("no".to_owned()));
        assert_eq!(Refusal::from_revert(&[]).to_string(), "the contract refuses with no reason");
        let wrong = s::LeaseWrongState { id: 7, state: 250 }.abi_encode();
        assert!(matches!(Refusal::from_revert(&wrong), Refusal::Unknown { .. }), "a state this version does not know");
    }

    fn word(text: &str) -> B256 {
        let mut bytes = [0; 32];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        B256::from(bytes)
    }
}
