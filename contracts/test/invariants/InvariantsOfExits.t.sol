// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Campaign} from "./Campaign.sol";
import {Ghost} from "./Ghost.sol";

/// @notice From wherever random sequences lead, everybody gets out alone: the renter, the provider and a stranger each end
/// every agreement in bounded time, everybody gets its money out then; mediators and gateways get their bonds.
abstract contract ExitsCampaign is Campaign {
    function _allOut(string memory prefix, bool paused) internal {
        for (uint64 id = 1; id <= handler.count(); ++id) {
            Ghost.Agreement memory g = handler.agreement(id);
            if (g.stage == Ghost.Stage.Ended) continue;
            _out(string.concat(prefix, "the renter of "), id, g.renter, paused);
            _out(string.concat(prefix, "the provider of "), id, g.provider, paused);
            _out(string.concat(prefix, "a stranger to "), id, address(0x57A), paused);
        }
        address[15] memory all = handler.accounts();
        for (uint256 i; i < all.length; ++i) {
            _bondOut(prefix, all[i], true, paused);
            _bondOut(prefix, all[i], false, paused);
        }
    }

    function _out(string memory who, uint64 id, address alone, bool paused) private {
        (bool out, uint256 took, string memory where) = handler.leaves(id, alone, paused);
        string memory what = string.concat(who, vm.toString(uint256(id)), " is stuck: ", where);
        require(out, what);
        require(took <= handler.bound(id), string.concat(what, "it takes longer than the order says"));
        require(took <= handler.longestBound(), string.concat(what, "it takes longer than any order says"));
    }

    function _bondOut(string memory prefix, address who, bool mediator, bool paused) private {
        if (handler.bondOf(who, mediator) == 0) return;
        (bool out, uint256 took, string memory where) = handler.unbonds(who, mediator, paused);
        require(out, string.concat(prefix, where));
        require(took <= handler.UNBONDED_WITHIN(), string.concat(prefix, "a seat holds a bond for too long"));
    }
}

contract InvariantsOfExitsTest is ExitsCampaign {
    function setUp() external {
        _world(false);
        _everything();
    }

    /// I3: from every state that is not an end there is a way out for everybody alone.
    /// forge-config: default.invariant.check-interval = 50
    function invariant_I3_everybody_gets_out_alone() external {
        _holds(3);
        _allOut("I3: ", false);
    }
}

/// @notice The same with sums and times at their ends, and a token that refuses accounts.
contract InvariantsOfExtremeExitsTest is ExitsCampaign {
    function setUp() external {
        _world(true);
        _everything();
    }

    /// I3: the same at an extreme.
    /// forge-config: default.invariant.check-interval = 50
    function invariant_I3_everybody_gets_out_of_extremes() external {
        _holds(3);
        _allOut("I3: ", false);
    }
}

/// @notice The same during a pause, of a guardian that did not renounce.
contract InvariantsOfPausedExitsTest is ExitsCampaign {
    function setUp() external {
        _world(false);
        _everythingUnguarded();
    }

    /// I14: the same while `open` is paused, bonds included.
    /// forge-config: default.invariant.check-interval = 50
    function invariant_I14_exits_work_while_paused() external {
        _holds(14);
        _allOut("I14: paused, ", true);
    }
}
