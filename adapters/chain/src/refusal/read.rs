//! Reads the errors of the Sublet contract and of the token.

use sublet_base::{Price, UnixTime};
use sublet_market::{Class, Kind};

use super::{E, Refusal, T};
use crate::agreement::{JobState, LeaseState};
use crate::convert::{amount, label, seconds, units};

impl Refusal {
    pub(super) fn from_token(error: &T, data: &[u8]) -> Self {
        match error {
            T::ERC20InsufficientBalance(e) => {
                Self::TokenShort { account: e.sender, balance: units(e.balance), needed: units(e.needed) }
            }
            T::ERC20InsufficientAllowance(e) => {
                Self::TokenNotApproved { spender: e.spender, allowance: units(e.allowance), needed: units(e.needed) }
            }
            T::FaucetCapExceeded(e) => {
                Self::FaucetCap { account: e.account, left: units(e.left), asked: units(e.asked) }
            }
            _ => Self::unknown(data),
        }
    }

    pub(super) fn from_contract(error: E, data: &[u8]) -> Self {
        match error {
            E::AccountZeroAmount(_) => Self::ZeroAmount,
            E::AccountZeroAddress(_) => Self::ZeroAddress,
            E::AccountIsSublet(e) => Self::IsSublet { account: e.account },
            E::AccountShort(e) => Self::Short { account: e.account, free: units(e.free), needed: units(e.needed) },
            E::AccountDepositDiffers(e) => Self::DepositDiffers { asked: units(e.asked), credited: units(e.credited) },
            E::GuardianOnly(e) => Self::GuardianOnly { caller: e.caller },
            E::OpenIsPaused(_) => Self::OpenIsPaused,
            E::ProviderUnknown(e) => Self::ProviderUnknown { provider: e.provider },
            E::ProviderZeroPeerKey(_) => Self::ProviderZeroPeerKey,
            E::ProviderInfoTooLong(e) => {
                Self::ProviderInfoTooLong { length: e.length.saturating_to(), max: e.max.saturating_to() }
            }
            E::ProviderIsOffline(e) => Self::ProviderOffline { provider: e.provider },
            E::ProviderStale(e) => Self::ProviderStale { provider: e.provider, last_beat: UnixTime(e.lastBeat) },
            E::AgreementOtherParty(e) => Self::OtherParty { id: e.id, caller: e.caller },
            E::AgreementTooLate(e) => Self::TooLate { id: e.id, deadline: UnixTime(e.deadline.saturating_to()) },
            E::AgreementTooEarly(e) => Self::TooEarly { id: e.id, not_before: UnixTime(e.notBefore.saturating_to()) },
            other => Self::from_documents(other, data),
        }
    }

    /// Refusals of `open`.
    fn from_documents(error: E, data: &[u8]) -> Self {
        match error {
            E::OfferBadSignature(e) => Self::OfferBadSignature { provider: e.provider, offer: e.offerHash },
            E::OfferExpired(e) => Self::OfferExpired { offer: e.offerHash, valid_until: UnixTime(e.validUntil) },
            E::OfferIsCancelled(e) => Self::OfferCancelled { offer: e.offerHash },
            E::OfferEpochOver(e) => Self::OfferEpochOver { offered: e.offered, current: e.current },
            E::OfferFull(e) => Self::OfferFull { offer: e.offerHash, capacity: e.capacity },
            E::OfferZeroPrice(_) => Self::OfferZeroPrice,
            E::OfferZeroPledge(_) => Self::OfferZeroPledge,
            E::OrderBadSignature(e) => Self::OrderBadSignature { renter: e.renter, order: e.orderHash },
            E::OrderExpired(e) => Self::OrderExpired { order: e.orderHash, valid_until: UnixTime(e.validUntil) },
            E::OrderNonceUsed(e) => Self::OrderNonceUsed { renter: e.renter, nonce: e.nonce },
            E::OrderOtherSolver(e) => Self::OrderOtherSolver { caller: e.caller, solver: e.solver },
            E::OrderOtherProvider(e) => Self::OrderOtherProvider { offered: e.offered, ordered: e.ordered },
            E::MatchKindDiffers(e) => match (Kind::try_from(e.offered), Kind::try_from(e.ordered)) {
                (Ok(offered), Ok(ordered)) => Self::KindDiffers { offered, ordered },
                _ => Self::unknown(data),
            },
            E::MatchTooSmall(e) => Self::TooSmall {
                what: label(e.what),
                offered: e.offered.saturating_to(),
                ordered: e.ordered.saturating_to(),
            },
            E::MatchTooLarge(e) => Self::TooLarge {
                what: label(e.what),
                offered: e.offered.saturating_to(),
                ordered: e.ordered.saturating_to(),
            },
            E::MatchTraitsDiffer(e) => Self::TraitsDiffer { offered: e.offered, ordered: e.ordered },
            E::MatchPriceTooHigh(e) => Self::PriceTooHigh { price: Price(e.price), max: Price(e.maxPrice) },
            E::MatchDurationOutside(e) => {
                Self::DurationOutside { duration: seconds(e.duration), min: seconds(e.min), max: seconds(e.max) }
            }
            E::MatchMediatorsDiffer(e) => Self::MediatorsDiffer { offered: e.offered, ordered: e.ordered },
            E::MatchMediatorsUnknown(e) => Self::MediatorsUnknown { set: e.mediatorSet },
            E::MatchPledgeBelowFees(e) => Self::PledgeBelowFees { pledge: units(e.pledge), fees: units(e.fees) },
            E::MatchWindowTooLong(e) => Self::WindowTooLong { window: seconds(e.window), max: seconds(e.max) },
            E::MatchLeaseHasClass(_) => Self::LeaseHasClass,
            E::MatchOutOfRange(e) => {
                Self::OutOfRange { what: label(e.what), value: e.value.saturating_to(), max: e.max.saturating_to() }
            }
            other => Self::from_agreements(other, data),
        }
    }

    /// Refusals of the calls on one lease or job.
    fn from_agreements(error: E, data: &[u8]) -> Self {
        match error {
            E::AcceptanceBadSignature(e) => Self::AcceptanceBadSignature { renter: e.renter, job: e.job },
            E::LeaseWrongState(e) => match LeaseState::try_from(e.state) {
                Ok(state) => Self::LeaseWrongState { id: e.id, state },
                Err(_) => Self::unknown(data),
            },
            E::LeaseTooLong(e) => {
                Self::LeaseTooLong { id: e.id, duration: e.duration.saturating_to(), max: seconds(e.max) }
            }
            E::LeaseNoticeAlreadyGiven(e) => {
                Self::LeaseNoticeAlreadyGiven { id: e.id, notice_at: UnixTime(e.noticeAt) }
            }
            E::LeasePenaltyTooHigh(e) => {
                Self::LeasePenaltyTooHigh { id: e.id, penalty: units(e.penalty), most: amount(e.most) }
            }
            E::LeaseZeroSeconds(_) => Self::LeaseZeroSeconds,
            E::JobWrongState(e) => match JobState::try_from(e.state) {
                Ok(state) => Self::JobWrongState { id: e.id, state },
                Err(_) => Self::unknown(data),
            },
            E::JobZeroResult(e) => Self::JobZeroResult { id: e.id },
            E::JobResultDiffers(e) => Self::JobResultDiffers { id: e.id, submitted: e.submitted, given: e.given },
            E::JobCostTooHigh(e) => Self::JobCostTooHigh { id: e.id, cost: amount(e.cost), max: amount(e.max) },
            E::JobCostTooLow(e) => Self::JobCostTooLow { id: e.id, cost: amount(e.cost), min: amount(e.min) },
            E::JobNotRefusable(e) => match Class::try_from(e.class) {
                Ok(class) => Self::JobNotRefusable { id: e.id, class },
                Err(_) => Self::unknown(data),
            },
            E::JobNotDisputable(e) => match Class::try_from(e.class) {
                Ok(class) => Self::JobNotDisputable { id: e.id, class },
                Err(_) => Self::unknown(data),
            },
            E::JobCallbackGas(e) => {
                Self::JobCallbackGas { id: e.id, left: e.left.saturating_to(), needed: e.needed.saturating_to() }
            }
            E::BatchGas(e) => Self::BatchGas { left: e.left.saturating_to(), needed: e.needed.saturating_to() },
            E::BranchOnly(e) => Self::BranchOnly { caller: e.caller },
            _ => Self::unknown(data),
        }
    }
}
