//! Between the contracts' types and ours: the one place that knows both.

mod branches;

pub(crate) use branches::{dispute, gateway, mediator, mediator_set, place, placed};

use alloy::primitives::Uint;
use sublet_base::{Amount, B256, Bps, PeerKey, Price, Seconds, U256, UnixTime};
use sublet_market::{Class, MediatorSetId, Offer, Order, Resources, SignedOffer, SignedOrder, TypedData, UnknownCode};

use crate::agreement::{JobRecord, JobState, LeaseRecord, LeaseState, ProviderRecord};
use crate::bindings::{Lens as l, Sublet as s};

pub(crate) fn amount(units: u128) -> Amount {
    Amount(units)
}

/// A 256-bit sum as an amount; above 2^128 - 1, which no balance reaches, the largest amount.
pub(crate) fn units(value: U256) -> Amount {
    Amount(value.saturating_to())
}

pub(crate) fn seconds(value: u32) -> Seconds {
    Seconds(value)
}

/// A short text the contract packs into 32 bytes.
pub(crate) fn label(word: B256) -> String {
    word.iter().take_while(|&&b| b != 0).map(|&b| if b.is_ascii_graphic() { char::from(b) } else { '?' }).collect()
}

fn when(time: u64) -> Option<UnixTime> {
    (time != 0).then_some(UnixTime(time))
}

fn resources(from: &Resources) -> s::Resources {
    s::Resources {
        vcpus: from.vcpus.0,
        memoryMiB: from.memory.0,
        diskGiB: from.disk.0,
        gpus: from.gpus,
        traits: from.traits.0,
    }
}

pub(crate) fn offer(from: &Offer) -> s::Offer {
    let typed = from.solidity();
    s::Offer {
        provider: typed.provider,
        kind: typed.kind,
        resources: resources(&from.resources),
        price: typed.price,
        pledgeBps: typed.pledgeBps,
        capacity: typed.capacity,
        minDuration: typed.minDuration,
        maxDuration: typed.maxDuration,
        startWithin: typed.startWithin,
        notice: typed.notice,
        minCharge: typed.minCharge,
        mediatorSet: typed.mediatorSet,
        maxChallengeWindow: typed.maxChallengeWindow,
        validUntil: typed.validUntil,
        epoch: typed.epoch,
    }
}

pub(crate) fn order(from: &Order) -> s::Order {
    let typed = from.solidity();
    s::Order {
        renter: typed.renter,
        kind: typed.kind,
        resources: resources(&from.resources),
        maxPrice: typed.maxPrice,
        duration: typed.duration,
        workload: typed.workload,
        peerKey: typed.peerKey,
        class: typed.class,
        mediatorSet: typed.mediatorSet,
        challengeWindow: typed.challengeWindow,
        minPledgeBps: typed.minPledgeBps,
        maxStartWithin: typed.maxStartWithin,
        minNotice: typed.minNotice,
        maxMinCharge: typed.maxMinCharge,
        provider: typed.provider,
        solver: typed.solver,
        solverFee: typed.solverFee,
        validUntil: typed.validUntil,
        nonce: typed.nonce,
    }
}

pub(crate) fn pair(offered: &SignedOffer, ordered: &SignedOrder) -> s::Pair {
    s::Pair {
        offer: offer(&offered.offer),
        offerSignature: offered.signature.bytes().to_vec().into(),
        order: order(&ordered.order),
        orderSignature: ordered.signature.bytes().to_vec().into(),
    }
}

pub(crate) fn peer_key(word: B256) -> PeerKey {
    PeerKey(word.0)
}

/// `None` for an account that never registered.
pub(crate) fn provider(from: s::ProviderView) -> Option<ProviderRecord> {
    (from.peerKey != B256::ZERO).then(|| ProviderRecord {
        peer_key: peer_key(from.peerKey),
        online: from.online,
        registered_at: UnixTime(from.registeredAt),
        last_beat: UnixTime(from.lastBeat),
        uptime: from.uptime,
        epoch: from.epoch,
    })
}

/// `None` if there is no such lease.
pub(crate) fn lease(from: &l::LeaseView) -> Result<Option<LeaseRecord>, UnknownCode> {
    let state = LeaseState::try_from(from.state)?;
    if state == LeaseState::None {
        return Ok(None);
    }
    Ok(Some(LeaseRecord {
        state,
        end: from.reason.try_into()?,
        renter: from.renter,
        provider: from.provider,
        price: Price(from.price),
        pledge_bps: Bps(from.pledgeBps),
        duration: Seconds(from.duration),
        max_duration: Seconds(from.maxDuration),
        notice: Seconds(from.notice),
        min_charge: Seconds(from.minCharge),
        opened_at: UnixTime(from.openedAt),
        start_by: UnixTime(from.startBy),
        started_at: when(from.startedAt),
        notice_at: when(from.noticeAt),
        paid_seconds: Seconds(from.paidSeconds),
        owed_seconds: Seconds(from.owedSeconds),
        escrow: Amount(from.escrow),
        pledge: Amount(from.pledge),
        solver_fee: Amount(from.solverFee),
        solver: from.solver,
    }))
}

/// `None` if there is no such job.
pub(crate) fn job(from: &l::JobView) -> Result<Option<JobRecord>, UnknownCode> {
    let state = JobState::try_from(from.state)?;
    if state == JobState::None {
        return Ok(None);
    }
    Ok(Some(JobRecord {
        state,
        end: from.reason.try_into()?,
        class: Class::try_from(from.class)?,
        renter: from.renter,
        provider: from.provider,
        price: Price(from.price),
        pledge_bps: Bps(from.pledgeBps),
        duration: Seconds(from.duration),
        challenge_window: Seconds(from.challengeWindow),
        mediator_set: MediatorSetId(from.mediatorSet),
        opened_at: UnixTime(from.openedAt),
        start_by: UnixTime(from.startBy),
        run_by: UnixTime(from.runBy),
        submitted_at: when(from.submittedAt),
        used: Seconds(from.usedSeconds),
        result: (from.resultHash != B256::ZERO).then_some(from.resultHash),
        escrow: Amount(from.escrow),
        pledge: Amount(from.pledge),
        solver_fee: Amount(from.solverFee),
        solver: from.solver,
        callback: from.callback,
    }))
}

/// Whole seconds of the contract's `uint40` constants.
pub(crate) fn short_time(value: Uint<40, 1>) -> Seconds {
    Seconds(value.saturating_to())
}
