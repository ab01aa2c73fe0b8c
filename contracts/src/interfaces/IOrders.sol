// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, Order} from "../Types.sol";

/// @title Orders placed on chain
/// @notice For renters that cannot sign, or want to be called back. A placed order fills as a signed one does, by
/// `open` with an empty order signature; `cancelOrder` of `Sublet` cancels it. Its money is the renter's free balance
/// at `open`.
interface IOrders {
    /// @notice `workload` is the document itself, or empty: then the renter hands it over by link.
    event OrderPlaced(address indexed renter, bytes32 indexed orderHash, Order order, bytes workload, bool callback);

    error OrderNotRenter(address caller, address renter);
    error OrderWorkloadDiffers(bytes32 given, bytes32 ordered);
    error OrderWorkloadTooLong(uint256 length, uint256 max);
    /// @notice Only jobs end with a callback.
    error OrderNoCallback(Kind kind);

    /// @notice The caller is the order's renter. `workload` is empty or has the hash `order.workload`, and at most
    /// `MAX_WORKLOAD` bytes. With `callback` the renter's `onJobEnded` is called when the job ends.
    /// @return orderHash the digest that `open` will report.
    function placeOrder(Order calldata order, bytes calldata workload, bool callback)
        external
        returns (bytes32 orderHash);
    /// @notice Whether the order was placed, and whether its renter wants to be called back. Filled, cancelled and
    /// expired orders stay placed; `open` refuses them for what they are.
    function placed(bytes32 orderHash) external view returns (bool isPlaced, bool callback);
    /// @notice Most bytes of a workload that is placed with its order.
    function MAX_WORKLOAD() external view returns (uint256);
}
