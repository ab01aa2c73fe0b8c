// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, Order} from "./Types.sol";
import {IOrders} from "./interfaces/IOrders.sol";
import {ISublet} from "./interfaces/ISublet.sol";

/// @title Orders
/// @notice The branch where renters that cannot sign place their orders; see `IOrders`. Has no money.
contract Orders is IOrders {
    /// @inheritdoc IOrders
    uint256 public constant MAX_WORKLOAD = 16 * 1024;

    enum Placed {
        No,
        Yes,
        WithCallback
    }

    ISublet private immutable _sublet;

    mapping(bytes32 orderHash => Placed) private _placed;

    constructor(ISublet sublet) {
        _sublet = sublet;
    }

    /// @inheritdoc IOrders
    function placeOrder(Order calldata order, bytes calldata workload, bool callback)
        external
        returns (bytes32 orderHash)
    {
        if (msg.sender != order.renter) revert OrderNotRenter(msg.sender, order.renter);
        if (callback && order.kind != Kind.Job) revert OrderNoCallback(order.kind);
        if (workload.length > MAX_WORKLOAD) revert OrderWorkloadTooLong(workload.length, MAX_WORKLOAD);
        bytes32 given = keccak256(workload);
        if (workload.length != 0 && given != order.workload) revert OrderWorkloadDiffers(given, order.workload);
        orderHash = _sublet.hashOrder(order);
        _placed[orderHash] = callback ? Placed.WithCallback : Placed.Yes;
        emit OrderPlaced(msg.sender, orderHash, order, workload, callback);
    }

    /// @inheritdoc IOrders
    function placed(bytes32 orderHash) external view returns (bool isPlaced, bool callback) {
        Placed p = _placed[orderHash];
        return (p != Placed.No, p == Placed.WithCallback);
    }
}
