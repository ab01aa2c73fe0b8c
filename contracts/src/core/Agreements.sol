// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {ISublet} from "../interfaces/ISublet.sol";
import {Accounts} from "./Accounts.sol";

/// @notice An offer's digest, shortened to fit beside an address. A second offer with the same 96 bits takes 2^96 tries;
/// two such offers made by one party (2^48 tries) only share that party's own capacity.
type OfferKey is bytes12;

/// @notice What leases and jobs share: capacity of offers, solver fees, sums, and how money leaves an agreement.
abstract contract Agreements is ISublet, Accounts {
    using SafeCast for uint256;

    /// Never zero again once used, so that the next agreement of the offer pays for a rewrite only.
    struct Use {
        uint64 ever;
        uint32 open;
    }

    struct Fee {
        address solver;
        uint96 amount;
    }

    /// What an ending agreement still holds, and where it goes.
    struct Split {
        uint128 paid;
        uint128 refunded;
        uint128 pledgeBack;
        uint128 slashed;
        uint128 reward;
    }

    uint256 internal constant WHOLE_BPS = 10_000;
    /// Share of the pledge that a provider loses by never starting or never submitting.
    uint256 internal constant EXPIRY_PENALTY_BPS = 1_000;
    /// Share of a penalty for the third party that called.
    uint256 internal constant REWARD_BPS = 100;

    mapping(OfferKey => Use) private _uses;
    mapping(uint64 id => Fee) private _fees;

    /// @inheritdoc ISublet
    function openCount(bytes32 offerHash) external view returns (uint32) {
        return _uses[_keyOf(offerHash)].open;
    }

    function _keyOf(bytes32 offerHash) internal pure returns (OfferKey) {
        return OfferKey.wrap(bytes12(offerHash));
    }

    /// Takes one place of the offer.
    function _occupy(bytes32 offerHash, uint32 capacity) internal {
        Use storage use = _uses[_keyOf(offerHash)];
        if (use.open >= capacity) revert OfferFull(offerHash, capacity);
        ++use.ever;
        ++use.open;
    }

    function _vacate(OfferKey key) internal {
        --_uses[key].open;
    }

    function _holdFee(uint64 id, address solver, uint128 amount) internal {
        _fees[id] = Fee(solver, uint96(amount));
    }

    function _feeOf(uint64 id) internal view returns (Fee memory) {
        return _fees[id];
    }

    /// The fee goes to whoever opened.
    function _paySolver(uint64 id) internal {
        Fee memory fee = _fees[id];
        delete _fees[id];
        _credit(fee.solver, fee.amount);
        emit SolverPaid(id, fee.solver, fee.amount);
    }

    /// The fee is added to what goes back to the renter.
    function _reclaimFee(uint64 id) internal returns (uint128 amount) {
        amount = _fees[id].amount;
        delete _fees[id];
    }

    /// price * seconds; below 2^128 because a price is below 2^96.
    function _sum(uint96 price, uint32 seconds_) internal pure returns (uint128) {
        return uint128(uint256(price) * seconds_);
    }

    /// price * duration * bps / 10 000, rounded down.
    function _pledge(uint96 price, uint32 duration, uint24 bps) internal pure returns (uint128) {
        return (uint256(_sum(price, duration)) * bps / WHOLE_BPS).toUint128();
    }

    function _requireParty(uint64 id, address party) internal view {
        if (msg.sender != party) revert AgreementOtherParty(id, msg.sender);
    }

    function _requireInTime(uint64 id, uint256 deadline) internal view {
        if (block.timestamp > deadline) revert AgreementTooLate(id, deadline);
    }

    function _requirePast(uint64 id, uint256 deadline) internal view {
        if (block.timestamp <= deadline) revert AgreementTooEarly(id, deadline + 1);
    }

    /// Moves everything an agreement still holds. A slash goes to the renter; a third party that called gets a share.
    function _release(address renter, address provider, address caller, Split memory split) internal {
        if (split.slashed != 0 && caller != renter && caller != provider) {
            split.reward = uint128(uint256(split.slashed) * REWARD_BPS / WHOLE_BPS);
            _credit(caller, split.reward);
        }
        _credit(provider, uint256(split.paid) + split.pledgeBack);
        _credit(renter, uint256(split.refunded) + split.slashed - split.reward);
    }
}
