//! The three signed documents: a provider's [`Offer`], a renter's [`Order`], a renter's [`Acceptance`] of a result.

use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, AmountOverflow, B256, Bps, JobId, PeerKey, Price, Seconds, U256, UnixTime};
use thiserror::Error;

use crate::typed::{self, TypedData};
use crate::{Class, Kind, Resources};

/// Number of a set of mediators in the contract; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediatorSetId(pub u64);

/// A provider's promise: these resources at this price, up to `capacity` agreements at once, until `valid_until`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Who promises.
    pub provider: Address,
    /// Lease or job.
    pub kind: Kind,
    /// What each agreement gets.
    pub resources: Resources,
    /// Token units a second; this is what is paid.
    pub price: Price,
    /// Collateral as a share of the escrow; 10 000 is 1:1.
    pub pledge_bps: Bps,
    /// Agreements open at once.
    pub capacity: u32,
    /// Shortest agreement.
    pub min_duration: Seconds,
    /// Longest agreement, top-ups included.
    pub max_duration: Seconds,
    /// The provider starts within this, or pays.
    pub start_within: Seconds,
    /// Warning the provider gives before it closes a lease.
    pub notice: Seconds,
    /// A lease pays at least for this long.
    pub min_charge: Seconds,
    /// Who judges disputes; 0 for offers that are never `exact`.
    pub mediator_set: MediatorSetId,
    /// Longest challenge window the provider puts up with.
    pub max_challenge_window: Seconds,
    /// Not to be opened after this.
    pub valid_until: UnixTime,
    /// The provider's epoch on chain; raising it cancels every older offer.
    pub epoch: u64,
}

/// A renter's wish: at least these resources, at most this price. Fills once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Who pays.
    pub renter: Address,
    /// Lease or job.
    pub kind: Kind,
    /// The least that will do.
    pub resources: Resources,
    /// The most that will be paid, token units a second.
    pub max_price: Price,
    /// How long the escrow lasts, or how long the job may run.
    pub duration: Seconds,
    /// Hash of the [`crate::MachineRequest`] or [`crate::JobDocument`].
    pub workload: B256,
    /// The only link endpoint the provider will serve this agreement to.
    pub peer_key: PeerKey,
    /// How the result is checked.
    pub class: Class,
    /// Who judges; the same as the offer's when the class is exact.
    pub mediator_set: MediatorSetId,
    /// How long the renter may object to a result.
    pub challenge_window: Seconds,
    /// Only this provider; zero for any.
    pub provider: Address,
    /// Only this solver may open it; zero for anyone.
    pub solver: Address,
    /// What the opener earns once the agreement starts or succeeds.
    pub solver_fee: Amount,
    /// Not to be opened after this.
    pub valid_until: UnixTime,
    /// Any number this renter has not used.
    pub nonce: U256,
}

/// A renter's word that a job's result is good and what it costs; lets anyone settle the job at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The job.
    pub job: JobId,
    /// keccak256 of the result archive.
    pub result_hash: B256,
    /// What the provider gets.
    pub cost: Amount,
}

/// What makes an offer or order impossible for anybody, whoever signs it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidDocument {
    /// A field that must not be zero is.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// The durations contradict each other.
    #[error("the shortest duration {min} exceeds the longest {max}")]
    DurationsReversed {
        /// Shortest.
        min: Seconds,
        /// Longest.
        max: Seconds,
    },
    /// Price times duration leaves the range of a balance.
    #[error("the price over the whole duration is more than any balance can hold")]
    TooMuchMoney,
    /// Only jobs are checked.
    #[error("a lease has no result to check: its class must be none")]
    LeaseWithClass,
    /// An exact order needs someone to judge it.
    #[error("class exact needs a set of mediators")]
    NoMediators,
}

impl Offer {
    /// The escrow `E` an agreement of `duration` locks, without the solver's fee.
    ///
    /// # Errors
    /// [`AmountOverflow`] above 2^128 - 1.
    pub fn escrow(&self, duration: Seconds) -> Result<Amount, AmountOverflow> {
        self.price.over(duration)
    }

    /// The pledge `Q` an agreement of `duration` locks.
    ///
    /// # Errors
    /// [`AmountOverflow`] above 2^128 - 1.
    pub fn pledge(&self, duration: Seconds) -> Result<Amount, AmountOverflow> {
        crate::sums::pledge(self.escrow(duration)?, self.pledge_bps)
    }

    /// Refuses an offer nobody could ever open.
    ///
    /// # Errors
    /// [`InvalidDocument`], the first reason found.
    pub fn check(&self) -> Result<(), InvalidDocument> {
        let zero = InvalidDocument::Zero;
        if self.provider == Address::ZERO {
            return Err(zero("provider"));
        }
        if self.resources.vcpus.0 == 0 {
            return Err(zero("resources.vcpus"));
        }
        if self.resources.memory.0 == 0 {
            return Err(zero("resources.memory_mib"));
        }
        if self.capacity == 0 {
            return Err(zero("capacity"));
        }
        if self.max_duration.0 == 0 {
            return Err(zero("max_duration"));
        }
        if self.min_duration > self.max_duration {
            return Err(InvalidDocument::DurationsReversed { min: self.min_duration, max: self.max_duration });
        }
        self.pledge(self.max_duration).map_err(|_| InvalidDocument::TooMuchMoney).map(|_| ())
    }
}

impl Order {
    /// The most this order can lock: escrow at its highest price, and the solver's fee.
    ///
    /// # Errors
    /// [`AmountOverflow`] above 2^128 - 1.
    pub fn most_locked(&self) -> Result<Amount, AmountOverflow> {
        self.max_price.over(self.duration)?.plus(self.solver_fee)
    }

    /// Refuses an order no offer could ever fill.
    ///
    /// # Errors
    /// [`InvalidDocument`], the first reason found.
    pub fn check(&self) -> Result<(), InvalidDocument> {
        if self.renter == Address::ZERO {
            return Err(InvalidDocument::Zero("renter"));
        }
        if self.duration.0 == 0 {
            return Err(InvalidDocument::Zero("duration"));
        }
        if self.workload == B256::ZERO {
            return Err(InvalidDocument::Zero("workload"));
        }
        if self.peer_key.0 == [0; 32] {
            return Err(InvalidDocument::Zero("peer_key"));
        }
        match (self.kind, self.class) {
            (Kind::Lease, Class::Exact) => return Err(InvalidDocument::LeaseWithClass),
            (Kind::Job, Class::Exact) if self.mediator_set == MediatorSetId(0) => return Err(InvalidDocument::NoMediators),
            (Kind::Lease | Kind::Job, Class::None) | (Kind::Job, Class::Exact) => {}
        }
        self.most_locked().map_err(|_| InvalidDocument::TooMuchMoney).map(|_| ())
    }
}

impl TypedData for Offer {
    type Solidity = typed::Offer;

    fn solidity(&self) -> typed::Offer {
        typed::Offer {
            provider: self.provider,
            kind: self.kind.into(),
            resources: (&self.resources).into(),
            price: self.price.0,
            pledgeBps: self.pledge_bps.0,
            capacity: self.capacity,
            minDuration: self.min_duration.0,
            maxDuration: self.max_duration.0,
            startWithin: self.start_within.0,
            notice: self.notice.0,
            minCharge: self.min_charge.0,
            mediatorSet: self.mediator_set.0,
            maxChallengeWindow: self.max_challenge_window.0,
            validUntil: self.valid_until.0,
            epoch: self.epoch,
        }
    }
}

impl TypedData for Order {
    type Solidity = typed::Order;

    fn solidity(&self) -> typed::Order {
        typed::Order {
            renter: self.renter,
            kind: self.kind.into(),
            resources: (&self.resources).into(),
            maxPrice: self.max_price.0,
            duration: self.duration.0,
            workload: self.workload,
            peerKey: B256::from(self.peer_key.0),
            class: self.class.into(),
            mediatorSet: self.mediator_set.0,
            challengeWindow: self.challenge_window.0,
            provider: self.provider,
            solver: self.solver,
            solverFee: self.solver_fee.0,
            validUntil: self.valid_until.0,
            nonce: self.nonce,
        }
    }
}

impl TypedData for Acceptance {
    type Solidity = typed::Acceptance;

    fn solidity(&self) -> typed::Acceptance {
        typed::Acceptance { job: self.job.0, resultHash: self.result_hash, cost: self.cost.0 }
    }
}
