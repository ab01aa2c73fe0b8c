//! Every transaction the network's roles send.

use alloy::primitives::Bytes;
use alloy::sol_types::SolCall;
use sublet_base::{Address, Amount, B256, JobId, LeaseId, PeerKey, Seconds, U256};
use sublet_market::{SignedAcceptance, SignedOffer, SignedOrder};

use crate::bindings::{Sublet as s, SubletToken as t};
use crate::convert;

/// A call that changes something on chain; amounts are token units.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// Lets the contract take this much of the caller's tokens; needed before a deposit.
    Approve(Amount),
    /// Sends tokens to another account's wallet.
    Transfer {
        /// Receiver.
        to: Address,
        /// How much.
        amount: Amount,
    },
    /// Mints tokens of the test token; refused where the token has no faucet.
    Mint {
        /// Receiver.
        to: Address,
        /// How much.
        amount: Amount,
    },
    /// Moves tokens from the wallet into the caller's balance.
    Deposit(Amount),
    /// Moves the caller's tokens into another account's balance.
    DepositFor {
        /// Whose balance.
        account: Address,
        /// How much.
        amount: Amount,
    },
    /// Moves from the caller's balance to its wallet.
    Withdraw(Amount),
    /// Registers the caller as provider, or replaces its key and info.
    RegisterProvider {
        /// Its link endpoint.
        peer_key: PeerKey,
        /// A JSON object of at most 512 bytes.
        info: String,
    },
    /// Takes, or stops taking, new agreements.
    SetOnline(bool),
    /// Proof of life.
    Beat,
    /// Opens an agreement.
    Open(Box<(SignedOffer, SignedOrder)>),
    /// Opens a batch; refused pairs are reported by [`crate::Event::OpenRefused`].
    OpenMany(Vec<(SignedOffer, SignedOrder)>),
    /// Ends one offer of the caller, named by its EIP-712 digest.
    CancelOffer(B256),
    /// Ends every offer of the caller signed so far.
    BumpEpoch,
    /// Uses up a nonce of the caller.
    CancelOrder(U256),
    /// Provider: starts the rent.
    StartLease(LeaseId),
    /// Provider: declines before the start.
    RejectLease(LeaseId),
    /// Renter: takes it back before the start.
    CancelLease(LeaseId),
    /// Anyone: it was not started in time.
    ExpireLease(LeaseId),
    /// Anyone: pays the rent so far.
    SettleLease(LeaseId),
    /// Anyone: buys more seconds.
    TopUpLease(LeaseId, Seconds),
    /// Provider: starts the notice clock.
    GiveNotice(LeaseId),
    /// Renter or provider: ends it.
    CloseLease(LeaseId),
    /// Anyone: the provider fell silent.
    FaultLease(LeaseId),
    /// Provider: declines.
    RejectJob(JobId),
    /// Provider: hands in a result.
    SubmitJob {
        /// The job.
        job: JobId,
        /// keccak256 of the result archive.
        result: B256,
        /// How long it ran.
        used: Seconds,
    },
    /// Anyone: with the renter's signature.
    SettleJob(SignedAcceptance),
    /// Anyone: a batch; refused rows are reported by [`crate::Event::SettleRefused`].
    SettleJobs(Vec<SignedAcceptance>),
    /// Renter: takes the result.
    AcceptJob(JobId),
    /// Anyone: the renter was silent.
    FinalizeJob(JobId),
    /// Anyone: no result in time.
    ExpireJob(JobId),
    /// Renter: does not want the result.
    RefuseJob(JobId),
}

/// Which contract a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Sublet,
    Token,
}

impl Call {
    /// Target and call data; `contract` is the Sublet contract's address.
    pub(crate) fn encode(&self, contract: Address) -> (Target, Bytes) {
        let data = match self {
            Self::Approve(amount) => {
                let call = t::approveCall { spender: contract, value: U256::from(amount.0) };
                return (Target::Token, call.abi_encode().into());
            }
            Self::Transfer { to, amount } => {
                let call = t::transferCall { to: *to, value: U256::from(amount.0) };
                return (Target::Token, call.abi_encode().into());
            }
            Self::Mint { to, amount } => {
                let call = t::mintCall { to: *to, amount: U256::from(amount.0) };
                return (Target::Token, call.abi_encode().into());
            }
            Self::Deposit(amount) => s::depositCall { amount: amount.0 }.abi_encode(),
            Self::DepositFor { account, amount } => {
                s::depositForCall { account: *account, amount: amount.0 }.abi_encode()
            }
            Self::Withdraw(amount) => s::withdrawCall { amount: amount.0 }.abi_encode(),
            Self::RegisterProvider { peer_key, info } => {
                s::registerProviderCall { peerKey: B256::from(peer_key.0), info: info.clone() }.abi_encode()
            }
            Self::SetOnline(online) => s::setOnlineCall { online: *online }.abi_encode(),
            Self::Beat => s::beatCall {}.abi_encode(),
            Self::Open(pair) => encode_open(&pair.0, &pair.1),
            Self::OpenMany(pairs) => {
                s::openManyCall { pairs: pairs.iter().map(|(o, w)| convert::pair(o, w)).collect() }.abi_encode()
            }
            Self::CancelOffer(hash) => s::cancelOfferCall { offerHash: *hash }.abi_encode(),
            Self::BumpEpoch => s::bumpEpochCall {}.abi_encode(),
            Self::CancelOrder(nonce) => s::cancelOrderCall { nonce: *nonce }.abi_encode(),
            Self::StartLease(id) => s::startLeaseCall { id: id.0 }.abi_encode(),
            Self::RejectLease(id) => s::rejectLeaseCall { id: id.0 }.abi_encode(),
            Self::CancelLease(id) => s::cancelLeaseCall { id: id.0 }.abi_encode(),
            Self::ExpireLease(id) => s::expireLeaseCall { id: id.0 }.abi_encode(),
            Self::SettleLease(id) => s::settleLeaseCall { id: id.0 }.abi_encode(),
            Self::TopUpLease(id, more) => s::topUpLeaseCall { id: id.0, seconds_: more.0 }.abi_encode(),
            Self::GiveNotice(id) => s::giveNoticeCall { id: id.0 }.abi_encode(),
            Self::CloseLease(id) => s::closeLeaseCall { id: id.0 }.abi_encode(),
            Self::FaultLease(id) => s::faultLeaseCall { id: id.0 }.abi_encode(),
            Self::RejectJob(id) => s::rejectJobCall { id: id.0 }.abi_encode(),
            Self::SubmitJob { job, result, used } => {
                s::submitJobCall { id: job.0, resultHash: *result, usedSeconds: used.0 }.abi_encode()
            }
            Self::SettleJob(signed) => encode_settle(signed),
            Self::SettleJobs(signed) => {
                s::settleJobsCall { settlements: signed.iter().map(settlement).collect() }.abi_encode()
            }
            Self::AcceptJob(id) => s::acceptJobCall { id: id.0 }.abi_encode(),
            Self::FinalizeJob(id) => s::finalizeJobCall { id: id.0 }.abi_encode(),
            Self::ExpireJob(id) => s::expireJobCall { id: id.0 }.abi_encode(),
            Self::RefuseJob(id) => s::refuseJobCall { id: id.0 }.abi_encode(),
        };
        (Target::Sublet, data.into())
    }
}

fn encode_open(offered: &SignedOffer, ordered: &SignedOrder) -> Vec<u8> {
    let pair = convert::pair(offered, ordered);
    s::openCall {
        offer: pair.offer,
        offerSignature: pair.offerSignature,
        order: pair.order,
        orderSignature: pair.orderSignature,
    }
    .abi_encode()
}

fn encode_settle(signed: &SignedAcceptance) -> Vec<u8> {
    let row = settlement(signed);
    s::settleJobCall { id: row.id, resultHash: row.resultHash, cost: row.cost, acceptance: row.acceptance }.abi_encode()
}

fn settlement(signed: &SignedAcceptance) -> s::Settlement {
    s::Settlement {
        id: signed.acceptance.job.0,
        resultHash: signed.acceptance.result_hash,
        cost: signed.acceptance.cost.0,
        acceptance: signed.signature.bytes().to_vec().into(),
    }
}
