// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Court} from "../src/Court.sol";
import {JobEnd, JobState, LeaseEnd, LeaseState, Verdict} from "../src/Types.sol";
import {Record} from "../src/core/Record.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {ITrunk} from "../src/interfaces/ITrunk.sol";
import {CourtFixture} from "./base/CourtFixture.sol";

/// @notice What binds `Sublet` and its branches: one address leads to all, and nobody else can do what they do.
contract BranchesTest is CourtFixture {
    function test_one_address_leads_to_all() external view {
        address[4] memory all = [sublet.court(), sublet.gateways(), sublet.orders(), sublet.lens()];
        for (uint256 i; i < 4; ++i) {
            yes(all[i].code.length != 0, "deployed");
            for (uint256 j; j < i; ++j) {
                yes(all[i] != all[j], "four of them");
            }
        }
    }

    /// On a chain that remembers no hashes a disputed job could never be drawn, so nothing is deployed there.
    function test_no_deployment_without_block_hashes() external {
        vm.roll(1_000);
        vm.setBlockhash(999, 0);
        vm.expectRevert(abi.encodeWithSelector(ICourt.CourtWithoutBlockHashes.selector));
        new Court(ITrunk(address(sublet)));
        vm.setBlockhash(999, keccak256("known"));
        new Court(ITrunk(address(sublet)));
    }

    /// Not the parties, not the guardian, not the branches that have no money, not `Sublet` itself.
    function test_only_branches_move_money_and_only_the_court_rules() external {
        uint64 id = disputed();
        address[8] memory by =
            [renter, provider, stranger, guardian, address(orders), address(lens), address(sublet), address(gateways)];
        bytes[4] memory calls = [
            abi.encodeCall(sublet.disputeJob, (id, renter)),
            abi.encodeCall(sublet.ruleJob, (id, Verdict.Overturned)),
            abi.encodeCall(sublet.take, (renter, 1)),
            abi.encodeCall(sublet.give, (stranger, 1))
        ];
        for (uint256 i; i < calls.length; ++i) {
            for (uint256 j; j < by.length; ++j) {
                // Gateways holds bonds, so it may move money; not more of it than it has.
                if (i > 1 && by[j] == address(gateways)) continue;
                vm.prank(by[j]);
                (bool ok, bytes memory why) = address(sublet).call(calls[i]);
                yes(!ok, "refused");
                bytes memory expected = abi.encodeWithSelector(ITrunk.BranchOnly.selector, by[j]);
                eq(keccak256(why), keccak256(expected), "for its caller");
            }
        }
        vm.prank(address(gateways));
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountShort.selector, address(gateways), 0, 1));
        sublet.give(stranger, 1);
    }

    function test_the_court_rules_only_what_it_hears() external {
        uint64 id = exactJob();
        vm.prank(address(court));
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.Submitted));
        sublet.ruleJob(id, Verdict.Upheld);
        uint64 ended = ruled(RESULT, RESULT, RESULT);
        vm.startPrank(address(court));
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobWrongState.selector, ended, JobState.Ended));
        sublet.ruleJob(ended, Verdict.Overturned);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobWrongState.selector, ended, JobState.Ended));
        sublet.disputeJob(ended, renter);
        vm.stopPrank();
    }

    /// The numbers of enums are part of the interface: others decode them.
    function test_enums_have_their_numbers() external pure {
        eq(uint256(JobEnd.Upheld), 7, "Upheld");
        eq(uint256(JobEnd.Overturned), 8, "Overturned");
        eq(uint256(JobEnd.Inconclusive), 9, "Inconclusive");
        eq(uint256(JobState.Disputed), 3, "Disputed");
        eq(uint256(JobState.Ended), 4, "Ended");
        eq(uint256(Verdict.Inconclusive), 2, "Verdict");
    }

    /// The raw record, of which the lens shows what it means.
    function test_records() external {
        uint64 id = exactJob();
        Record memory r = sublet.recordOf(id);
        eq(r.head.renter, renter, "renter");
        eq(r.head.provider, provider, "provider");
        eq(r.head.price, PRICE, "price");
        eq(r.fee.solver, solver, "solver");
        eq(r.fee.amount, FEE, "fee");
        eq(r.result.hash, RESULT, "result");
        eq(r.result.usedSeconds, USED, "used");
        eq(r.progress.startedAt, 0, "no lease");
        id = activeLease();
        run(10);
        eq(lens.lease(id).owedSeconds, 10, "owed now");
        sublet.settleLease(id);
        r = sublet.recordOf(id);
        eq(r.progress.paidSeconds, 10, "paid");
        eq(lens.lease(id).owedSeconds, 0, "nothing owed");
        eq(lens.lease(id).paidSeconds, 10, "paid");
        eq(uint256(lens.job(id).state), uint256(JobState.None), "no job");
        eq(uint256(lens.lease(99).state) + uint256(lens.job(99).state), 0, "nothing");
        leaseIs(id, LeaseState.Active, LeaseEnd.None);
        eq(uint256(sublet.recordOf(99).head.price), 0, "no record");
    }
}
