// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, DisputeStage, DisputeView, JobEnd, JobState, SeatStage, Verdict} from "../src/Types.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {CourtFixture} from "./base/CourtFixture.sol";

/// @notice A dispute's stages: who may do what, in which second and in which block. Money is in `Verdicts.t.sol`.
contract DisputesTest is CourtFixture {
    function test_raise() external {
        uint64 id = exactJob();
        pass(WINDOW);
        mark();
        vm.expectEmit(address(sublet));
        emit ISublet.JobDisputed(id);
        vm.expectEmit(address(court));
        emit ICourt.DisputeRaised(id, renter, provider, set, RESULT, FEES);
        vm.expectEmit(address(court));
        emit ICourt.DisputeArmed(id, uint64(height()), 31);
        vm.prank(renter);
        court.dispute(id);
        moved(-int256(uint256(FEES)), 0, 0, 0);
        courtHolds(FEES);
        jobIs(id, JobState.Disputed, JobEnd.None);
        eq(lens.job(id).escrow, ESCROW, "escrow still held");
        eq(lens.job(id).pledge, PLEDGE, "pledge still held");
        DisputeView memory v = court.disputeOf(id);
        stageIs(id, DisputeStage.Armed);
        eq(v.renter, renter, "renter");
        eq(v.provider, provider, "provider");
        eq(v.mediatorSet, set, "set");
        eq(v.resultHash, RESULT, "result");
        eq(v.duration, DURATION, "duration");
        eq(v.electorate, 5, "electorate");
        eq(v.drawFrom, height() + 3, "drawFrom");
        eq(v.drawUntil, height() + 258, "drawUntil");
        eq(v.commitBy + v.revealBy + v.panel.length, 0, "not drawn");
    }

    function test_raise_by_the_renter_in_the_window_class_exact_and_with_the_fees() external {
        uint64 id = exactJob();
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AgreementOtherParty.selector, id, provider));
        court.dispute(id);
        pass(WINDOW + 1);
        vm.prank(renter);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AgreementTooLate.selector, id, clock() - 1));
        court.dispute(id);
        vm.prank(provider);
        sublet.beat();
        id = submittedJob(1);
        vm.startPrank(renter);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobNotDisputable.selector, id, Class.None));
        court.dispute(id);
        sublet.acceptJob(id);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.Ended));
        court.dispute(id);
        vm.stopPrank();
        id = exactJob();
        uint128 free = uint128(sublet.freeOf(renter));
        vm.startPrank(renter);
        sublet.withdraw(free - FEES + 1);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountShort.selector, renter, FEES - 1, FEES));
        court.dispute(id);
        vm.stopPrank();
        jobIs(id, JobState.Submitted, JobEnd.None);
        stageIs(id, DisputeStage.None);
        token.mint(renter, 1);
        vm.startPrank(renter);
        token.approve(address(sublet), 1);
        sublet.deposit(1);
        court.dispute(id);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.Disputed));
        court.dispute(id);
        vm.stopPrank();
    }

    /// Once the court hears it, nothing else ends a job: neither silence nor a signature nor either party.
    function test_only_the_court_ends_a_disputed_job() external {
        uint64 id = disputed();
        bytes memory sig = acceptance(id, RESULT, PRICE * USED);
        pass(1 days);
        bytes[7] memory calls = [
            abi.encodeCall(sublet.rejectJob, (id)),
            abi.encodeCall(sublet.submitJob, (id, OTHER, 1)),
            abi.encodeCall(sublet.expireJob, (id)),
            abi.encodeCall(sublet.acceptJob, (id)),
            abi.encodeCall(sublet.finalizeJob, (id)),
            abi.encodeCall(sublet.refuseJob, (id)),
            abi.encodeCall(sublet.settleJob, (id, RESULT, PRICE * USED, sig))
        ];
        address[3] memory by = [renter, provider, stranger];
        bytes memory why = abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.Disputed);
        for (uint256 i; i < calls.length; ++i) {
            for (uint256 j; j < by.length; ++j) {
                vm.prank(by[j]);
                (bool ok, bytes memory answer) = address(sublet).call(calls[i]);
                yes(!ok, "refused");
                eq(keccak256(answer), keccak256(why), "for its state");
            }
        }
    }

    function test_draw_from_the_third_block_on() external {
        uint64 id = disputed();
        uint256 raised = height();
        for (uint256 i; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ICourt.DisputeTooEarly.selector, id, raised + 3));
            court.draw(id);
            mine(1);
        }
        court.draw(id);
        DisputeView memory v = court.disputeOf(id);
        eq(uint256(v.stage), uint256(DisputeStage.Commit), "stage");
        eq(v.panel.length, PANEL, "seats");
        eq(v.commitBy, clock() + DURATION + court.COMMIT_SLACK(), "commitBy");
        eq(v.revealBy, v.commitBy + court.REVEAL_WINDOW(), "revealBy");
        for (uint256 i; i < PANEL; ++i) {
            eq(court.mediatorOf(v.panel[i].mediator).atStake, VOTE, "at stake");
            eq(uint256(v.panel[i].stage), uint256(SeatStage.Drawn), "seat");
        }
        vm.expectRevert(abi.encodeWithSelector(ICourt.DisputeWrongStage.selector, id, DisputeStage.Commit));
        court.draw(id);
    }

    function test_commit_until_the_last_second_then_reveal_until_the_last_second() external {
        uint64 id = drawn();
        (address a, address b) = (panelOf(id)[0], panelOf(id)[1]);
        uint256 commitBy = court.disputeOf(id).commitBy;
        commit(id, a, RESULT);
        _refused(a, abi.encodeCall(court.revealVote, (id, RESULT, saltOf(a))), id, DisputeStage.Commit);
        _refused(stranger, abi.encodeCall(court.resolve, (id)), id, DisputeStage.Commit);
        vm.warp(commitBy);
        commit(id, b, RESULT);
        stageIs(id, DisputeStage.Commit);
        pass(1);
        stageIs(id, DisputeStage.Reveal);
        _refused(panelOf(id)[2], abi.encodeCall(court.commitVote, (id, RESULT)), id, DisputeStage.Reveal);
        _refused(stranger, abi.encodeCall(court.resolve, (id)), id, DisputeStage.Reveal);
        eq(court.disputeOf(id).revealBy, commitBy + court.REVEAL_WINDOW(), "a clock of its own");
        vm.warp(commitBy + court.REVEAL_WINDOW());
        reveal(id, a, RESULT);
        _refused(stranger, abi.encodeCall(court.resolve, (id)), id, DisputeStage.Reveal);
        pass(1);
        _refused(b, abi.encodeCall(court.revealVote, (id, RESULT, saltOf(b))), id, DisputeStage.Over);
        court.resolve(id);
        stageIs(id, DisputeStage.Resolved);
        jobIs(id, JobState.Ended, JobEnd.Inconclusive);
    }

    /// Nobody waits for a clock when everybody has done its part; the reveal's clock then starts with the last
    /// commitment.
    function test_all_committed_and_all_revealed_need_no_clock() external {
        uint64 id = drawn();
        address[] memory panel = panelOf(id);
        pass(10);
        commit(id, panel[0], RESULT);
        commit(id, panel[1], RESULT);
        vm.expectEmit(address(court));
        emit ICourt.CommitsComplete(id, uint64(clock() + court.REVEAL_WINDOW()));
        commit(id, panel[2], OTHER);
        stageIs(id, DisputeStage.Reveal);
        eq(court.disputeOf(id).revealBy, clock() + court.REVEAL_WINDOW(), "revealBy");
        for (uint256 i; i < 3; ++i) {
            _refused(stranger, abi.encodeCall(court.resolve, (id)), id, DisputeStage.Reveal);
            reveal(id, panel[i], i < 2 ? RESULT : OTHER);
        }
        stageIs(id, DisputeStage.Over);
        vm.expectEmit(address(court));
        emit ICourt.DisputeResolved(id, Verdict.Upheld, RESULT, 2, 2 * VOTE, VOTE);
        court.resolve(id);
        for (uint256 i; i < 3; ++i) {
            _refused(panel[i], abi.encodeCall(court.resolve, (id)), id, DisputeStage.Resolved);
            _refused(panel[i], abi.encodeCall(court.commitVote, (id, RESULT)), id, DisputeStage.Resolved);
            _refused(panel[i], abi.encodeCall(court.draw, (id)), id, DisputeStage.Resolved);
        }
    }

    /// The early reveal window is as long as the late one, and ends for whoever dawdles.
    function test_an_early_reveal_window_ends() external {
        uint64 id = drawn();
        address[] memory panel = panelOf(id);
        for (uint256 i; i < 3; ++i) {
            commit(id, panel[i], RESULT);
        }
        pass(court.REVEAL_WINDOW());
        reveal(id, panel[0], RESULT);
        pass(1);
        _refused(panel[1], abi.encodeCall(court.revealVote, (id, RESULT, saltOf(panel[1]))), id, DisputeStage.Over);
        court.resolve(id);
        jobIs(id, JobState.Ended, JobEnd.Inconclusive);
    }

    function test_nobody_committed_is_over_with_the_commit_window() external {
        uint64 id = drawn();
        vm.warp(court.disputeOf(id).commitBy);
        stageIs(id, DisputeStage.Commit);
        pass(1);
        stageIs(id, DisputeStage.Over);
        court.resolve(id);
        jobIs(id, JobState.Ended, JobEnd.Inconclusive);
    }

    function test_only_the_panel_votes_and_once() external {
        uint64 id = drawn();
        address[] memory panel = panelOf(id);
        address[4] memory others = [renter, provider, stranger, _notSeated(panel)];
        for (uint256 i; i < 4; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(ICourt.VoteNotSeated.selector, id, others[i]));
            court.commitVote(id, RESULT);
        }
        commit(id, panel[0], RESULT);
        vm.prank(panel[0]);
        vm.expectRevert(abi.encodeWithSelector(ICourt.VoteWrongStage.selector, id, panel[0], SeatStage.Committed));
        court.commitVote(id, OTHER);
        commit(id, panel[1], RESULT);
        vm.warp(court.disputeOf(id).commitBy + 1);
        vm.prank(panel[2]);
        vm.expectRevert(abi.encodeWithSelector(ICourt.VoteWrongStage.selector, id, panel[2], SeatStage.Drawn));
        court.revealVote(id, RESULT, 0);
        reveal(id, panel[0], RESULT);
        vm.prank(panel[0]);
        vm.expectRevert(abi.encodeWithSelector(ICourt.VoteWrongStage.selector, id, panel[0], SeatStage.Revealed));
        court.revealVote(id, RESULT, saltOf(panel[0]));
        DisputeView memory v = court.disputeOf(id);
        eq(v.panel[0].vote, RESULT, "shown");
        eq(v.panel[0].commitment, 0, "not needed any more");
        eq(v.panel[1].vote, 0, "not shown");
        eq(v.panel[1].commitment, court.commitmentOf(id, panel[1], RESULT, saltOf(panel[1])), "committed");
    }

    /// A commitment is to one vote of one mediator in one dispute, so that it cannot be copied, moved or turned.
    function test_a_reveal_has_to_fit_the_commitment() external {
        uint64 id = drawn();
        address[] memory panel = panelOf(id);
        bytes32 mine_ = court.commitmentOf(id, panel[0], RESULT, saltOf(panel[0]));
        eq(mine_, keccak256(abi.encode(id, panel[0], RESULT, saltOf(panel[0]))), "as documented");
        for (uint256 i; i < 3; ++i) {
            vm.prank(panel[i]);
            court.commitVote(id, mine_);
        }
        _differs(id, panel[0], OTHER, saltOf(panel[0]), mine_);
        _differs(id, panel[0], RESULT, saltOf(panel[1]), mine_);
        _differs(id, panel[1], RESULT, saltOf(panel[0]), mine_);
        reveal(id, panel[0], RESULT);
    }

    function test_what_does_not_exist() external {
        _refused(stranger, abi.encodeCall(court.draw, (99)), 99, DisputeStage.None);
        _refused(stranger, abi.encodeCall(court.commitVote, (99, RESULT)), 99, DisputeStage.None);
        _refused(stranger, abi.encodeCall(court.revealVote, (99, RESULT, 0)), 99, DisputeStage.None);
        _refused(stranger, abi.encodeCall(court.resolve, (99)), 99, DisputeStage.None);
        eq(court.disputeOf(99).drawFrom + court.disputeOf(99).drawUntil, 0, "no block");
        uint64 lease = openLease();
        vm.prank(renter);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobWrongState.selector, lease, JobState.None));
        court.dispute(lease);
    }

    /// A pause stops no dispute on its way, and no new one about an open job.
    function test_disputes_go_on_while_paused() external {
        uint64 id = exactJob();
        vm.prank(guardian);
        sublet.pauseOpen(true);
        vm.prank(renter);
        court.dispute(id);
        drawNow(id);
        voteAll(id, RESULT, RESULT, RESULT);
        court.resolve(id);
        jobIs(id, JobState.Ended, JobEnd.Upheld);
        vm.prank(mediators[0]);
        court.retireMediator();
        pass(court.UNBONDING());
        vm.prank(mediators[0]);
        court.withdrawBond();
    }

    function _notSeated(address[] memory panel) private view returns (address) {
        for (uint256 i; i < mediators.length; ++i) {
            bool seated;
            for (uint256 j; j < panel.length; ++j) {
                seated = seated || panel[j] == mediators[i];
            }
            if (!seated) return mediators[i];
        }
        revert("all seated");
    }

    function _refused(address by, bytes memory data, uint64 id, DisputeStage actual) private {
        vm.prank(by);
        (bool ok, bytes memory answer) = address(court).call(data);
        yes(!ok, "refused");
        bytes memory why = abi.encodeWithSelector(ICourt.DisputeWrongStage.selector, id, actual);
        eq(keccak256(answer), keccak256(why), "for its stage");
    }

    function _differs(uint64 id, address by, bytes32 vote, bytes32 salt, bytes32 committed) private {
        bytes32 given = court.commitmentOf(id, by, vote, salt);
        vm.prank(by);
        vm.expectRevert(abi.encodeWithSelector(ICourt.VoteOtherThanCommitted.selector, id, committed, given));
        court.revealVote(id, vote, salt);
    }
}
