// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobEnd} from "../Types.sol";
import {IJobReceiver} from "../interfaces/IJobReceiver.sol";
import {ISublet} from "../interfaces/ISublet.sol";

/// @notice Tells a renter that is a contract how its job ended. Whatever it does with that, the job has ended.
abstract contract Callbacks is ISublet {
    /// @inheritdoc ISublet
    uint256 public constant CALLBACK_GAS = 100_000;
    /// A call gets at most 63/64 of what is left after its own price (cold, and perhaps delegated); the rest is for the
    /// log.
    uint256 private constant CALLBACK_NEEDS = CALLBACK_GAS * 64 / 63 + 10_000;

    /// The last thing a call does. With less gas the caller could starve the renter and leave it without its result.
    function _callBack(uint64 id, address renter, JobEnd reason, bytes32 resultHash) internal {
        uint256 left = gasleft();
        if (left < CALLBACK_NEEDS) revert JobCallbackGas(id, left, CALLBACK_NEEDS);
        bytes memory data = abi.encodeCall(IJobReceiver.onJobEnded, (id, reason, resultHash));
        bool ok;
        // Not in Solidity, which would copy an answer of any length into memory.
        assembly ("memory-safe") {
            ok := call(CALLBACK_GAS, renter, 0, add(data, 0x20), mload(data), 0, 0)
        }
        emit JobCalledBack(id, ok);
    }
}
