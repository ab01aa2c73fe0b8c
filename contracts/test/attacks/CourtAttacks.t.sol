// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobEnd, JobState, Kind, Offer, Order, SeatStage} from "../../src/Types.sol";
import {ICourt} from "../../src/interfaces/ICourt.sol";
import {ISublet} from "../../src/interfaces/ISublet.sol";
import {Attack} from "./Attack.sol";

/// @notice Using the court to get work for nothing, and getting at its panels.
contract CourtAttacksTest is Attack {
    int256 private constant COST = int256(uint256(PRICE) * USED);

    /// Too late is too late; in the window's last second it is in time, and nothing but the court ends the job then.
    function test_dispute_late() external {
        uint64 id = exactJob();
        uint256 until = clock() + WINDOW;
        pass(WINDOW + 1);
        bytes memory why = abi.encodeWithSelector(ISublet.AgreementTooLate.selector, id, until);
        refusedAt(renter, address(court), abi.encodeCall(court.dispute, (id)), why, "disputed after the window");
        vm.prank(provider);
        sublet.beat();
        id = exactJob();
        pass(WINDOW);
        vm.prank(renter);
        court.dispute(id);
        why = abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.Disputed);
        refused(provider, abi.encodeCall(sublet.finalizeJob, (id)), why, "finalized while the court hears it");
    }

    /// The renter disputes and lets the panel's time run out: it pays half, and the absent mediators pay both.
    function test_timing_the_verdict_out() external {
        uint64 id = exactJob();
        pass(WINDOW);
        vm.prank(renter);
        court.dispute(id);
        drawNow(id);
        vm.warp(court.disputeOf(id).revealBy);
        vm.prank(renter);
        court.resolve(id);
        jobIs(id, JobState.Ended, JobEnd.Inconclusive);
        wins(provider, COST / 2 + 3 * (V / 2), "timing the verdict out computed for nothing");
        wins(renter, -(COST / 2) + 3 * (V - V / 2), "the renter's half");
    }

    /// The same where no mediator can be drawn at all.
    function test_dispute_that_nobody_can_hear() external {
        for (uint256 i; i < mediators.length; ++i) {
            vm.prank(mediators[i]);
            court.retireMediator();
        }
        uint64 id = disputed();
        drawNow(id);
        jobIs(id, JobState.Ended, JobEnd.Inconclusive);
        wins(provider, COST / 2, "a dispute that nobody can hear computed for nothing");
        wins(renter, -(COST / 2), "the renter's half");
    }

    function test_mediator_listed_twice() external {
        address[] memory members = new address[](3);
        (members[0], members[1], members[2]) = (mediators[0], mediators[1], mediators[1]);
        bytes memory call_ = abi.encodeCall(court.createMediatorSet, (members, 3, VOTE));
        bytes memory why = abi.encodeWithSelector(ICourt.SetNotAscending.selector, 2);
        refusedAt(mallory, address(court), call_, why, "a mediator is listed twice");
        (members[1], members[2]) = (mediators[1], mediators[0]);
        call_ = abi.encodeCall(court.createMediatorSet, (members, 3, VOTE));
        refusedAt(mallory, address(court), call_, why, "a mediator is listed twice, apart");
    }

    /// When it is submitted, disputed or drawn to the second, and who draws, changes nothing: only the block's hash does.
    function test_panel_by_timestamp() external {
        uint64 id = disputed();
        mine(3);
        bytes32 first = _drawnAt(id, clock(), renter);
        for (uint256 i = 1; i < 24; ++i) {
            address by = i % 3 == 0 ? renter : i % 3 == 1 ? provider : mallory;
            worked(_drawnAt(id, clock() + i, by) != first, "the panel depends on when and by whom it is drawn");
        }
    }

    /// With the same hash of the block that decides, nothing follows from when the job was submitted, or disputed.
    function test_panel_by_submission_time() external {
        uint64 id = open(offerOf(Kind.Job), exactOrder());
        bytes32 first = _drawnFor(id, 0, 0);
        for (uint256 i = 1; i < 24; ++i) {
            worked(_drawnFor(id, 7 * i, 0) != first, "the panel depends on when its job was submitted");
            worked(_drawnFor(id, 0, 7 * i) != first, "the panel depends on when its job was disputed");
        }
    }

    /// Members that join, leave or post bonds after the dispute change nothing either.
    function test_panel_by_joining_late() external {
        vm.prank(mediators[4]);
        court.retireMediator();
        vm.prank(mediators[3]);
        court.leaveSet(set);
        uint64 id = disputed();
        mine(3);
        bytes32 first = _drawnAt(id, clock(), renter);
        vm.prank(mediators[4]);
        court.registerMediator(keccak256("back"), BOND);
        vm.prank(mediators[3]);
        court.joinSet(set);
        vm.prank(mediators[0]);
        court.retireMediator();
        vm.prank(mediators[1]);
        court.leaveSet(set);
        worked(_drawnAt(id, clock(), renter) != first, "members that come and go change the panel");
    }

    /// One attacker on both sides lists honest mediators in a set of its own and disputes a job that nobody can run again:
    /// who did not join is not drawn, and owes no vote.
    function test_drawing_who_never_joined() external {
        vm.startPrank(mallory);
        uint64 own = court.createMediatorSet(mediators, PANEL, VOTE);
        vm.stopPrank();
        Order memory order = exactOrder();
        (order.renter, order.mediatorSet) = (mallory, own);
        uint64 id = shamOf(Kind.Job, order);
        pass(USED);
        vm.startPrank(mallory);
        sublet.submitJob(id, RESULT, USED);
        court.dispute(id);
        vm.stopPrank();
        drawNow(id);
        worked(panelOf(id).length != 0, "mediators are drawn for a set that they never joined");
        jobIs(id, JobState.Ended, JobEnd.Inconclusive);
        wins(mallory, 0, "a sham pair shares the fees of missing votes");
    }

    /// A party that is a mediator as well sits on no panel of its own.
    function test_judge_in_its_own_cause() external {
        address[] memory members = new address[](1);
        members[0] = provider;
        vm.prank(provider);
        court.registerMediator(keccak256("p"), BOND);
        uint64 own = court.createMediatorSet(members, 1, VOTE);
        vm.prank(provider);
        court.joinSet(own);
        Offer memory offer = offerOf(Kind.Job);
        Order memory order = exactOrder();
        (offer.mediatorSet, order.mediatorSet) = (own, own);
        uint64 id = open(offer, order);
        pass(USED);
        vm.prank(provider);
        sublet.submitJob(id, RESULT, USED);
        vm.prank(renter);
        court.dispute(id);
        drawNow(id);
        worked(panelOf(id).length != 0, "the provider judges its own work");
        jobIs(id, JobState.Ended, JobEnd.Inconclusive);
    }

    /// A member that commits and then says nothing, to spoil the verdict: a fee of its bond, half to each party.
    function test_mediator_failing_on_purpose() external {
        uint64 id = drawn();
        voteAll(id, RESULT, MUTE, OTHER);
        court.resolve(id);
        jobIs(id, JobState.Ended, JobEnd.Inconclusive);
        address silent = panelOf(id)[1];
        worked(court.mediatorOf(silent).bond != BOND - VOTE, "failing on purpose costs a mediator nothing");
        wins(silent, 0, "failing on purpose is paid");
        wins(provider, COST / 2 + V / 2, "half of it for the provider");
        wins(renter, -(COST / 2) - 2 * V + V - V / 2, "half of it for the renter");
    }

    /// Nor can it take its bond away first: it stays until the verdict, and for the time of unbonding after that.
    function test_mediator_leaving_with_its_bond() external {
        uint64 id = drawn();
        address seated = panelOf(id)[0];
        vm.prank(seated);
        court.retireMediator();
        pass(7 days);
        bytes memory call_ = abi.encodeCall(court.withdrawBond, ());
        vm.prank(seated);
        (bool ok,) = address(court).call(call_);
        worked(ok, "a seated mediator left with its bond");
        court.resolve(id);
        vm.prank(seated);
        court.withdrawBond();
        eq(token.balanceOf(address(court)), 0, "the court has no tokens");
        eq(delta(seated), int256(uint256(BOND - VOTE)), "less what its missing vote cost");
    }

    /// A sham pair disputes a job that takes a lifetime to run again, and with it holds whole bonds for next to nothing.
    function test_holding_bonds_for_a_lifetime() external {
        Offer memory offer = offerOf(Kind.Job);
        (offer.maxDuration, offer.price, offer.pledgeBps) = (type(uint32).max, 10_000, 1_000_000);
        Order memory order = exactOrder();
        order.duration = 7 days + 1;
        bytes memory why =
            abi.encodeWithSelector(ISublet.MatchOutOfRange.selector, bytes32("duration"), 7 days + 1, 7 days);
        refuseOpen(offer, order, why, "a seat may hold a bond for a lifetime");
        order.duration = 7 days;
        uint64 id = open(offer, order);
        vm.prank(provider);
        sublet.submitJob(id, RESULT, 0);
        vm.prank(renter);
        court.dispute(id);
        drawNow(id);
        address seated = panelOf(id)[0];
        vm.prank(seated);
        court.retireMediator();
        pass(7 days + court.COMMIT_SLACK() + court.REVEAL_WINDOW() + 1);
        court.resolve(id);
        vm.prank(seated);
        court.withdrawBond();
        wins(seated, int256(uint256(BOND)) - V, "a bond stayed behind");
    }

    /// The hash is right, the archive is not handed over: the panel says so, and the provider loses all of its pledge.
    function test_data_withheld() external {
        uint64 id = drawn();
        voteAll(id, 0, 0, 0);
        court.resolve(id);
        worked(lens.job(id).reason != JobEnd.Overturned, "a hash without its data is a result");
        wins(provider, -Q, "withheld data was paid");
        wins(renter, Q - 3 * V, "the pledge, less the panel's fees");
    }

    /// A commitment names its mediator: copied, it opens for nobody else.
    function test_copying_a_vote() external {
        uint64 id = drawn();
        address[] memory panel = panelOf(id);
        bytes32 commitment = court.commitmentOf(id, panel[0], RESULT, saltOf(panel[0]));
        for (uint256 i; i < 2; ++i) {
            vm.prank(panel[i]);
            court.commitVote(id, commitment);
        }
        commit(id, panel[2], RESULT);
        reveal(id, panel[0], RESULT);
        bytes memory call_ = abi.encodeCall(court.revealVote, (id, RESULT, saltOf(panel[0])));
        bytes32 own = court.commitmentOf(id, panel[1], RESULT, saltOf(panel[0]));
        bytes memory why = abi.encodeWithSelector(ICourt.VoteOtherThanCommitted.selector, id, commitment, own);
        refusedAt(panel[1], address(court), call_, why, "a vote was copied");
    }

    /// Nobody votes who is not on the panel, nor twice.
    function test_votes_of_others() external {
        uint64 id = drawn();
        bytes memory call_ = abi.encodeCall(court.commitVote, (id, keccak256("c")));
        bytes memory why = abi.encodeWithSelector(ICourt.VoteNotSeated.selector, id, mallory);
        refusedAt(mallory, address(court), call_, why, "a stranger voted");
        address seated = panelOf(id)[0];
        commit(id, seated, RESULT);
        why = abi.encodeWithSelector(ICourt.VoteWrongStage.selector, id, seated, SeatStage.Committed);
        refusedAt(seated, address(court), call_, why, "a mediator voted twice");
    }

    /// Submits and disputes so many seconds later, draws by a hash that is always the same, and takes it all back.
    function _drawnFor(uint64 id, uint256 submit, uint256 wait) private returns (bytes32 panel) {
        (uint256 snapshot, uint256 now_) = (vm.snapshotState(), clock());
        pass(submit);
        vm.prank(provider);
        sublet.submitJob(id, RESULT, USED);
        pass(wait);
        vm.prank(renter);
        court.dispute(id);
        uint256 decides = height() + 2;
        mine(3);
        vm.setBlockhash(decides, keccak256("decides"));
        court.draw(id);
        panel = keccak256(abi.encode(panelOf(id)));
        vm.revertToState(snapshot);
        vm.warp(now_);
    }

    /// Draws at `time` by `by`, tells the panel, and takes it all back.
    function _drawnAt(uint64 id, uint256 time, address by) private returns (bytes32 panel) {
        (uint256 snapshot, uint256 now_) = (vm.snapshotState(), clock());
        vm.warp(time);
        vm.prank(by);
        court.draw(id);
        panel = keccak256(abi.encode(panelOf(id)));
        vm.revertToState(snapshot);
        vm.warp(now_);
    }
}
