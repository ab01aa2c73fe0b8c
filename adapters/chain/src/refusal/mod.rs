//! Why the contract refuses a call: its custom errors as an enum, each with a sentence a person understands.

mod branches;
mod read;

use alloy::primitives::Bytes;
use alloy::sol_types::{Panic, Revert, SolError, SolInterface};
use sublet_base::{Address, Amount, B256, Price, Seconds, U256, UnixTime};
use sublet_market::{Class, Kind};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::agreement::{JobState, LeaseState};
use crate::bindings::Court::CourtErrors as C;
use crate::bindings::Gateways::GatewaysErrors as G;
use crate::bindings::Orders::OrdersErrors as O;
use crate::bindings::Sublet::SubletErrors as E;
use crate::bindings::SubletToken::SubletTokenErrors as T;
use crate::court::{DisputeStage, SeatStage};

/// A call the contract refuses, with the values that decided it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The sentences are the documentation; the fields are the values they print.
pub enum Refusal {
    #[error("the amount is zero")]
    ZeroAmount,
    #[error("the address is zero")]
    ZeroAddress,
    #[error("{account} is the contract itself: what it was sent would belong to nobody")]
    IsSublet { account: Address },
    #[error("the balance of {account} is too low: {needed} SUB is needed, {free} SUB is free, {} SUB is missing", Amount(needed.0.saturating_sub(free.0)))]
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
    #[error("the offer's {what} is {offered}; the order allows at most {ordered}")]
    TooLarge { what: String, offered: u128, ordered: u128 },
    #[error("the offer's machine has not the properties the order asks for")]
    TraitsDiffer { offered: B256, ordered: B256 },
    #[error("the offer's price of {price} is above the order's limit of {max}")]
    PriceTooHigh { price: Price, max: Price },
    #[error("the duration {duration} is outside the offer's {min} to {max}")]
    DurationOutside { duration: Seconds, min: Seconds, max: Seconds },
    #[error("offer and order name different mediators: set {offered} and set {ordered}")]
    MediatorsDiffer { offered: u64, ordered: u64 },
    #[error("there is no set {set} of mediators")]
    MediatorsUnknown { set: u64 },
    #[error("the pledge of {pledge} does not pay for the panel that would judge the job, which costs {fees}")]
    PledgeBelowFees { pledge: Amount, fees: Amount },
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
    #[error("closing lease {id} now costs its provider {penalty}, more than the {most} it said")]
    LeasePenaltyTooHigh { id: u64, penalty: Amount, most: Amount },
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
    #[error("a result of class {class} is not disputed but refused (job {id})")]
    JobNotDisputable { id: u64, class: Class },
    #[error("the transaction brings too little gas to call the renter of job {id} back: {left} of {needed}")]
    JobCallbackGas { id: u64, left: u64, needed: u64 },
    #[error("the batch brings too little gas for its next row: {left} of {needed}")]
    BatchGas { left: u64, needed: u64 },
    #[error("only the contract's own parts may do that, not {caller}")]
    BranchOnly { caller: Address },
    #[error("a bond must not be zero")]
    BondZero,
    #[error("a bond of {bond} is more than the {max} the contract can store")]
    BondTooLarge { bond: Amount, max: Amount },
    #[error("{account} has no bond")]
    BondUnknown { account: Address },
    #[error("{account} is retired")]
    BondIsRetired { account: Address },
    #[error("{account} has to retire before its bond can be withdrawn")]
    BondNotRetired { account: Address },
    #[error("the bond of {account} cannot be withdrawn before {}", clock(not_before))]
    BondTooEarly { account: Address, not_before: UnixTime },
    #[error("{at_stake} of the bond of {account} still answers for seats on panels")]
    BondAtStake { account: Address, at_stake: Amount },
    #[error("a mediator needs a peer key")]
    MediatorZeroPeerKey,
    #[error("a set of {members} mediators is too large; the most is {max}")]
    SetTooLarge { members: u64, max: u64 },
    #[error("the mediators of a set are in ascending order without repetition; number {index} is not")]
    SetNotAscending { index: u64 },
    #[error(
        "a panel of {panel_size} of {members} mediators is impossible: it is odd, and at most as many as there are"
    )]
    SetBadPanelSize { panel_size: u8, members: u64 },
    #[error("the fee of a vote must not be zero")]
    SetZeroFee,
    #[error("this chain remembers no block hashes, so no panel could ever be drawn on it")]
    CourtWithoutBlockHashes,
    #[error("{caller} is no member of the set {set} of mediators, or there is no such set")]
    SetOtherMembers { set: u64, caller: Address },
    #[error("the dispute of job {id} is {stage}")]
    DisputeWrongStage { id: u64, stage: DisputeStage },
    #[error("the panel of job {id} is drawn from block {from} on")]
    DisputeTooEarly { id: u64, from: u64 },
    #[error("{caller} is not on the panel of job {id}")]
    VoteNotSeated { id: u64, caller: Address },
    #[error("the seat of {mediator} on the panel of job {id} is {stage}")]
    VoteWrongStage { id: u64, mediator: Address, stage: SeatStage },
    #[error("what is revealed for job {id} is not what was committed")]
    VoteOtherThanCommitted { id: u64, committed: B256, revealed: B256 },
    #[error("a gateway needs a peer key")]
    GatewayZeroPeerKey,
    #[error("a gateway's {what} has {length} bytes; it has 1 to {max}")]
    GatewayBadLength { what: String, length: u64, max: u64 },
    #[error("only its renter {renter} may place this order, not {caller}")]
    OrderNotRenter { caller: Address, renter: Address },
    #[error("the workload has the hash {given}, the order names {ordered}")]
    OrderWorkloadDiffers { given: B256, ordered: B256 },
    #[error("the workload has {length} bytes; the most is {max}")]
    OrderWorkloadTooLong { length: u64, max: u64 },
    #[error("only a job ends with a callback, not a {kind}")]
    OrderNoCallback { kind: Kind },
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
        if let Ok(error) = C::abi_decode(data) {
            return Self::from_court(error, data);
        }
        if let Ok(error) = G::abi_decode(data) {
            return Self::from_gateways(error);
        }
        if let Ok(error) = O::abi_decode(data) {
            return Self::from_orders(&error, data);
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
