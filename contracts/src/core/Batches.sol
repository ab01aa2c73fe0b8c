// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ISublet} from "../interfaces/ISublet.sol";

/// @notice Rows of a batch as calls of the contract to itself, so that a row that reverts spoils no other.
abstract contract Batches {
    /// Most gas one row may take, so that a hostile signer contract cannot eat the others'.
    uint256 private constant ROW_GAS = 700_000;

    /// What is left before a row gives it all of that: at most 63/64 are passed on, after its bytes were copied. With less, a
    /// row would be refused because its caller was sparing, and an estimate of the batch's gas would end just there.
    uint256 private constant ROW_NEEDS = ROW_GAS * 64 / 63 + 30_000;

    /// Who called the batch; set during it only.
    address private transient _batchCaller;

    /// Whoever called, also from within a batch.
    function _caller() internal view returns (address) {
        return msg.sender == address(this) ? _batchCaller : msg.sender;
    }

    /// Calls `selector` with the row that starts at `start` of the call data and ends with the bytes `last`. A row is a
    /// struct whose members are the arguments of `selector`, so its encoding is theirs.
    function _callSelf(bytes4 selector, uint256 start, bytes calldata last)
        internal
        returns (bool ok, bytes memory answer)
    {
        uint256 left = gasleft();
        if (left < ROW_NEEDS) revert ISublet.BatchGas(left, ROW_NEEDS);
        uint256 end;
        assembly ("memory-safe") {
            end := add(last.offset, and(add(last.length, 31), not(31)))
        }
        _batchCaller = msg.sender;
        (ok, answer) = address(this).call{gas: ROW_GAS}(bytes.concat(selector, msg.data[start:end]));
        _batchCaller = address(0);
    }
}
