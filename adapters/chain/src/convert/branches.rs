//! What the court, the gateways' list and the orders placed on chain report, in our types.

use alloy::primitives::Bytes;
use sublet_base::{Amount, B256, Bps, GiB, MiB, Price, Seconds, UnixTime, Vcpus};
use sublet_market::{Class, Kind, MediatorSetId, Order, Resources, Traits, UnknownCode};

use super::{peer_key, units, when};
use crate::bindings::{Court as c, Gateways as g, Orders as o};
use crate::branch::{GatewayRecord, PlacedOrder};
use crate::court::{DisputeRecord, DisputeStage, MediatorRecord, MediatorSetRecord, SeatRecord, SeatStage};

/// `None` for an account that never registered, or has withdrawn its bond.
pub(crate) fn mediator(from: &c::MediatorView) -> Option<MediatorRecord> {
    (from.peerKey != B256::ZERO).then(|| MediatorRecord {
        peer_key: peer_key(from.peerKey),
        bond: Amount(from.bond),
        at_stake: Amount(from.atStake),
        retired_at: when(from.retiredAt),
    })
}

/// `None` if there is no such set.
pub(crate) fn mediator_set(from: c::MediatorSetView) -> Option<MediatorSetRecord> {
    let joined = from.members.iter().enumerate().filter(|(place, _)| from.joined >> place & 1 != 0);
    let joined = joined.map(|(_, member)| *member).collect();
    (from.panelSize != 0).then(|| MediatorSetRecord {
        members: from.members,
        joined,
        panel_size: from.panelSize,
        fee: units(from.fee.to()),
    })
}

/// `None` if there is no such dispute.
pub(crate) fn dispute(from: &c::DisputeView) -> Result<Option<DisputeRecord>, UnknownCode> {
    let stage = DisputeStage::try_from(from.stage)?;
    if stage == DisputeStage::None {
        return Ok(None);
    }
    Ok(Some(DisputeRecord {
        stage,
        renter: from.renter,
        provider: from.provider,
        mediator_set: MediatorSetId(from.mediatorSet),
        result: from.resultHash,
        duration: Seconds(from.duration),
        electorate: from.electorate,
        draw_from: from.drawFrom,
        draw_until: from.drawUntil,
        commit_by: when(from.commitBy),
        reveal_by: when(from.revealBy),
        panel: from.panel.iter().map(seat).collect::<Result<_, _>>()?,
    }))
}

fn seat(from: &c::SeatView) -> Result<SeatRecord, UnknownCode> {
    let stage = SeatStage::try_from(from.stage)?;
    Ok(SeatRecord {
        mediator: from.mediator,
        stage,
        commitment: (stage == SeatStage::Committed).then_some(from.commitment),
        vote: (stage == SeatStage::Revealed).then_some(from.vote),
    })
}

/// `None` for an account that is no gateway.
pub(crate) fn gateway(from: g::GatewayView) -> Option<GatewayRecord> {
    (from.peerKey != B256::ZERO).then(|| GatewayRecord {
        gateway: from.gateway,
        peer_key: peer_key(from.peerKey),
        url: from.url,
        region: from.region,
        bond: Amount(from.bond),
        last_beat: UnixTime(from.lastBeat),
        retired_at: when(from.retiredAt),
        online: from.online,
    })
}

/// An order as the contract for placed orders takes it.
pub(crate) fn place(from: &Order, workload: Option<&[u8]>, callback: bool) -> o::placeOrderCall {
    let order = super::order(from);
    let r = order.resources;
    let resources =
        o::Resources { vcpus: r.vcpus, memoryMiB: r.memoryMiB, diskGiB: r.diskGiB, gpus: r.gpus, traits: r.traits };
    let order = o::Order {
        renter: order.renter,
        kind: order.kind,
        resources,
        maxPrice: order.maxPrice,
        duration: order.duration,
        workload: order.workload,
        peerKey: order.peerKey,
        class: order.class,
        mediatorSet: order.mediatorSet,
        challengeWindow: order.challengeWindow,
        minPledgeBps: order.minPledgeBps,
        maxStartWithin: order.maxStartWithin,
        minNotice: order.minNotice,
        maxMinCharge: order.maxMinCharge,
        provider: order.provider,
        solver: order.solver,
        solverFee: order.solverFee,
        validUntil: order.validUntil,
        nonce: order.nonce,
    };
    o::placeOrderCall { order, workload: Bytes::copy_from_slice(workload.unwrap_or_default()), callback }
}

/// An order as it was placed.
pub(crate) fn placed(from: o::OrderPlaced) -> Result<PlacedOrder, UnknownCode> {
    let (order, r) = (&from.order, &from.order.resources);
    let order = Order {
        renter: order.renter,
        kind: Kind::try_from(order.kind)?,
        resources: Resources {
            vcpus: Vcpus(r.vcpus),
            memory: MiB(r.memoryMiB),
            disk: GiB(r.diskGiB),
            gpus: r.gpus,
            traits: Traits(r.traits),
        },
        max_price: Price(order.maxPrice),
        duration: Seconds(order.duration),
        workload: order.workload,
        peer_key: peer_key(order.peerKey),
        class: Class::try_from(order.class)?,
        mediator_set: MediatorSetId(order.mediatorSet),
        challenge_window: Seconds(order.challengeWindow),
        min_pledge_bps: Bps(order.minPledgeBps),
        max_start_within: Seconds(order.maxStartWithin),
        min_notice: Seconds(order.minNotice),
        max_min_charge: Seconds(order.maxMinCharge),
        provider: order.provider,
        solver: order.solver,
        solver_fee: Amount(order.solverFee),
        valid_until: UnixTime(order.validUntil),
        nonce: order.nonce,
    };
    let workload = (!from.workload.is_empty()).then(|| from.workload.to_vec());
    Ok(PlacedOrder { hash: from.orderHash, order, workload, callback: from.callback })
}
