// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, JobEnd, JobState, Kind, Offer, Order, Settlement} from "../src/Types.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {Fixture} from "./base/Fixture.sol";

/// @notice Every row of SETTLEMENT's job table, disputes aside: who, when, and where each unit goes.
contract JobsTest is Fixture {
    int256 private constant E = 3_600_000_025_200;
    int256 private constant Q = 1_800_000_012_600;
    int256 private constant F = 77_777;
    int256 private constant P = 1_000_000_007;

    function test_reject_gives_all_back() external {
        uint64 id = openJob();
        pass(START_WITHIN);
        vm.prank(provider);
        sublet.rejectJob(id);
        moved(0, 0, 0, 0);
        jobIs(id, JobState.Ended, JobEnd.Rejected);
    }

    function test_reject_in_time_only() external {
        uint64 id = openJob();
        pass(START_WITHIN + 1);
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AgreementTooLate.selector, id, START + START_WITHIN));
        sublet.rejectJob(id);
    }

    function test_submit() external {
        uint64 id = openJob();
        pass(START_WITHIN + DURATION);
        vm.startPrank(provider);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobZeroResult.selector, id));
        sublet.submitJob(id, 0, 10);
        vm.expectEmit();
        emit ISublet.JobSubmitted(id, RESULT, 10, PRICE * 10, uint64(clock() + WINDOW));
        sublet.submitJob(id, RESULT, 10);
        vm.stopPrank();
        jobIs(id, JobState.Submitted, JobEnd.None);
        eq(lens.job(id).resultHash, RESULT, "result");
        eq(lens.job(id).submittedAt, clock(), "submittedAt");
        eq(lens.job(id).usedSeconds, 10, "used");
        eq(lens.job(id).escrow, ESCROW, "escrow still held");
        moved(-E - F, -Q, 0, 0);
    }

    /// At most the time since the opening counts, whatever is declared; the log says what counts.
    function test_no_more_is_used_than_passed() external {
        uint64 id = openJob();
        pass(7);
        vm.prank(provider);
        vm.expectEmit();
        emit ISublet.JobSubmitted(id, RESULT, 7, PRICE * 7, uint64(clock() + WINDOW));
        sublet.submitJob(id, RESULT, 8);
        eq(lens.job(id).usedSeconds, 7, "used");
        vm.prank(renter);
        sublet.acceptJob(id);
        moved(-7 * P - F, 7 * P, F, 0);
    }

    function test_submit_in_time_only() external {
        uint64 id = openJob();
        pass(START_WITHIN + DURATION + 1);
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AgreementTooLate.selector, id, clock() - 1));
        sublet.submitJob(id, RESULT, 10);
    }

    function test_provider_settles_an_open_job_with_the_acceptance() external {
        uint64 id = openJob();
        bytes memory sig = acceptance(id, RESULT, 10 * PRICE);
        vm.prank(provider);
        vm.expectEmit();
        emit ISublet.JobEnded(id, JobEnd.Settled, RESULT, 10 * PRICE, ESCROW - 10 * PRICE, PLEDGE, 0, provider, 0);
        sublet.settleJob(id, RESULT, 10 * PRICE, sig);
        moved(-10 * P - F, 10 * P, F, 0);
        jobIs(id, JobState.Ended, JobEnd.Settled);
    }

    function test_anyone_settles_for_what_was_declared() external {
        uint64 id = submittedJob(10);
        bytes memory sig = acceptance(id, RESULT, 10 * PRICE);
        vm.prank(stranger);
        sublet.settleJob(id, RESULT, 10 * PRICE, sig);
        moved(-10 * P - F, 10 * P, F, 0);
    }

    function test_settle_refusals() external {
        uint64 id = submittedJob(10);
        _settle(stranger, id, RESULT, ESCROW + 1, _tooHigh(id, ESCROW + 1));
        bytes32 other = keccak256("other");
        _settle(
            provider, id, other, ESCROW, abi.encodeWithSelector(ISublet.JobResultDiffers.selector, id, RESULT, other)
        );
        bytes memory wrong = signature(PROVIDER_KEY, sublet.hashAcceptance(id, RESULT, 10 * PRICE));
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AcceptanceBadSignature.selector, renter, id));
        sublet.settleJob(id, RESULT, 10 * PRICE, wrong);
        bytes memory another = acceptance(id + 1, RESULT, 10 * PRICE);
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AcceptanceBadSignature.selector, renter, id));
        sublet.settleJob(id, RESULT, 10 * PRICE, another);
    }

    function test_batch_settles_what_it_can() external {
        Settlement[] memory rows = new Settlement[](3);
        (uint64 first, uint64 second) = (openJob(), openJob());
        rows[0] = Settlement(first, RESULT, PRICE, acceptance(first, RESULT, PRICE));
        rows[1] = rows[0];
        rows[2] = Settlement(second, RESULT, 2 * PRICE, acceptance(second, RESULT, 2 * PRICE));
        vm.prank(provider);
        vm.expectEmit();
        emit ISublet.JobEnded(first, JobEnd.Settled, RESULT, PRICE, ESCROW - PRICE, PLEDGE, 0, provider, 0);
        vm.expectEmit();
        emit ISublet.SettleRefused(
            1, first, abi.encodeWithSelector(ISublet.JobWrongState.selector, first, JobState.Ended)
        );
        sublet.settleJobs(rows);
        moved(-3 * P - 2 * F, 3 * P, 2 * F, 0);
        jobIs(second, JobState.Ended, JobEnd.Settled);
    }

    function test_accept() external {
        uint64 id = submittedJob(10);
        pass(WINDOW + 1_000);
        vm.prank(renter);
        sublet.acceptJob(id);
        moved(-10 * P - F, 10 * P, F, 0);
        jobIs(id, JobState.Ended, JobEnd.Accepted);
    }

    function test_silence_is_acceptance() external {
        uint64 id = submittedJob(10);
        pass(WINDOW);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AgreementTooEarly.selector, id, clock() + 1));
        sublet.finalizeJob(id);
        pass(1);
        vm.prank(stranger);
        sublet.finalizeJob(id);
        moved(-10 * P - F, 10 * P, F, 0);
        jobIs(id, JobState.Ended, JobEnd.Finalized);
    }

    function test_expire() external {
        uint64 id = openJob();
        pass(START_WITHIN + DURATION);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AgreementTooEarly.selector, id, clock() + 1));
        sublet.expireJob(id);
        pass(1);
        vm.prank(stranger);
        sublet.expireJob(id);
        int256 reward = Q / 10 / 100;
        moved(Q / 10 - reward, -(Q / 10), 0, reward);
        jobIs(id, JobState.Ended, JobEnd.Expired);
    }

    function test_refuse_splits_the_declared_cost() external {
        uint64 id = submittedJob(11);
        pass(WINDOW);
        vm.prank(renter);
        sublet.refuseJob(id);
        int256 half = 11 * P / 2;
        moved(-half, half, 0, 0);
        jobIs(id, JobState.Ended, JobEnd.Refused);
    }

    function test_refuse_in_the_window_and_class_none_only() external {
        uint64 id = submittedJob(11);
        pass(WINDOW + 1);
        vm.prank(renter);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AgreementTooLate.selector, id, clock() - 1));
        sublet.refuseJob(id);
        run(1);
        id = exactJob();
        vm.prank(renter);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobNotRefusable.selector, id, Class.Exact));
        sublet.refuseJob(id);
        vm.prank(renter);
        sublet.acceptJob(id);
    }

    function test_only_the_right_party() external {
        uint64 id = openJob();
        refusedToOthers(provider, id, abi.encodeCall(sublet.rejectJob, (id)));
        refusedToOthers(provider, id, abi.encodeCall(sublet.submitJob, (id, RESULT, 1)));
        id = submittedJob(1);
        refusedToOthers(renter, id, abi.encodeCall(sublet.acceptJob, (id)));
        refusedToOthers(renter, id, abi.encodeCall(sublet.refuseJob, (id)));
    }

    function test_only_the_right_state() external {
        uint64 id = openJob();
        _refused(id, JobState.Open, _submittedCalls(id));
        vm.prank(provider);
        sublet.submitJob(id, RESULT, 1);
        _refused(id, JobState.Submitted, _openCalls(id));
        vm.prank(renter);
        sublet.acceptJob(id);
        _refused(id, JobState.Ended, _openCalls(id));
        _refused(id, JobState.Ended, _submittedCalls(id));
        _settle(provider, id, RESULT, PRICE, abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.Ended));
        _refused(99, JobState.None, _openCalls(99));
        _refused(99, JobState.None, _submittedCalls(99));
        id = openLease();
        _refused(id, JobState.None, _openCalls(id));
        _refused(id, JobState.None, _submittedCalls(id));
        _settle(provider, id, RESULT, 0, abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.None));
    }

    /// The cost is capped by what the renter signed, whatever the provider declares.
    /// forge-config: default.fuzz.runs = 10000
    function testFuzz_cost(uint32 used, uint32 duration, uint128 price, uint8 ending) external {
        Offer memory offer = offerOf(Kind.Job);
        Order memory order = orderOf(Kind.Job);
        offer.price = uint128(bound(price, 10, 1e13));
        (offer.maxDuration, order.maxPrice) = (type(uint32).max, offer.price);
        order.duration = uint32(bound(duration, 1, 10_000_000));
        uint64 id = open(offer, order);
        pass(min(used, order.duration));
        vm.prank(provider);
        sublet.submitJob(id, RESULT, used);
        uint256 cost = uint256(offer.price) * (used < order.duration ? used : order.duration);
        vm.prank(renter);
        if (ending % 2 == 0) {
            sublet.acceptJob(id);
            moved(-int256(cost) - F, int256(cost), F, 0);
        } else {
            sublet.refuseJob(id);
            moved(-int256(cost / 2), int256(cost / 2), 0, 0);
        }
    }

    function _openCalls(uint64 id) private view returns (bytes[] memory calls) {
        calls = new bytes[](3);
        calls[0] = abi.encodeCall(sublet.rejectJob, (id));
        calls[1] = abi.encodeCall(sublet.submitJob, (id, RESULT, 1));
        calls[2] = abi.encodeCall(sublet.expireJob, (id));
    }

    function _submittedCalls(uint64 id) private view returns (bytes[] memory calls) {
        calls = new bytes[](3);
        calls[0] = abi.encodeCall(sublet.acceptJob, (id));
        calls[1] = abi.encodeCall(sublet.finalizeJob, (id));
        calls[2] = abi.encodeCall(sublet.refuseJob, (id));
    }

    function _refused(uint64 id, JobState actual, bytes[] memory calls) private {
        refusedToAll(calls, abi.encodeWithSelector(ISublet.JobWrongState.selector, id, actual));
    }

    function _settle(address by, uint64 id, bytes32 result, uint128 cost, bytes memory why) private {
        bytes memory sig = acceptance(id, result, cost);
        vm.prank(by);
        vm.expectRevert(why);
        sublet.settleJob(id, result, cost, sig);
    }

    function _tooHigh(uint64 id, uint128 cost) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ISublet.JobCostTooHigh.selector, id, cost, ESCROW);
    }
}
