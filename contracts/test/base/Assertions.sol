// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";

/// @notice Assertions that say what differs.
abstract contract Assertions {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

    error Differs(string what, uint256 actual, uint256 expected);
    error DiffersSigned(string what, int256 actual, int256 expected);
    error NotAtMost(string what, uint256 actual, uint256 most);
    error NotTrue(string what);

    function eq(uint256 actual, uint256 expected, string memory what) internal pure {
        if (actual != expected) revert Differs(what, actual, expected);
    }

    function eq(int256 actual, int256 expected, string memory what) internal pure {
        if (actual != expected) revert DiffersSigned(what, actual, expected);
    }

    function eq(address actual, address expected, string memory what) internal pure {
        eq(uint256(uint160(actual)), uint256(uint160(expected)), what);
    }

    function eq(bytes32 actual, bytes32 expected, string memory what) internal pure {
        eq(uint256(actual), uint256(expected), what);
    }

    function atMost(uint256 actual, uint256 most, string memory what) internal pure {
        if (actual > most) revert NotAtMost(what, actual, most);
    }

    function yes(bool condition, string memory what) internal pure {
        if (!condition) revert NotTrue(what);
    }

    /// The compiler takes `block.timestamp` for a constant within a call, which `warp` breaks.
    function clock() internal view returns (uint256) {
        return vm.getBlockTimestamp();
    }

    /// The same holds for `block.number` and `roll`.
    function height() internal view returns (uint256) {
        return vm.getBlockNumber();
    }

    function bound(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + value % (most - least + 1);
    }

    function min(uint256 a, uint256 b) internal pure returns (uint256) {
        return a < b ? a : b;
    }
}
