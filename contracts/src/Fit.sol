// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, Kind, Offer, Order, Resources} from "./Types.sol";
import {Sums} from "./core/Sums.sol";
import {IFit} from "./interfaces/IFit.sol";
import {ISublet} from "./interfaces/ISublet.sol";

/// @title Fit
/// @notice The branch that compares; see `IFit`.
contract Fit is IFit {
    /// @inheritdoc IFit
    uint32 public constant MAX_EXACT = 7 days;

    /// @inheritdoc IFit
    function check(Offer calldata offer, Order calldata order) external pure {
        _checkSums(offer, order);
        if (order.provider != address(0) && order.provider != offer.provider) {
            revert ISublet.OrderOtherProvider(offer.provider, order.provider);
        }
        if (offer.kind != order.kind) revert ISublet.MatchKindDiffers(offer.kind, order.kind);
        if (offer.price > order.maxPrice) revert ISublet.MatchPriceTooHigh(offer.price, order.maxPrice);
        if (order.duration == 0 || order.duration < offer.minDuration || order.duration > offer.maxDuration) {
            revert ISublet.MatchDurationOutside(order.duration, offer.minDuration, offer.maxDuration);
        }
        _checkResources(offer.resources, order.resources);
        _atLeast("pledgeBps", offer.pledgeBps, order.minPledgeBps);
        _atMost("startWithin", offer.startWithin, order.maxStartWithin);
        if (order.kind == Kind.Lease) _checkLease(offer, order);
        else _checkJob(offer, order);
        if (Sums.pledge(offer.price, order.duration, offer.pledgeBps) == 0) revert ISublet.OfferZeroPledge();
    }

    /// Sums that an agreement can keep.
    function _checkSums(Offer calldata offer, Order calldata order) private pure {
        if (offer.price == 0) revert ISublet.OfferZeroPrice();
        _inRange("price", offer.price, type(uint96).max);
        _inRange("pledgeBps", offer.pledgeBps, type(uint24).max);
        _inRange("solverFee", order.solverFee, type(uint96).max);
    }

    function _checkResources(Resources calldata has, Resources calldata least) private pure {
        _atLeast("vcpus", has.vcpus, least.vcpus);
        _atLeast("memoryMiB", has.memoryMiB, least.memoryMiB);
        _atLeast("diskGiB", has.diskGiB, least.diskGiB);
        _atLeast("gpus", has.gpus, least.gpus);
        if (least.traits != 0 && has.traits != least.traits) {
            revert ISublet.MatchTraitsDiffer(has.traits, least.traits);
        }
    }

    function _checkLease(Offer calldata offer, Order calldata order) private pure {
        if (order.class != Class.None) revert ISublet.MatchLeaseHasClass();
        _atLeast("notice", offer.notice, order.minNotice);
        _atMost("minCharge", offer.minCharge, order.maxMinCharge);
    }

    function _checkJob(Offer calldata offer, Order calldata order) private pure {
        if (order.challengeWindow > offer.maxChallengeWindow) {
            revert ISublet.MatchWindowTooLong(order.challengeWindow, offer.maxChallengeWindow);
        }
        if (order.class == Class.None) return;
        _inRange("duration", order.duration, MAX_EXACT);
        if (order.mediatorSet != offer.mediatorSet) {
            revert ISublet.MatchMediatorsDiffer(offer.mediatorSet, order.mediatorSet);
        }
    }

    function _inRange(bytes32 what, uint256 value, uint256 max) private pure {
        if (value > max) revert ISublet.MatchOutOfRange(what, value, max);
    }

    function _atLeast(bytes32 what, uint256 has, uint256 least) private pure {
        if (has < least) revert ISublet.MatchTooSmall(what, has, least);
    }

    function _atMost(bytes32 what, uint256 has, uint256 most) private pure {
        if (has > most) revert ISublet.MatchTooLarge(what, has, most);
    }
}
