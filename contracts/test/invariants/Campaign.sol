// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Assertions} from "../base/Assertions.sol";
import {Handler} from "./Handler.sol";

/// @notice A world, the acts that the fuzzer may try in it, and how often it should try which.
abstract contract Campaign is Assertions {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Handler internal handler;
    bytes4[] private _acts;

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), _acts);
    }

    /// By its artifact, so that it is compiled once and not into every suite.
    function _world(bool extreme) internal {
        handler = Handler(vm.deployCode("Handler.sol:Handler", abi.encode(extreme)));
    }

    /// Everything, agreements above all.
    function _everything() internal {
        _everythingUnguarded();
        _often(handler.guardian.selector, 1);
    }

    /// What everybody but the guardian does.
    function _everythingUnguarded() internal {
        _often(handler.open.selector, 4);
        _often(handler.lease.selector, 4);
        _often(handler.job.selector, 3);
        _often(handler.court_.selector, 3);
        _often(handler.wait.selector, 2);
        _often(handler.account.selector, 2);
        _often(handler.provider.selector, 2);
        _often(handler.bonds.selector, 2);
    }

    function _often(bytes4 act, uint256 times) internal {
        for (uint256 i; i < times; ++i) {
            _acts.push(act);
        }
    }

    /// Nothing was noted under this number.
    function _holds(uint256 invariant_) internal view {
        string memory breach = handler.breaches(invariant_);
        require(bytes(breach).length == 0, breach);
        // Nothing is tried after a breach: what was noted elsewhere would pass unseen here. Only a fault that was seeded has
        // to be seen under its own number (tools/mutants).
        if (!handler.broken() || vm.envOr("SUBLET_OWN_BREACHES", false)) return;
        revert("another rule is broken, so this one was not tried to the end");
    }
}
