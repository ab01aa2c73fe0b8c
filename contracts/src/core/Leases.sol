// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {LeaseEnd, LeaseState, LeaseView, Offer, Order} from "../Types.sol";
import {ISublet} from "../interfaces/ISublet.sol";
import {Agreements, OfferKey} from "./Agreements.sol";
import {Providers} from "./Providers.sol";

/// @notice Machines paid by the second: Open -> Active -> Ended, or Open -> Ended.
/// @dev Money held is derived, so nothing can drift: escrow = price * (duration - paidSeconds), pledge from the duration.
abstract contract Leases is ISublet, Agreements, Providers {
    /// One line, one slot.
    // forgefmt: disable-next-item
    struct LeaseRecord {
        address renter; uint96 price;
        address provider; OfferKey offer;
        uint40 openedAt; uint32 duration; uint32 startWithin; uint32 maxDuration; uint32 notice; uint32 minCharge; uint24 pledgeBps; bool hasFee; LeaseState state; LeaseEnd reason;
        uint40 startedAt; uint40 settledUptime; uint40 noticeAt; uint32 paidSeconds;
    }

    mapping(uint64 id => LeaseRecord) private _leases;

    /// @inheritdoc ISublet
    function startLease(uint64 id) external {
        LeaseRecord storage l = _leaseIn(id, LeaseState.Open);
        _requireParty(id, l.provider);
        _requireInTime(id, _startBy(l));
        l.state = LeaseState.Active;
        l.startedAt = uint40(block.timestamp);
        l.settledUptime = _beat(msg.sender);
        emit LeaseStarted(id, uint64(block.timestamp));
        if (l.hasFee) {
            l.hasFee = false;
            _paySolver(id);
        }
    }

    /// @inheritdoc ISublet
    function rejectLease(uint64 id) external {
        LeaseRecord storage l = _leaseIn(id, LeaseState.Open);
        _requireParty(id, l.provider);
        _requireInTime(id, _startBy(l));
        _endLease(id, l, LeaseEnd.Rejected, 0, 0);
    }

    /// @inheritdoc ISublet
    function cancelLease(uint64 id) external {
        LeaseRecord storage l = _leaseIn(id, LeaseState.Open);
        _requireParty(id, l.renter);
        uint32 charged = _minCharge(l);
        l.paidSeconds = charged;
        _endLease(id, l, LeaseEnd.Cancelled, charged, 0);
    }

    /// @inheritdoc ISublet
    function expireLease(uint64 id) external {
        LeaseRecord storage l = _leaseIn(id, LeaseState.Open);
        _requirePast(id, _startBy(l));
        uint256 penalty = uint256(_pledge(l.price, l.duration, l.pledgeBps)) * EXPIRY_PENALTY_BPS / WHOLE_BPS;
        _endLease(id, l, LeaseEnd.Expired, 0, penalty);
    }

    /// @inheritdoc ISublet
    function settleLease(uint64 id) external returns (uint128 paid) {
        LeaseRecord storage l = _leaseIn(id, LeaseState.Active);
        return _settleLease(id, l);
    }

    /// @inheritdoc ISublet
    function topUpLease(uint64 id, uint32 seconds_) external {
        LeaseRecord storage l = _leaseIn(id, LeaseState.Active);
        if (seconds_ == 0) revert LeaseZeroSeconds();
        _settleLease(id, l);
        uint32 before = l.duration;
        uint256 duration = uint256(before) + seconds_;
        if (duration > l.maxDuration) revert LeaseTooLong(id, duration, l.maxDuration);
        l.duration = uint32(duration);
        uint128 escrow = _sum(l.price, seconds_);
        uint128 pledge = _pledge(l.price, uint32(duration), l.pledgeBps) - _pledge(l.price, before, l.pledgeBps);
        _debit(msg.sender, escrow);
        _debit(l.provider, pledge);
        emit LeaseToppedUp(id, msg.sender, seconds_, escrow, pledge);
    }

    /// @inheritdoc ISublet
    function giveNotice(uint64 id) external {
        LeaseRecord storage l = _leaseIn(id, LeaseState.Active);
        _requireParty(id, l.provider);
        if (l.noticeAt != 0) revert LeaseNoticeAlreadyGiven(id, l.noticeAt);
        l.noticeAt = uint40(block.timestamp);
        emit LeaseNoticeGiven(id, uint64(block.timestamp));
    }

    /// @inheritdoc ISublet
    function closeLease(uint64 id) external {
        LeaseRecord storage l = _leaseIn(id, LeaseState.Active);
        bool byRenter = msg.sender == l.renter;
        if (!byRenter) _requireParty(id, l.provider);
        uint32 accrued = _accrue(l, _uptime(l.provider));
        if (l.paidSeconds == l.duration) {
            _endLease(id, l, LeaseEnd.RanOut, accrued, 0);
        } else if (byRenter) {
            uint32 least = _minCharge(l);
            if (l.paidSeconds < least) {
                accrued += least - l.paidSeconds;
                l.paidSeconds = least;
            }
            _endLease(id, l, LeaseEnd.ClosedByRenter, accrued, 0);
        } else {
            _endLease(id, l, LeaseEnd.ClosedByProvider, accrued, _sum(l.price, _noticeMissing(l)));
        }
    }

    /// @inheritdoc ISublet
    function faultLease(uint64 id) external {
        LeaseRecord storage l = _leaseIn(id, LeaseState.Active);
        (uint40 lastBeat, uint40 uptime) = _lastBeat(l.provider);
        _requirePast(id, uint256(lastBeat) + FAULT_AFTER);
        uint32 accrued = _accrue(l, uptime);
        _endLease(id, l, LeaseEnd.Faulted, accrued, _sum(l.price, l.duration - l.paidSeconds));
    }

    /// @inheritdoc ISublet
    function lease(uint64 id) external view returns (LeaseView memory v) {
        LeaseRecord storage l = _leases[id];
        v.state = l.state;
        v.reason = l.reason;
        v.renter = l.renter;
        v.provider = l.provider;
        v.price = l.price;
        v.pledgeBps = l.pledgeBps;
        v.duration = l.duration;
        v.maxDuration = l.maxDuration;
        v.notice = l.notice;
        v.minCharge = l.minCharge;
        v.openedAt = l.openedAt;
        v.startBy = uint64(_startBy(l));
        v.startedAt = l.startedAt;
        v.noticeAt = l.noticeAt;
        v.paidSeconds = l.paidSeconds;
        if (l.state == LeaseState.Active) v.owedSeconds = _owed(l, _uptime(l.provider));
        if (l.state == LeaseState.Open || l.state == LeaseState.Active) {
            v.escrow = _sum(l.price, l.duration - l.paidSeconds);
            v.pledge = _pledge(l.price, l.duration, l.pledgeBps);
        }
        if (l.hasFee) (v.solver, v.solverFee) = (_feeOf(id).solver, _feeOf(id).amount);
    }

    /// Writes an opened lease; the money is already locked.
    function _createLease(uint64 id, OfferKey key, Offer calldata offer, Order calldata order)
        internal
        returns (uint64 startBy)
    {
        LeaseRecord storage l = _leases[id];
        l.renter = order.renter;
        l.price = uint96(offer.price);
        l.provider = offer.provider;
        l.offer = key;
        l.openedAt = uint40(block.timestamp);
        l.duration = order.duration;
        l.startWithin = offer.startWithin;
        l.maxDuration = offer.maxDuration;
        l.notice = offer.notice;
        l.minCharge = offer.minCharge;
        l.pledgeBps = uint24(offer.pledgeBps);
        l.hasFee = order.solverFee != 0;
        l.state = LeaseState.Open;
        return uint64(_startBy(l));
    }

    function _settleLease(uint64 id, LeaseRecord storage l) private returns (uint128 paid) {
        uint32 seconds_ = _accrue(l, _uptime(l.provider));
        if (seconds_ == 0) return 0;
        paid = _sum(l.price, seconds_);
        _credit(l.provider, paid);
        emit LeaseSettled(id, seconds_, paid);
    }

    /// Counts the unpaid seconds up to uptime `u` as paid. An uptime beyond what was bought is forgotten, never billed.
    function _accrue(LeaseRecord storage l, uint40 u) private returns (uint32 seconds_) {
        seconds_ = _owed(l, u);
        if (u > l.settledUptime) l.settledUptime = u;
        l.paidSeconds += seconds_;
    }

    function _owed(LeaseRecord storage l, uint40 u) private view returns (uint32) {
        uint256 elapsed = u > l.settledUptime ? u - l.settledUptime : 0;
        uint32 left = l.duration - l.paidSeconds;
        return elapsed < left ? uint32(elapsed) : left;
    }

    /// Pays `paidNow` seconds, slashes at most the pledge, and gives back the rest. `paidSeconds` already counts them.
    function _endLease(uint64 id, LeaseRecord storage l, LeaseEnd reason, uint32 paidNow, uint256 penalty) private {
        (address renter, address provider) = (l.renter, l.provider);
        uint128 pledge = _pledge(l.price, l.duration, l.pledgeBps);
        Split memory split;
        split.paid = _sum(l.price, paidNow);
        split.refunded = _sum(l.price, l.duration - l.paidSeconds);
        split.slashed = penalty < pledge ? uint128(penalty) : pledge;
        split.pledgeBack = pledge - split.slashed;
        l.state = LeaseState.Ended;
        l.reason = reason;
        if (l.hasFee) {
            l.hasFee = false;
            split.refunded += _reclaimFee(id);
        }
        _vacate(l.offer);
        _release(renter, provider, msg.sender, split);
        emit LeaseEnded(
            id, reason, split.paid, split.refunded, split.pledgeBack, split.slashed, msg.sender, split.reward
        );
    }

    function _leaseIn(uint64 id, LeaseState state) private view returns (LeaseRecord storage l) {
        l = _leases[id];
        if (l.state != state) revert LeaseWrongState(id, l.state);
    }

    function _startBy(LeaseRecord storage l) private view returns (uint256) {
        return uint256(l.openedAt) + l.startWithin;
    }

    function _minCharge(LeaseRecord storage l) private view returns (uint32) {
        return l.minCharge < l.duration ? l.minCharge : l.duration;
    }

    /// Seconds of notice that the provider has not given.
    function _noticeMissing(LeaseRecord storage l) private view returns (uint32) {
        if (l.noticeAt == 0) return l.notice;
        uint256 given = block.timestamp - l.noticeAt;
        return given < l.notice ? l.notice - uint32(given) : 0;
    }
}
