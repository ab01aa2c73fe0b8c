// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {JobEnd, Order} from "../../src/Types.sol";
import {IJobReceiver} from "../../src/interfaces/IJobReceiver.sol";
import {IOrders} from "../../src/interfaces/IOrders.sol";
import {ISublet} from "../../src/interfaces/ISublet.sol";

/// @notice A renter that is a contract and does in its callback what it was told to.
contract Receiver is IJobReceiver {
    enum Mood {
        Content,
        Reverts,
        BurnsAllGas,
        ReturnsABomb,
        RevertsWithABomb,
        CallsBack
    }

    ISublet private immutable _sublet;
    Mood public mood;
    uint256 public calls;
    uint64 public lastJob;
    JobEnd public lastReason;
    bytes32 public lastHash;
    uint256 public lastGas;
    /// What `CallsBack` calls, and how that went.
    address public target;
    bytes public data;
    bool public answered;

    constructor(ISublet sublet) {
        _sublet = sublet;
    }

    function fund(IERC20 token, uint128 amount) external {
        token.approve(address(_sublet), amount);
        _sublet.deposit(amount);
    }

    function place(Order calldata order, bytes calldata workload, bool callback) external returns (bytes32) {
        return IOrders(_sublet.orders()).placeOrder(order, workload, callback);
    }

    function be(Mood mood_) external {
        mood = mood_;
    }

    function callBackWith(address target_, bytes calldata data_) external {
        (mood, target, data) = (Mood.CallsBack, target_, data_);
    }

    /// Anything a renter does, in this contract's name.
    function act(address to, bytes calldata what) external {
        (bool ok, bytes memory why) = to.call(what);
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(why, 0x20), mload(why))
        }
    }

    function onJobEnded(uint64 id, JobEnd reason, bytes32 resultHash) external {
        uint256 left = gasleft();
        if (mood == Mood.Reverts) revert("no");
        if (mood == Mood.BurnsAllGas) while (true) {}
        if (mood == Mood.ReturnsABomb) {
            assembly {
                return(0, 100000)
            }
        }
        if (mood == Mood.RevertsWithABomb) {
            assembly {
                revert(0, 100000)
            }
        }
        if (mood == Mood.CallsBack) (answered,) = target.call(data);
        else (lastJob, lastReason, lastHash, lastGas) = (id, reason, resultHash, left);
        ++calls;
    }
}

/// @notice Takes any signature for its own.
contract Gullible is Receiver {
    constructor(ISublet sublet) Receiver(sublet) {}

    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }
}
