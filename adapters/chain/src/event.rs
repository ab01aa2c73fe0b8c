//! What happened on chain, in our types.

use alloy::rpc::types::Log;
use alloy::sol_types::SolEventInterface;
use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, B256, JobId, LeaseId, PeerKey, Price, Seconds, U256, UnixTime};
use sublet_market::{Class, UnknownCode};
use thiserror::Error;

use crate::agreement::{JobEnd, LeaseEnd};
use crate::bindings::Sublet::SubletEvents as S;
use crate::convert::{amount, peer_key, seconds};
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
    /// Reads a log of the Sublet contract.
    pub(crate) fn from_log(log: &Log) -> Result<Self, BadLog> {
        let (Some(block), Some(block_hash), Some(tx), Some(index)) =
            (log.block_number, log.block_hash, log.transaction_hash, log.log_index)
        else {
            return Err(BadLog::Unplaced);
        };
        let topic = log.topic0().copied().unwrap_or_default();
        let event = if S::SELECTORS.contains(&topic.0) {
            let event = S::decode_raw_log(log.topics(), &log.data().data).map_err(BadLog::Undecodable)?;
            Event::from_contract(event, topic)?
        } else {
            Event::Unknown { topic }
        };
        Ok(Self { block, block_hash, time: log.block_timestamp.map(UnixTime), tx, index, event })
    }
}

impl Event {
    fn from_contract(event: S, topic: B256) -> Result<Self, UnknownCode> {
        Ok(match event {
            S::Deposited(e) => Self::Deposited { account: e.account, payer: e.payer, amount: amount(e.amount) },
            S::Withdrawn(e) => Self::Withdrawn { account: e.account, to: e.to, amount: amount(e.amount) },
            S::OpenPaused(e) => Self::OpenPaused { paused: e.paused },
            S::GuardianRenounced(e) => Self::GuardianRenounced { guardian: e.guardian },
            S::ProviderRegistered(e) => {
                Self::ProviderRegistered { provider: e.provider, peer_key: peer_key(e.peerKey), info: e.info }
            }
            S::ProviderOnline(e) => Self::ProviderOnline { provider: e.provider, online: e.online },
            S::Beat(e) => Self::Beat { provider: e.provider, uptime: e.uptime },
            S::OfferCancelled(e) => Self::OfferCancelled { provider: e.provider, offer: e.offerHash },
            S::EpochBumped(e) => Self::EpochBumped { provider: e.provider, epoch: e.epoch },
            S::OrderCancelled(e) => Self::OrderCancelled { renter: e.renter, nonce: e.nonce },
            S::OpenRefused(e) => Self::OpenRefused {
                index: e.index.saturating_to(),
                renter: e.renter,
                provider: e.provider,
                refusal: Refusal::from_revert(&e.reason),
            },
            S::SolverPaid(e) => Self::SolverPaid { id: e.id, solver: e.solver, amount: amount(e.amount) },
            other => Self::from_agreement(other, topic)?,
        })
    }

    /// The events of one lease or job.
    fn from_agreement(event: S, topic: B256) -> Result<Self, UnknownCode> {
        Ok(match event {
            S::LeaseOpened(e) => Self::LeaseOpened(Box::new(LeaseOpened {
                id: LeaseId(e.id),
                renter: e.renter,
                provider: e.provider,
                offer: e.offerHash,
                order: e.orderHash,
                workload: e.workload,
                peer_key: peer_key(e.peerKey),
                price: Price(e.price),
                duration: seconds(e.duration),
                escrow: amount(e.escrow),
                pledge: amount(e.pledge),
                solver_fee: amount(e.solverFee),
                solver: e.solver,
                start_by: UnixTime(e.startBy),
            })),
            S::LeaseStarted(e) => Self::LeaseStarted { id: LeaseId(e.id), started_at: UnixTime(e.startedAt) },
            S::LeaseSettled(e) => {
                Self::LeaseSettled { id: LeaseId(e.id), seconds: seconds(e.seconds_), paid: amount(e.paid) }
            }
            S::LeaseToppedUp(e) => Self::LeaseToppedUp {
                id: LeaseId(e.id),
                payer: e.payer,
                seconds: seconds(e.seconds_),
                escrow: amount(e.escrow),
                pledge: amount(e.pledge),
            },
            S::LeaseNoticeGiven(e) => Self::LeaseNoticeGiven { id: LeaseId(e.id), notice_at: UnixTime(e.noticeAt) },
            S::LeaseEnded(e) => Self::LeaseEnded {
                id: LeaseId(e.id),
                end: e.reason.try_into()?,
                split: Split {
                    paid: amount(e.paid),
                    refunded: amount(e.refunded),
                    pledge_back: amount(e.pledgeBack),
                    slashed: amount(e.slashed),
                    caller: e.caller,
                    reward: amount(e.reward),
                },
            },
            other => Self::from_job(other, topic)?,
        })
    }

    fn from_job(event: S, topic: B256) -> Result<Self, UnknownCode> {
        Ok(match event {
            S::JobOpened(e) => Self::JobOpened(Box::new(JobOpened {
                id: JobId(e.id),
                renter: e.renter,
                provider: e.provider,
                offer: e.offerHash,
                order: e.orderHash,
                workload: e.workload,
                peer_key: peer_key(e.peerKey),
                class: e.class.try_into()?,
                price: Price(e.price),
                duration: seconds(e.duration),
                escrow: amount(e.escrow),
                pledge: amount(e.pledge),
                solver_fee: amount(e.solverFee),
                solver: e.solver,
                start_by: UnixTime(e.startBy),
                run_by: UnixTime(e.runBy),
            })),
            S::JobSubmitted(e) => Self::JobSubmitted {
                id: JobId(e.id),
                result: e.resultHash,
                used: seconds(e.usedSeconds),
                cost: amount(e.cost),
                challenge_until: UnixTime(e.challengeUntil),
            },
            S::JobEnded(e) => Self::JobEnded {
                id: JobId(e.id),
                end: e.reason.try_into()?,
                result: (e.resultHash != B256::ZERO).then_some(e.resultHash),
                split: Split {
                    paid: amount(e.paid),
                    refunded: amount(e.refunded),
                    pledge_back: amount(e.pledgeBack),
                    slashed: amount(e.slashed),
                    caller: e.caller,
                    reward: amount(e.reward),
                },
            },
            S::SettleRefused(e) => Self::SettleRefused {
                index: e.index.saturating_to(),
                id: JobId(e.id),
                refusal: Refusal::from_revert(&e.reason),
            },
            _ => Self::Unknown { topic },
        })
    }
}
