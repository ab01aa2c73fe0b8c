// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobEnd, Kind, LeaseEnd} from "../../src/Types.sol";
import {Campaign} from "./Campaign.sol";
import {Ghost} from "./Ghost.sol";

/// @notice What the acts never reach, no invariant is tested on.
contract ReachTest is Campaign {
    uint256 private constant ACTS = 5_000;
    uint256 private constant CALLS = uint256(type(Ghost.Act).max);

    function setUp() external {
        _world(false);
        _everything();
    }

    /// Every call goes through and is refused, every end of a lease and of a job is reached, in one long sequence.
    function test_acts_reach_everything() external {
        bytes4[] memory acts = this.targetSelectors()[0].selectors;
        for (uint256 i; i < ACTS; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("reach", i)));
            (bool ok,) = address(handler).call(abi.encodeWithSelector(acts[seed % acts.length], seed));
            yes(ok, "an act reverted");
        }
        for (uint256 i = 1; i <= 14; ++i) {
            _holds(i);
        }
        // The last of the list is what only a branch may do.
        for (uint256 i = 1; i < CALLS; ++i) {
            yes(handler.done(Ghost.Act(i)) != 0, string.concat("went through: call ", vm.toString(i)));
            bool always = Ghost.Act(i) == Ghost.Act.CancelOffer || Ghost.Act(i) == Ghost.Act.OpenMany
                || Ghost.Act(i) == Ghost.Act.SettleJobs;
            yes(always || handler.refused(Ghost.Act(i)) != 0, string.concat("was refused: call ", vm.toString(i)));
        }
        yes(handler.refused(Ghost.Act.Trunk) != 0, "posed as a branch");
        for (uint256 i = 1; i <= uint256(type(LeaseEnd).max); ++i) {
            yes(handler.ended(Kind.Lease, uint8(i)) != 0, string.concat("end of a lease ", vm.toString(i)));
        }
        for (uint256 i = 1; i <= uint256(type(JobEnd).max); ++i) {
            yes(handler.ended(Kind.Job, uint8(i)) != 0, string.concat("end of a job ", vm.toString(i)));
        }
        yes(handler.rearmed() != 0, "a draw came too late");
        yes(handler.calledBack() != 0, "a contract heard back");
    }
}
