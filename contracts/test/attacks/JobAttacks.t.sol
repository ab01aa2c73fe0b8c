// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, JobState} from "../../src/Types.sol";
import {ISublet} from "../../src/interfaces/ISublet.sol";
import {Attack} from "./Attack.sol";

/// @notice Getting work done for nothing, or paid for without having done it.
contract JobAttacksTest is Attack {
    /// Whatever the provider declares, and though more time passed than was ordered, the renter pays at most what it signed.
    function test_declared_usage() external {
        uint64 other = openJob();
        uint64 id = openJob();
        run(START_WITHIN + DURATION);
        vm.prank(provider);
        sublet.submitJob(id, RESULT, type(uint32).max);
        mark();
        vm.prank(renter);
        sublet.acceptJob(id);
        wins(provider, E + Q, "declared usage inflated the cost");
        wins(renter, 0, "beyond what was locked");
        eq(lens.job(other).escrow, ESCROW, "the other job is whole");
    }

    /// Submitted in its first second, a job is worth nothing, however long it says it ran; and silence does not change that.
    function test_submitting_at_once() external {
        uint64 id = openJob();
        vm.prank(provider);
        sublet.submitJob(id, RESULT, DURATION);
        pass(WINDOW + 1);
        mark();
        vm.prank(provider);
        sublet.finalizeJob(id);
        wins(provider, Q, "a job was paid for time that never passed");
        wins(renter, E, "the whole escrow");
    }

    /// What was submitted stays, for the provider as for the renter.
    function test_result_replaced() external {
        uint64 id = submittedJob(10);
        bytes32 worse = keccak256("worse");
        bytes memory why = abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.Submitted);
        refused(provider, abi.encodeCall(sublet.submitJob, (id, worse, 10)), why, "a submitted result was replaced");
        why = abi.encodeWithSelector(ISublet.JobResultDiffers.selector, id, RESULT, worse);
        bytes memory sig = acceptance(id, worse, 10 * PRICE);
        bytes memory settle = abi.encodeCall(sublet.settleJob, (id, worse, 10 * PRICE, sig));
        refused(provider, settle, why, "another result was settled than submitted");
        vm.prank(renter);
        sublet.acceptJob(id);
        why = abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.Ended);
        refused(provider, abi.encodeCall(sublet.submitJob, (id, worse, 10)), why, "an accepted result was replaced");
        eq(lens.job(id).resultHash, RESULT, "as accepted");
    }

    /// After the time to start only expiry is left, with its penalty.
    function test_rejecting_at_the_last_second() external {
        uint64 id = openJob();
        uint256 startBy = clock() + START_WITHIN;
        pass(START_WITHIN + 1);
        bytes memory why = abi.encodeWithSelector(ISublet.AgreementTooLate.selector, id, startBy);
        refused(provider, abi.encodeCall(sublet.rejectJob, (id)), why, "rejecting late dodged the penalty");
        pass(DURATION - 1);
        refused(
            provider, abi.encodeCall(sublet.rejectJob, (id)), why, "rejecting at the last second dodged the penalty"
        );
        pass(1);
        vm.prank(renter);
        sublet.expireJob(id);
        wins(provider, -(Q / 10), "a tenth of the pledge");
        wins(renter, Q / 10, "for the renter");
    }

    /// Refusing costs half of what was declared, so computing for nothing does not pay; nor can an exact result be refused.
    function test_refusing_good_work() external {
        uint64 id = submittedJob(DURATION);
        vm.prank(renter);
        sublet.refuseJob(id);
        wins(renter, -E / 2, "refusing good work computed for nothing");
        wins(provider, E / 2, "half for the provider");
        id = exactJob();
        bytes memory why = abi.encodeWithSelector(ISublet.JobNotRefusable.selector, id, Class.Exact);
        refused(renter, abi.encodeCall(sublet.refuseJob, (id)), why, "an exact result was refused unheard");
    }

    /// The renter signs a cost of next to nothing for good work, and sends it itself or by a friend.
    function test_signing_a_low_cost() external {
        uint64 id = submittedJob(10);
        bytes memory call_ = abi.encodeCall(sublet.settleJob, (id, RESULT, 1, acceptance(id, RESULT, 1)));
        bytes memory why = abi.encodeWithSelector(ISublet.JobCostTooLow.selector, id, 1, 10 * PRICE);
        refused(renter, call_, why, "the renter set the cost");
        refused(mallory, call_, why, "a friend of the renter set the cost");
        uint64 open_ = openJob();
        call_ = abi.encodeCall(sublet.settleJob, (open_, RESULT, ESCROW - 1, acceptance(open_, RESULT, ESCROW - 1)));
        why = abi.encodeWithSelector(ISublet.JobCostTooLow.selector, open_, ESCROW - 1, ESCROW);
        refused(renter, call_, why, "the renter set the cost of work not yet submitted");
    }

    /// Silence is acceptance only after the renter's own window.
    function test_finalizing_early() external {
        uint64 id = submittedJob(10);
        uint256 until = clock() + WINDOW;
        pass(WINDOW);
        bytes memory why = abi.encodeWithSelector(ISublet.AgreementTooEarly.selector, id, until + 1);
        refused(provider, abi.encodeCall(sublet.finalizeJob, (id)), why, "finalized while the renter may still object");
    }

    /// A result posted after its time, when only expiry is left.
    function test_submitting_late() external {
        uint64 id = openJob();
        uint256 runBy = clock() + START_WITHIN + DURATION;
        vm.warp(runBy + 1);
        bytes memory why = abi.encodeWithSelector(ISublet.AgreementTooLate.selector, id, runBy);
        refused(provider, abi.encodeCall(sublet.submitJob, (id, RESULT, 1)), why, "a late result dodged the penalty");
    }
}
