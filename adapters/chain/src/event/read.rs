//! Reads the events of the Sublet contract.

use sublet_base::{B256, JobId, LeaseId, Price, UnixTime};
use sublet_market::UnknownCode;

use super::{Event, JobOpened, LeaseOpened, S, Split};
use crate::convert::{amount, peer_key, seconds};
use crate::refusal::Refusal;

impl Event {
    pub(super) fn from_contract(event: S, topic: B256) -> Result<Self, UnknownCode> {
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
            S::Taken(e) => Self::Taken { branch: e.branch, account: e.account, amount: amount(e.amount) },
            S::Given(e) => Self::Given { branch: e.branch, account: e.account, amount: amount(e.amount) },
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
            S::JobDisputed(e) => Self::JobDisputed { id: JobId(e.id) },
            S::JobCalledBack(e) => Self::JobCalledBack { id: JobId(e.id), ok: e.ok },
            S::SettleRefused(e) => Self::SettleRefused {
                index: e.index.saturating_to(),
                id: JobId(e.id),
                refusal: Refusal::from_revert(&e.reason),
            },
            _ => Self::Unknown { topic },
        })
    }
}
