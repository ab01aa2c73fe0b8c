// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, Kind} from "../Types.sol";

/// @notice An agreement's times and state in one storage slot, lowest bits first: openedAt 40, duration 32,
/// startWithin 32, pledgeBps 24, state 8, reason 8, kind 8, hasFee 8, own 96 (what only its kind needs).
type Terms is uint256;

using TermsLib for Terms global;

library TermsLib {
    uint256 private constant DURATION = 40;
    uint256 private constant START_WITHIN = 72;
    uint256 private constant PLEDGE_BPS = 104;
    uint256 private constant STATE = 128;
    uint256 private constant REASON = 136;
    uint256 private constant KIND = 144;
    uint256 private constant HAS_FEE = 152;
    uint256 private constant OWN = 160;

    /// A new agreement. The caller has checked that every value fits.
    function pack(
        uint256 duration_,
        uint256 startWithin_,
        uint256 pledgeBps_,
        uint8 state_,
        Kind kind_,
        bool hasFee_,
        uint96 own_
    ) internal view returns (Terms) {
        return Terms.wrap(
            uint256(uint40(block.timestamp)) | duration_ << DURATION | startWithin_ << START_WITHIN | pledgeBps_
                << PLEDGE_BPS | uint256(state_) << STATE | uint256(kind_) << KIND | uint256(hasFee_ ? 1 : 0) << HAS_FEE
                | uint256(own_) << OWN
        );
    }

    function openedAt(Terms t) internal pure returns (uint256) {
        return uint40(Terms.unwrap(t));
    }

    function duration(Terms t) internal pure returns (uint32) {
        return uint32(Terms.unwrap(t) >> DURATION);
    }

    /// Last second at which the provider may start a lease, or reject a job.
    function startBy(Terms t) internal pure returns (uint256) {
        return openedAt(t) + uint32(Terms.unwrap(t) >> START_WITHIN);
    }

    function pledgeBps(Terms t) internal pure returns (uint24) {
        return uint24(Terms.unwrap(t) >> PLEDGE_BPS);
    }

    function state(Terms t) internal pure returns (uint8) {
        return uint8(Terms.unwrap(t) >> STATE);
    }

    function reason(Terms t) internal pure returns (uint8) {
        return uint8(Terms.unwrap(t) >> REASON);
    }

    /// The terms, or none at all (state None) when the agreement is of the other kind.
    function ifKind(Terms t, Kind kind_) internal pure returns (Terms) {
        return uint8(Terms.unwrap(t) >> KIND) == uint8(kind_) ? t : Terms.wrap(0);
    }

    function hasFee(Terms t) internal pure returns (bool) {
        return uint8(Terms.unwrap(t) >> HAS_FEE) != 0;
    }

    function own(Terms t) internal pure returns (uint96) {
        return uint96(Terms.unwrap(t) >> OWN);
    }

    /// What only a lease has, for `pack`.
    function packLease(uint32 maxDuration, uint32 notice, uint32 minCharge) internal pure returns (uint96) {
        return uint96(maxDuration) | uint96(notice) << 32 | uint96(minCharge) << 64;
    }

    function leaseOwn(Terms t) internal pure returns (uint32 maxDuration, uint32 notice, uint32 minCharge) {
        uint96 own_ = t.own();
        return (uint32(own_), uint32(own_ >> 32), uint32(own_ >> 64));
    }

    /// What only a job has, for `pack`: 32, 48, 8 and 8 bits.
    function packJob(uint32 challengeWindow, uint48 mediatorSet, Class class, bool callback_)
        internal
        pure
        returns (uint96)
    {
        return uint96(challengeWindow) | uint96(mediatorSet) << 32 | uint96(uint8(class)) << 80
            | uint96(callback_ ? 1 : 0) << 88;
    }

    function jobOwn(Terms t) internal pure returns (uint32 challengeWindow, uint48 mediatorSet, Class class) {
        uint96 own_ = t.own();
        return (uint32(own_), uint48(own_ >> 32), Class(uint8(own_ >> 80)));
    }

    /// Whether a job's renter wants to be told its end.
    function callback(Terms t) internal pure returns (bool) {
        return t.own() >> 88 != 0;
    }

    /// Last second at which a job's provider may submit.
    function runBy(Terms t) internal pure returns (uint256) {
        return t.startBy() + t.duration();
    }

    function withDuration(Terms t, uint32 duration_) internal pure returns (Terms) {
        return _with(t, DURATION, type(uint32).max, duration_);
    }

    function withState(Terms t, uint8 state_) internal pure returns (Terms) {
        return _with(t, STATE, type(uint8).max, state_);
    }

    function withReason(Terms t, uint8 reason_) internal pure returns (Terms) {
        return _with(t, REASON, type(uint8).max, reason_);
    }

    function withoutFee(Terms t) internal pure returns (Terms) {
        return _with(t, HAS_FEE, type(uint8).max, 0);
    }

    function _with(Terms t, uint256 shift, uint256 mask, uint256 value) private pure returns (Terms) {
        return Terms.wrap(Terms.unwrap(t) & ~(mask << shift) | value << shift);
    }
}
