// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Campaign} from "./Campaign.sol";
import {Ghost} from "./Ghost.sol";

/// @notice From wherever random sequences lead, everybody gets out alone.
contract InvariantsOfExitsTest is Campaign {
    function setUp() external {
        _world(false);
        _everything();
    }

    /// I3: from every state that is not an end, the renter alone, the provider alone and a stranger alone each reach one in
    /// bounded time, and get their money out; mediators and gateways get their bonds.
    /// forge-config: default.invariant.check-interval = 50
    function invariant_I3_everybody_gets_out_alone() external {
        _holds(3);
        _allOut("I3: ", false);
        address[15] memory all = handler.accounts();
        for (uint256 i; i < all.length; ++i) {
            _bondOut(all[i], true);
            _bondOut(all[i], false);
        }
    }

    /// I14: the same while `open` is paused.
    /// forge-config: default.invariant.check-interval = 50
    function invariant_I14_exits_work_while_paused() external {
        _holds(14);
        _allOut("I14: paused, ", true);
    }

    function _allOut(string memory prefix, bool paused) private {
        for (uint64 id = 1; id <= handler.count(); ++id) {
            Ghost.Agreement memory g = handler.agreement(id);
            if (g.stage == Ghost.Stage.Ended) continue;
            _out(string.concat(prefix, "the renter of "), id, g.renter, paused);
            _out(string.concat(prefix, "the provider of "), id, g.provider, paused);
            _out(string.concat(prefix, "a stranger to "), id, address(0x57A), paused);
        }
    }

    function _out(string memory who, uint64 id, address alone, bool paused) private {
        (bool out, uint256 took, string memory where) = handler.leaves(id, alone, paused);
        string memory what = string.concat(who, vm.toString(uint256(id)), " is stuck: ", where);
        require(out, what);
        require(took <= handler.bound(id), string.concat(what, "it takes too long"));
    }

    function _bondOut(address who, bool mediator) private {
        if (handler.bondOf(who, mediator) == 0) return;
        (bool out, string memory where) = handler.unbonds(who, mediator);
        require(out, string.concat("I3: ", where));
    }
}
