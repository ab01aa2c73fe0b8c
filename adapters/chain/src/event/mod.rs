//! What happened on chain, in our types.

mod branches;
mod read;

use alloy::rpc::types::Log;
use alloy::sol_types::SolEventInterface;
use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, B256, JobId, LeaseId, PeerKey, Price, Seconds, U256, UnixTime};
use sublet_market::{Class, MediatorSetId, UnknownCode, Verdict};
use thiserror::Error;

use crate::agreement::{JobEnd, LeaseEnd};
use crate::bindings::Court::CourtEvents as C;
use crate::bindings::Gateways::GatewaysEvents as G;
use crate::bindings::Orders::OrdersEvents as O;
use crate::bindings::Sublet::SubletEvents as S;
use crate::branch::{Branch, Contracts, PlacedOrder};
use crate::refusal::Refusal;

/// One event and where it stands on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Number of its block.
    pub block: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Time of its block, if the node tells.
    pub time: Option<UnixTime>,
    /// Its transaction.
    pub tx: B256,
    /// Position within its block.
    pub index: u64,
    /// What happened.
    pub event: Event,
}

/// A lease was opened: everything its provider needs to serve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseOpened {
    /// The lease.
    pub id: LeaseId,
    /// Who pays.
    pub renter: Address,
    /// Who serves.
    pub provider: Address,
    /// Digest of the offer.
    pub offer: B256,
    /// Digest of the order.
    pub order: B256,
    /// Hash of the machine request.
    pub workload: B256,
    /// The renter's link endpoint.
    pub peer_key: PeerKey,
    /// Units a second.
    pub price: Price,
    /// Seconds bought.
    pub duration: Seconds,
    /// Rent locked.
    pub escrow: Amount,
    /// Pledge locked.
    pub pledge: Amount,
    /// Solver's fee locked.
    pub solver_fee: Amount,
    /// Who opened it.
    pub solver: Address,
    /// Last second to start.
    pub start_by: UnixTime,
}

/// A job was opened: everything its provider needs to run it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOpened {
    /// The job.
    pub id: JobId,
    /// Who pays.
    pub renter: Address,
    /// Who runs it.
    pub provider: Address,
    /// Digest of the offer.
    pub offer: B256,
    /// Digest of the order.
    pub order: B256,
    /// Hash of the job document.
    pub workload: B256,
    /// The renter's link endpoint.
    pub peer_key: PeerKey,
    /// How the result is checked.
    pub class: Class,
    /// Units a second.
    pub price: Price,
    /// Longest run paid for.
    pub duration: Seconds,
    /// Payment locked.
    pub escrow: Amount,
    /// Pledge locked.
    pub pledge: Amount,
    /// Solver's fee locked.
    pub solver_fee: Amount,
    /// Who opened it.
    pub solver: Address,
    /// Last second to reject.
    pub start_by: UnixTime,
    /// Last second to submit.
    pub run_by: UnixTime,
}

/// How the money of an ended agreement was split; nothing is held any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// To the provider, besides what earlier settlements paid.
    pub paid: Amount,
    /// To the renter, an unpaid solver's fee included.
    pub refunded: Amount,
    /// Of the pledge, back to the provider.
    pub pledge_back: Amount,
    /// Of the pledge, lost by the provider.
    pub slashed: Amount,
    /// Who made the call.
    pub caller: Address,
    /// Of what was slashed, to the caller.
    pub reward: Amount,
}

/// An event of the contract. Amounts are token units.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // Field names say it; units and meaning are in the contract's interface.
pub enum Event {
    Deposited {
        account: Address,
        payer: Address,
        amount: Amount,
    },
    Withdrawn {
        account: Address,
        to: Address,
        amount: Amount,
    },
    OpenPaused {
        paused: bool,
    },
    GuardianRenounced {
        guardian: Address,
    },
    ProviderRegistered {
        provider: Address,
        peer_key: PeerKey,
        info: String,
    },
    ProviderOnline {
        provider: Address,
        online: bool,
    },
    Beat {
        provider: Address,
        uptime: u64,
    },
    OfferCancelled {
        provider: Address,
        offer: B256,
    },
    EpochBumped {
        provider: Address,
        epoch: u64,
    },
    OrderCancelled {
        renter: Address,
        nonce: U256,
    },
    OpenRefused {
        index: u64,
        renter: Address,
        provider: Address,
        refusal: Refusal,
    },
    SolverPaid {
        id: u64,
        solver: Address,
        amount: Amount,
    },
    LeaseOpened(Box<LeaseOpened>),
    LeaseStarted {
        id: LeaseId,
        started_at: UnixTime,
    },
    LeaseSettled {
        id: LeaseId,
        seconds: Seconds,
        paid: Amount,
    },
    LeaseToppedUp {
        id: LeaseId,
        payer: Address,
        seconds: Seconds,
        escrow: Amount,
        pledge: Amount,
    },
    LeaseNoticeGiven {
        id: LeaseId,
        notice_at: UnixTime,
    },
    LeaseEnded {
        id: LeaseId,
        end: LeaseEnd,
        split: Split,
    },
    JobOpened(Box<JobOpened>),
    JobSubmitted {
        id: JobId,
        result: B256,
        used: Seconds,
        cost: Amount,
        challenge_until: UnixTime,
    },
    JobEnded {
        id: JobId,
        end: JobEnd,
        result: Option<B256>,
        split: Split,
    },
    SettleRefused {
        index: u64,
        id: JobId,
        refusal: Refusal,
    },
    JobDisputed {
        id: JobId,
    },
    JobCalledBack {
        id: JobId,
        ok: bool,
    },
    /// From an account's balance to that of the court or the gateways.
    Taken {
        branch: Address,
        account: Address,
        amount: Amount,
    },
    /// From the balance of the court or the gateways to an account's.
    Given {
        branch: Address,
        account: Address,
        amount: Amount,
    },
    BondPosted {
        branch: Branch,
        account: Address,
        amount: Amount,
        bond: Amount,
    },
    BondRetired {
        branch: Branch,
        account: Address,
        withdrawable_at: UnixTime,
    },
    BondWithdrawn {
        branch: Branch,
        account: Address,
        amount: Amount,
    },
    MediatorRegistered {
        mediator: Address,
        peer_key: PeerKey,
    },
    MediatorSetCreated {
        set: MediatorSetId,
        members: Vec<Address>,
        panel_size: u8,
        fee: Amount,
    },
    MediatorJoined {
        set: MediatorSetId,
        mediator: Address,
    },
    MediatorLeft {
        set: MediatorSetId,
        mediator: Address,
    },
    MediatorSlashed {
        id: JobId,
        mediator: Address,
        to_renter: Amount,
        to_provider: Amount,
    },
    DisputeRaised {
        id: JobId,
        renter: Address,
        provider: Address,
        set: MediatorSetId,
        result: B256,
        fees: Amount,
    },
    /// Bit i of `electorate` is member i of the set; the hash of block `armed_at + 2` draws.
    DisputeArmed {
        id: JobId,
        armed_at: u64,
        electorate: u64,
    },
    PanelDrawn {
        id: JobId,
        panel: Vec<Address>,
        commit_by: UnixTime,
    },
    VoteCommitted {
        id: JobId,
        mediator: Address,
        commitment: B256,
    },
    CommitsComplete {
        id: JobId,
        reveal_by: UnixTime,
    },
    VoteRevealed {
        id: JobId,
        mediator: Address,
        result: B256,
    },
    /// `result` has the majority's `votes`; `None` if inconclusive.
    DisputeResolved {
        id: JobId,
        verdict: Verdict,
        result: Option<B256>,
        votes: u8,
        paid: Amount,
        back: Amount,
    },
    GatewayRegistered {
        gateway: Address,
        peer_key: PeerKey,
        url: String,
        region: String,
    },
    GatewayBeat {
        gateway: Address,
    },
    OrderPlaced(Box<PlacedOrder>),
    /// An event of a later contract; `topic` is its first topic.
    Unknown {
        topic: B256,
    },
}

/// A log the node should not have sent.
#[derive(Debug, Error)]
pub(crate) enum BadLog {
    /// Block, transaction or position are missing: a pending log.
    #[error("the node sent a log that stands in no block")]
    Unplaced,
    /// The log does not decode as the event its topic names.
    #[error("the node sent a log that does not decode")]
    Undecodable(#[source] alloy::sol_types::Error),
    /// A number stands for nothing this version knows.
    #[error("the node sent a log with an unknown code")]
    Code(#[from] UnknownCode),
}

impl Located {
    /// Reads a log of one of the contracts.
    pub(crate) fn from_log(log: &Log, contracts: &Contracts) -> Result<Self, BadLog> {
        let (Some(block), Some(block_hash), Some(tx), Some(index)) =
            (log.block_number, log.block_hash, log.transaction_hash, log.log_index)
        else {
            return Err(BadLog::Unplaced);
        };
        let event = Event::from_log(log, contracts)?;
        Ok(Self { block, block_hash, time: log.block_timestamp.map(UnixTime), tx, index, event })
    }
}

impl Event {
    fn from_log(log: &Log, contracts: &Contracts) -> Result<Self, BadLog> {
        let (topics, data) = (log.topics(), &log.data().data);
        let topic = log.topic0().copied().unwrap_or_default();
        let speaker = log.address();
        // Each contract's own table: the same event of two of them means different things.
        if speaker == contracts.sublet && S::SELECTORS.contains(&topic.0) {
            let event = S::decode_raw_log(topics, data).map_err(BadLog::Undecodable)?;
            Ok(Self::from_contract(event, topic)?)
        } else if speaker == contracts.court && C::SELECTORS.contains(&topic.0) {
            let event = C::decode_raw_log(topics, data).map_err(BadLog::Undecodable)?;
            Ok(Self::from_court(event)?)
        } else if speaker == contracts.gateways && G::SELECTORS.contains(&topic.0) {
            Ok(Self::from_gateways(G::decode_raw_log(topics, data).map_err(BadLog::Undecodable)?))
        } else if speaker == contracts.orders && O::SELECTORS.contains(&topic.0) {
            let O::OrderPlaced(event) = O::decode_raw_log(topics, data).map_err(BadLog::Undecodable)?;
            Ok(Self::OrderPlaced(Box::new(crate::convert::placed(event)?)))
        } else {
            Ok(Self::Unknown { topic })
        }
    }
}
