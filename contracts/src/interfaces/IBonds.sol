// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

/// @title Bonds: money that stands for somebody's conduct
/// @notice Posted from the free balance in `Sublet`, given back to it `UNBONDING` after retirement. The bonds of a
/// branch, and the fees it holds, are at any time exactly its free balance in `Sublet` (or less, if somebody gave it a
/// present).
interface IBonds {
    /// @notice `account` added `amount`; `bond` is what it now has in total. An earlier retirement is over.
    event BondPosted(address indexed account, uint128 amount, uint128 bond);
    /// @notice `account` takes nothing new; its bond can be withdrawn from `withdrawableAt` on.
    event BondRetired(address indexed account, uint64 withdrawableAt);
    /// @notice The whole bond went back to the free balance of `account`.
    event BondWithdrawn(address indexed account, uint128 amount);

    error BondZero();
    error BondTooLarge(uint256 bond, uint256 max);
    error BondUnknown(address account);
    error BondIsRetired(address account);
    error BondNotRetired(address account);
    error BondTooEarly(address account, uint256 notBefore);
    /// @notice Some of it still answers for a seat on a panel.
    error BondAtStake(address account, uint256 atStake);

    /// @notice Gives the caller its whole bond back, `UNBONDING` after it retired, once none of it is at stake.
    function withdrawBond() external;
    /// @notice Seconds from retirement until the bond can be withdrawn.
    function UNBONDING() external view returns (uint40);
}
