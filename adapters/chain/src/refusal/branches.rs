//! Reads the errors of the court, the gateways' list and the orders placed on chain.

use sublet_base::UnixTime;
use sublet_market::Kind;

use super::{C, G, O, Refusal};
use crate::convert::{label, units};
use crate::court::{DisputeStage, SeatStage};

/// Errors about bonds, which two contracts share.
macro_rules! bonds {
    ($error:expr, $e:ident, $($rest:tt)*) => {
        match $error {
            $e::BondZero(_) => Refusal::BondZero,
            $e::BondTooLarge(e) => Refusal::BondTooLarge { bond: units(e.bond), max: units(e.max) },
            $e::BondUnknown(e) => Refusal::BondUnknown { account: e.account },
            $e::BondIsRetired(e) => Refusal::BondIsRetired { account: e.account },
            $e::BondNotRetired(e) => Refusal::BondNotRetired { account: e.account },
            $e::BondTooEarly(e) => {
                Refusal::BondTooEarly { account: e.account, not_before: UnixTime(e.notBefore.saturating_to()) }
            }
            $e::BondAtStake(e) => Refusal::BondAtStake { account: e.account, at_stake: units(e.atStake) },
            $($rest)*
        }
    };
}

impl Refusal {
    pub(super) fn from_court(error: C, data: &[u8]) -> Self {
        bonds!(error, C,
            C::MediatorZeroPeerKey(_) => Self::MediatorZeroPeerKey,
            C::SetTooLarge(e) => {
                Self::SetTooLarge { members: e.members.saturating_to(), max: e.max.saturating_to() }
            }
            C::SetNotAscending(e) => Self::SetNotAscending { index: e.index.saturating_to() },
            C::SetBadPanelSize(e) => {
                Self::SetBadPanelSize { panel_size: e.panelSize, members: e.members.saturating_to() }
            }
            C::SetZeroFee(_) => Self::SetZeroFee,
            C::CourtWithoutBlockHashes(_) => Self::CourtWithoutBlockHashes,
            C::SetOtherMembers(e) => Self::SetOtherMembers { set: e.mediatorSet, caller: e.caller },
            C::DisputeWrongStage(e) => match DisputeStage::try_from(e.stage) {
                Ok(stage) => Self::DisputeWrongStage { id: e.id, stage },
                Err(_) => Self::unknown(data),
            },
            C::DisputeTooEarly(e) => Self::DisputeTooEarly { id: e.id, from: e.fromBlock.saturating_to() },
            C::VoteNotSeated(e) => Self::VoteNotSeated { id: e.id, caller: e.caller },
            C::VoteWrongStage(e) => match SeatStage::try_from(e.stage) {
                Ok(stage) => Self::VoteWrongStage { id: e.id, mediator: e.mediator, stage },
                Err(_) => Self::unknown(data),
            },
            C::VoteOtherThanCommitted(e) => {
                Self::VoteOtherThanCommitted { id: e.id, committed: e.committed, revealed: e.revealed }
            }
        )
    }

    pub(super) fn from_gateways(error: G) -> Self {
        bonds!(error, G,
            G::GatewayZeroPeerKey(_) => Self::GatewayZeroPeerKey,
            G::GatewayBadLength(e) => Self::GatewayBadLength {
                what: label(e.what),
                length: e.length.saturating_to(),
                max: e.max.saturating_to(),
            },
        )
    }

    pub(super) fn from_orders(error: &O, data: &[u8]) -> Self {
        match error {
            O::OrderNotRenter(e) => Self::OrderNotRenter { caller: e.caller, renter: e.renter },
            O::OrderWorkloadDiffers(e) => Self::OrderWorkloadDiffers { given: e.given, ordered: e.ordered },
            O::OrderWorkloadTooLong(e) => {
                Self::OrderWorkloadTooLong { length: e.length.saturating_to(), max: e.max.saturating_to() }
            }
            O::OrderNoCallback(e) => match Kind::try_from(e.kind) {
                Ok(kind) => Self::OrderNoCallback { kind },
                Err(_) => Self::unknown(data),
            },
        }
    }
}
