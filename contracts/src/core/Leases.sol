// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, LeaseEnd, LeaseState} from "../Types.sol";
import {ISublet} from "../interfaces/ISublet.sol";
import {Agreements} from "./Agreements.sol";
import {Providers} from "./Providers.sol";
import {Head, Progress} from "./Record.sol";
import {Sums} from "./Sums.sol";
import {Terms} from "./Terms.sol";

/// @notice Machines paid by the second: Open -> Active -> Ended, or Open -> Ended.
abstract contract Leases is ISublet, Agreements, Providers {
    /// @inheritdoc ISublet
    function startLease(uint64 id) external {
        (Head storage h, Terms t) = _leaseIn(id, LeaseState.Open);
        _requireParty(id, h.provider);
        _requireInTime(id, t.startBy());
        h.terms = t.withState(uint8(LeaseState.Active)).withoutFee();
        Progress memory p;
        p.startedAt = uint40(block.timestamp);
        p.settledUptime = _beat(msg.sender);
        _store(id, p);
        emit LeaseStarted(id, uint64(block.timestamp));
        if (t.hasFee()) _paySolver(id);
    }

    /// @inheritdoc ISublet
    function rejectLease(uint64 id) external {
        (Head storage h, Terms t) = _leaseIn(id, LeaseState.Open);
        _requireParty(id, h.provider);
        _requireInTime(id, t.startBy());
        _endLease(id, h, t, LeaseEnd.Rejected, 0, 0, 0);
    }

    /// @inheritdoc ISublet
    function cancelLease(uint64 id) external {
        (Head storage h, Terms t) = _leaseIn(id, LeaseState.Open);
        _requireParty(id, h.renter);
        uint32 charged = _minCharge(t);
        _progress[id].paidSeconds = charged;
        _endLease(id, h, t, LeaseEnd.Cancelled, charged, charged, 0);
    }

    /// @inheritdoc ISublet
    function expireLease(uint64 id) external {
        (Head storage h, Terms t) = _leaseIn(id, LeaseState.Open);
        _requirePast(id, t.startBy());
        _endLease(id, h, t, LeaseEnd.Expired, 0, 0, _expiryPenalty(h, t));
    }

    /// @inheritdoc ISublet
    function settleLease(uint64 id) external returns (uint128 paid) {
        (Head storage h, Terms t) = _leaseIn(id, LeaseState.Active);
        return uint128(_settle(id, h, t));
    }

    /// @inheritdoc ISublet
    function topUpLease(uint64 id, uint32 seconds_) external {
        (Head storage h, Terms t) = _leaseIn(id, LeaseState.Active);
        if (seconds_ == 0) revert LeaseZeroSeconds();
        // Else somebody could lock a silent provider's free balance as pledge, and take it by a fault.
        _requireFresh(h.provider);
        _settle(id, h, t);
        uint256 duration = uint256(t.duration()) + seconds_;
        (uint32 maxDuration,,) = t.leaseOwn();
        if (duration > maxDuration) revert LeaseTooLong(id, duration, maxDuration);
        h.terms = t.withDuration(uint32(duration));
        uint96 price = h.price;
        uint256 escrow = Sums.rent(price, seconds_);
        uint256 pledge =
            Sums.pledge(price, uint32(duration), t.pledgeBps()) - Sums.pledge(price, t.duration(), t.pledgeBps());
        _debit(msg.sender, escrow);
        _debit(h.provider, pledge);
        emit LeaseToppedUp(id, msg.sender, seconds_, uint128(escrow), uint128(pledge));
    }

    /// @inheritdoc ISublet
    function giveNotice(uint64 id) external {
        (Head storage h,) = _leaseIn(id, LeaseState.Active);
        _requireParty(id, h.provider);
        Progress storage p = _progress[id];
        if (p.noticeAt != 0) revert LeaseNoticeAlreadyGiven(id, p.noticeAt);
        p.noticeAt = uint40(block.timestamp);
        emit LeaseNoticeGiven(id, uint64(block.timestamp));
    }

    /// @inheritdoc ISublet
    function closeLease(uint64 id, uint128 maxPenalty) external {
        (Head storage h, Terms t) = _leaseIn(id, LeaseState.Active);
        bool byRenter = msg.sender == h.renter;
        if (!byRenter) _requireParty(id, h.provider);
        (Progress memory p, uint32 accrued) = _accrue(id, t, _uptime(h.provider));
        LeaseEnd reason = LeaseEnd.RanOut;
        uint256 penalty;
        if (p.paidSeconds < t.duration()) {
            if (byRenter) {
                reason = LeaseEnd.ClosedByRenter;
                uint32 least = _minCharge(t);
                if (p.paidSeconds < least) {
                    accrued += least - p.paidSeconds;
                    p.paidSeconds = least;
                }
            } else {
                reason = LeaseEnd.ClosedByProvider;
                penalty = _closingPenalty(h, t, p);
                // A top-up may have come first, and with it the end of a free close.
                if (penalty > maxPenalty) revert LeasePenaltyTooHigh(id, penalty, maxPenalty);
            }
        }
        _store(id, p);
        _endLease(id, h, t, reason, accrued, p.paidSeconds, penalty);
    }

    /// @inheritdoc ISublet
    function faultLease(uint64 id) external {
        (Head storage h, Terms t) = _leaseIn(id, LeaseState.Active);
        (uint40 lastBeat, uint40 uptime) = _lastBeat(h.provider);
        _requirePast(id, uint256(lastBeat) + FAULT_AFTER);
        (Progress memory p, uint32 accrued) = _accrue(id, t, uptime);
        _store(id, p);
        uint256 rest = Sums.rent(h.price, t.duration() - p.paidSeconds);
        _endLease(id, h, t, LeaseEnd.Faulted, accrued, p.paidSeconds, rest);
    }

    function _settle(uint64 id, Head storage h, Terms t) private returns (uint256 paid) {
        address provider = h.provider;
        (Progress memory p, uint32 seconds_) = _accrue(id, t, _uptime(provider));
        _store(id, p);
        if (seconds_ == 0) return 0;
        paid = Sums.rent(h.price, seconds_);
        _credit(provider, paid);
        emit LeaseSettled(id, seconds_, uint128(paid));
    }

    function _store(uint64 id, Progress memory p) private {
        _progress[id] = p;
    }

    /// Counts the unpaid seconds up to uptime `u` as paid. Uptime beyond what was bought is forgotten, never billed.
    function _accrue(uint64 id, Terms t, uint40 u) private view returns (Progress memory p, uint32 seconds_) {
        p = _progress[id];
        seconds_ = Sums.owed(t, p, u);
        if (u > p.settledUptime) p.settledUptime = u;
        p.paidSeconds += seconds_;
    }

    /// Pays `paidNow` seconds, of `paidEver` in total, slashes at most the pledge, and gives back the rest.
    function _endLease(
        uint64 id,
        Head storage h,
        Terms t,
        LeaseEnd reason,
        uint32 paidNow,
        uint32 paidEver,
        uint256 penalty
    ) private {
        Split memory s;
        s.paid = Sums.rent(h.price, paidNow);
        s.refunded = Sums.rent(h.price, t.duration() - paidEver);
        s.slashed = penalty;
        _end(id, h, t.withState(uint8(LeaseState.Ended)).withReason(uint8(reason)), msg.sender, s, false);
        emit LeaseEnded(
            id,
            reason,
            uint128(s.paid),
            uint128(s.refunded),
            uint128(s.pledgeBack),
            uint128(s.slashed),
            msg.sender,
            uint128(s.reward)
        );
    }

    function _leaseIn(uint64 id, LeaseState state) private view returns (Head storage h, Terms t) {
        h = _heads[id];
        t = h.terms.ifKind(Kind.Lease);
        LeaseState actual = LeaseState(t.state());
        if (actual != state) revert LeaseWrongState(id, actual);
    }

    function _minCharge(Terms t) private pure returns (uint32) {
        (,, uint32 minCharge) = t.leaseOwn();
        return minCharge < t.duration() ? minCharge : t.duration();
    }

    /// What the provider loses by closing now: price * seconds of notice not given, at most the pledge.
    function _closingPenalty(Head storage h, Terms t, Progress memory p) private view returns (uint256 penalty) {
        penalty = Sums.rent(h.price, _noticeMissing(t, p));
        uint256 pledge = Sums.pledge(h.price, t.duration(), t.pledgeBps());
        if (penalty > pledge) penalty = pledge;
    }

    /// Seconds of notice that the provider has not given.
    function _noticeMissing(Terms t, Progress memory p) private view returns (uint32) {
        (, uint32 notice,) = t.leaseOwn();
        if (p.noticeAt == 0) return notice;
        uint256 given = block.timestamp - p.noticeAt;
        return given < notice ? notice - uint32(given) : 0;
    }
}
