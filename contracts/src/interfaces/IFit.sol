// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Offer, Order} from "../Types.sol";

/// @title Fit: whether an offer and an order go together
/// @notice What can be said from the two documents alone. Holds nothing and knows nothing: signatures, times, balances,
/// capacity and mediators are for `open` to check.
interface IFit {
    /// @notice Reverts with the error with which `open` would refuse the pair, or does nothing.
    function check(Offer calldata offer, Order calldata order) external pure;

    /// @notice Longest job of class exact, seconds. Whoever judges it runs it again and is held by that, but signed neither.
    function MAX_EXACT() external view returns (uint32);
}
