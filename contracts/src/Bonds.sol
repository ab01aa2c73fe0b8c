// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IBonds} from "./interfaces/IBonds.sol";
import {ITrunk} from "./interfaces/ITrunk.sol";

/// @notice Bonds of whoever has one, kept in the branch's free balance.
abstract contract Bonds is IBonds {
    /// @inheritdoc IBonds
    uint40 public constant UNBONDING = 7 days;

    /// One slot. More can be at stake than there is: seats on panels whose electorates were fixed at the same time.
    struct Bond {
        uint96 amount;
        uint112 atStake;
        uint40 retiredAt;
    }

    ITrunk internal immutable _trunk;

    mapping(address account => Bond) internal _bonds;

    constructor(ITrunk trunk) {
        _trunk = trunk;
    }

    /// @inheritdoc IBonds
    function withdrawBond() external {
        Bond memory b = _bonds[msg.sender];
        if (b.amount == 0) revert BondUnknown(msg.sender);
        if (b.retiredAt == 0) revert BondNotRetired(msg.sender);
        uint256 from = uint256(b.retiredAt) + UNBONDING;
        if (block.timestamp < from) revert BondTooEarly(msg.sender, from);
        if (b.atStake != 0) revert BondAtStake(msg.sender, b.atStake);
        delete _bonds[msg.sender];
        _forget(msg.sender);
        emit BondWithdrawn(msg.sender, b.amount);
        _trunk.give(msg.sender, b.amount);
    }

    /// Adds to the caller's bond, which must not be zero then, and ends its retirement.
    function _post(uint128 amount) internal {
        Bond storage b = _bonds[msg.sender];
        uint256 total = uint256(b.amount) + amount;
        if (total == 0) revert BondZero();
        if (total > type(uint96).max) revert BondTooLarge(total, type(uint96).max);
        (b.amount, b.retiredAt) = (uint96(total), 0);
        emit BondPosted(msg.sender, amount, uint128(total));
        if (amount != 0) _trunk.take(msg.sender, amount);
    }

    function _retire() internal {
        _requireActive();
        _bonds[msg.sender].retiredAt = uint40(block.timestamp);
        emit BondRetired(msg.sender, uint64(block.timestamp) + UNBONDING);
    }

    function _requireActive() internal view {
        if (_bonds[msg.sender].amount == 0) revert BondUnknown(msg.sender);
        if (_bonds[msg.sender].retiredAt != 0) revert BondIsRetired(msg.sender);
    }

    /// Deletes what else is kept of an account whose bond is gone.
    function _forget(address account) internal virtual;
}
