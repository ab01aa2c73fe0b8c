//! The refusals, each with its sentence and its remedy, in one place.

use std::time::Duration;

use sublet_base::{Address, Amount, B256, Seconds, UnixTime};
use sublet_chain::ReadError;
use sublet_market::Domain;
use sublet_store::StoreError;
use sublet_wire::solver::{InvalidDocument, MAX_BODY, Refusal, RefusalCode as Code};

fn refusal(code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into(), remedy: remedy.into() }
}

pub(crate) fn malformed(detail: impl Into<String>) -> Refusal {
    refusal(Code::Malformed, detail, "see /docs for what this call expects")
}

pub(crate) fn invalid(error: &InvalidDocument) -> Refusal {
    match error {
        InvalidDocument::Terms(terms) => {
            refusal(Code::Senseless, terms.to_string(), "change the document and sign it again")
        }
        InvalidDocument::TooLarge(_) => malformed(error.to_string()),
        InvalidDocument::Signature(source) => malformed(format!("{error}: {source}")),
    }
}

pub(crate) fn wrong_signature(who: Address, domain: &Domain) -> Refusal {
    refusal(
        Code::WrongSignature,
        format!("this is not signed by {who} for chain {} and contract {}", domain.chain_id, domain.contract),
        "sign exactly what is posted, with that account and the chain and contract that /v1/info names",
    )
}

pub(crate) fn expired(valid_until: UnixTime, now: UnixTime) -> Refusal {
    refusal(
        Code::Expired,
        format!("it was valid until {valid_until}, the chain's clock says {now}"),
        "sign a new one with a later validUntil",
    )
}

pub(crate) fn too_far_ahead(longest: Seconds) -> Refusal {
    refusal(
        Code::TooFarAhead,
        format!("it is valid for longer than the {longest} this solver keeps such documents"),
        "sign one with an earlier validUntil and renew it",
    )
}

pub(crate) fn old_epoch(signed: u64, current: u64) -> Refusal {
    refusal(
        Code::OldEpoch,
        format!("it was signed for epoch {signed}, the provider's epoch is {current}"),
        "sign the offer with the epoch that the contract's providerOf reports",
    )
}

pub(crate) fn cancelled() -> Refusal {
    refusal(Code::Cancelled, "it was cancelled", "sign a new document; a cancelled one stays cancelled")
}

pub(crate) fn nonce_used() -> Refusal {
    refusal(
        Code::NonceUsed,
        "the order's nonce is already filled or cancelled on chain",
        "sign the order with another nonce",
    )
}

pub(crate) fn balance_too_low(who: Address, free: Amount, needed: Amount) -> Refusal {
    let missing = Amount(needed.0.saturating_sub(free.0));
    refusal(
        Code::BalanceTooLow,
        format!("{who} has {free} free in the contract and needs {needed}: {missing} is missing"),
        format!("deposit at least {missing} (sublet account deposit {missing}) and post it again"),
    )
}

pub(crate) fn balance_spoken_for(who: Address, free: Amount, needed: Amount) -> Refusal {
    let missing = Amount(needed.0.saturating_sub(free.0));
    let both = format!("{who} has {free} free in the contract and its orders here may need {needed} together");
    refusal(
        Code::BalanceTooLow,
        format!("{both}: {missing} is missing"),
        format!("deposit at least {missing} (sublet account deposit {missing}), or cancel an order, and post it again"),
    )
}

pub(crate) fn provider_offline(who: Address, registered: bool) -> Refusal {
    let message =
        if registered { "is not online, or its last beat is too old" } else { "is not registered as a provider" };
    refusal(Code::ProviderOffline, format!("{who} {message}"), "start the provider's agent and post the offer again")
}

pub(crate) fn other_solver(solver: Address, account: Address) -> Refusal {
    refusal(
        Code::OtherSolver,
        format!("only solver {solver} may open this order, this one is {account}"),
        "sign the order for this solver or for the zero address",
    )
}

pub(crate) fn fee_too_low(fee: Amount, min: Amount) -> Refusal {
    refusal(
        Code::FeeTooLow,
        format!("its solver fee is {fee}, this solver asks for {min}"),
        "sign the order with that solverFee",
    )
}

pub(crate) fn book_full(what: &str, limit: u32) -> Refusal {
    refusal(
        Code::BookFull,
        format!("{what} has {limit} live documents here, which is the limit"),
        "cancel some, or wait until some expire",
    )
}

pub(crate) fn not_found(what: &str, hash: B256) -> Refusal {
    refusal(
        Code::NotFound,
        format!("there is no {what} {hash} here"),
        "check the hash, and that this is the solver it was posted to",
    )
}

pub(crate) fn too_late(state: &str) -> Refusal {
    refusal(
        Code::TooLate,
        format!("the order is {state}"),
        "a lease is closed and a job is awaited on chain, not cancelled here",
    )
}

pub(crate) fn too_many(wait: Duration) -> Refusal {
    let seconds = wait.as_secs() + 1;
    refusal(Code::TooManyRequests, "too many requests", format!("wait {seconds} s and try again"))
}

pub(crate) fn too_long() -> Refusal {
    refusal(Code::TooLong, format!("the body is longer than {MAX_BODY} bytes"), "post one document at a time")
}

pub(crate) fn chain_unavailable(error: &ReadError) -> Refusal {
    tracing::warn!(error = %sublet_daemon::report(error), "the chain does not answer");
    refusal(Code::ChainUnavailable, "the chain does not answer, so nothing was changed", "try again in a moment")
}

pub(crate) fn timed_out() -> Refusal {
    refusal(
        Code::TimedOut,
        "it took too long; whether it was done is not known",
        "ask where the document is, or post it again, which is harmless",
    )
}

/// The cause goes to the log, not to strangers.
pub(crate) fn internal(error: &StoreError) -> Refusal {
    tracing::error!(error = %sublet_daemon::report(error), "the book cannot be used");
    refusal(
        Code::Internal,
        "the solver could not use its book, so nothing was changed",
        "try again; if it lasts, tell the solver's operator",
    )
}
