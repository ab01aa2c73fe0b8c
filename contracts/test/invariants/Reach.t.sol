// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobEnd, Kind, LeaseEnd} from "../../src/Types.sol";
import {Campaign} from "./Campaign.sol";
import {Ghost} from "./Ghost.sol";

/// @notice What the acts never reach, no invariant is tested on.
contract ReachTest is Campaign {
    uint256 private constant ACTS = 8_000;
    uint256 private constant CALLS = uint256(type(Ghost.Act).max);

    /// What was not reached; empty: nothing.
    string private _missing;

    /// Every call goes through and is refused, every end of a lease and of a job is reached, in one long sequence.
    function test_acts_reach_everything() external {
        _run(false);
        _reached(handler.rearmed(), "a draw too late", 0);
        require(bytes(_missing).length == 0, _missing);
    }

    /// The same with sums and times at their ends.
    function test_acts_reach_everything_at_an_extreme() external {
        _run(true);
        require(bytes(_missing).length == 0, _missing);
    }

    function _run(bool extreme) private {
        _world(extreme);
        _everything();
        bytes4[] memory acts = this.targetSelectors()[0].selectors;
        for (uint256 i; i < ACTS; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("everything", extreme, i)));
            (bool ok,) = address(handler).call(abi.encodeWithSelector(acts[seed % acts.length], seed));
            yes(ok, "an act reverted");
        }
        for (uint256 i = 1; i <= 14; ++i) {
            _holds(i);
        }
        // The last of the list is what only a branch may do.
        for (uint256 i = 1; i < CALLS; ++i) {
            _reached(handler.done(Ghost.Act(i)), "gone through, call", i);
            bool always = Ghost.Act(i) == Ghost.Act.CancelOffer || Ghost.Act(i) == Ghost.Act.OpenMany
                || Ghost.Act(i) == Ghost.Act.SettleJobs;
            if (!always) _reached(handler.refused(Ghost.Act(i)), "refused, call", i);
        }
        _reached(handler.refused(Ghost.Act.Trunk), "posing as a branch", 0);
        for (uint256 i = 1; i <= uint256(type(LeaseEnd).max); ++i) {
            _reached(handler.ended(Kind.Lease, uint8(i)), "end of a lease", i);
        }
        for (uint256 i = 1; i <= uint256(type(JobEnd).max); ++i) {
            _reached(handler.ended(Kind.Job, uint8(i)), "end of a job", i);
        }
        _reached(handler.calledBack(), "a contract heard back", 0);
    }

    function _reached(uint256 times, string memory what, uint256 number) private {
        if (times != 0) return;
        _missing = string.concat(_missing, "not reached: ", what, " ", vm.toString(number), "; ");
    }
}
