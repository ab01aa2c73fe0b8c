// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobEnd, JobState, Kind, Offer, Order, Verdict} from "../src/Types.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {CourtFixture} from "./base/CourtFixture.sol";

/// @notice Where every unit goes in each verdict: both parties, the solver, each mediator, and what the court keeps.
contract VerdictsTest is CourtFixture {
    int256 private constant COST = 5_000_000_035;
    int256 private constant Q = 1_800_000_012_600;
    int256 private constant F = 77_777;
    int256 private constant V = 100_000_000_001;
    /// A missing vote: half of V to the provider, the odd unit to the renter.
    int256 private constant TO_RENTER = 50_000_000_001;
    int256 private constant TO_PROVIDER = 50_000_000_000;

    function test_upheld_by_all() external {
        uint64 id = ruled(RESULT, RESULT, RESULT);
        _ended(id, JobEnd.Upheld);
        moved(-COST - F - 3 * V, COST, F, 0);
        for (uint256 i; i < 3; ++i) {
            mediatorHas(id, i, V, BOND);
        }
    }

    /// The minority loses only its fee, which goes back to the renter.
    function test_upheld_by_two_with_a_minority() external {
        uint64 id = ruled(RESULT, OTHER, RESULT);
        _ended(id, JobEnd.Upheld);
        moved(-COST - F - 2 * V, COST, F, 0);
        mediatorHas(id, 0, V, BOND);
        mediatorHas(id, 1, 0, BOND);
        mediatorHas(id, 2, V, BOND);
    }

    /// Whoever does not reveal pays both parties, also the one that won.
    function test_upheld_by_two_with_one_missing() external {
        for (uint256 i; i < 2; ++i) {
            mark();
            uint64 id = ruled(i == 0 ? SILENT : MUTE, RESULT, RESULT);
            _ended(id, JobEnd.Upheld);
            moved(-COST - F - 2 * V + TO_RENTER, COST + TO_PROVIDER, F, 0);
            eq(court.mediatorOf(panelOf(id)[0]).atStake, 0, "nothing at stake");
            vm.prank(provider);
            sublet.beat();
        }
    }

    function test_overturned_by_all() external {
        uint64 id = ruled(OTHER, OTHER, OTHER);
        _ended(id, JobEnd.Overturned);
        moved(Q - 3 * V, -Q, 0, 0);
        for (uint256 i; i < 3; ++i) {
            mediatorHas(id, i, V, BOND);
        }
    }

    function test_overturned_by_two_with_a_minority() external {
        uint64 id = ruled(OTHER, RESULT, OTHER);
        _ended(id, JobEnd.Overturned);
        moved(Q - 2 * V, -Q, 0, 0);
        mediatorHas(id, 1, 0, BOND);
    }

    function test_overturned_with_one_missing() external {
        uint64 id = ruled(OTHER, OTHER, MUTE);
        _ended(id, JobEnd.Overturned);
        moved(Q - 2 * V + TO_RENTER, -Q + TO_PROVIDER, 0, 0);
        mediatorHas(id, 2, 0, BOND - VOTE);
    }

    /// A right hash whose archive is not handed over is not a result.
    function test_withheld_data_overturns() external {
        uint64 id = ruled(0, 0, RESULT);
        _ended(id, JobEnd.Overturned);
        moved(Q - 2 * V, -Q, 0, 0);
        mediatorHas(id, 2, 0, BOND);
    }

    /// Half of the declared cost, the odd unit to the renter; everybody who revealed is paid.
    function test_inconclusive_when_all_differ() external {
        uint64 id = ruled(RESULT, OTHER, 0);
        _ended(id, JobEnd.Inconclusive);
        moved(-COST / 2 - 3 * V, COST / 2, 0, 0);
        for (uint256 i; i < 3; ++i) {
            mediatorHas(id, i, V, BOND);
        }
    }

    /// One vote is no majority of three, even if it is the only one.
    function test_inconclusive_with_one_vote() external {
        uint64 id = ruled(RESULT, SILENT, MUTE);
        _ended(id, JobEnd.Inconclusive);
        moved(-COST / 2 - V + 2 * TO_RENTER, COST / 2 + 2 * TO_PROVIDER, 0, 0);
        mediatorHas(id, 0, V, BOND);
        mediatorHas(id, 1, 0, BOND - VOTE);
        mediatorHas(id, 2, 0, BOND - VOTE);
    }

    function test_inconclusive_when_nobody_votes() external {
        uint64 id = ruled(SILENT, SILENT, SILENT);
        _ended(id, JobEnd.Inconclusive);
        moved(-COST / 2 + 3 * TO_RENTER, COST / 2 + 3 * TO_PROVIDER, 0, 0);
    }

    function test_events_tell_all() external {
        uint64 id = drawn();
        voteAll(id, OTHER, OTHER, SILENT);
        address[] memory panel = panelOf(id);
        vm.expectEmit(address(court));
        emit ICourt.MediatorSlashed(id, panel[2], uint128(uint256(TO_RENTER)), uint128(uint256(TO_PROVIDER)));
        vm.expectEmit(address(court));
        emit ICourt.DisputeResolved(id, Verdict.Overturned, OTHER, 2, 2 * VOTE, VOTE);
        vm.expectEmit(address(sublet));
        emit ISublet.JobEnded(id, JobEnd.Overturned, RESULT, 0, ESCROW + FEE, 0, PLEDGE, address(court), 0);
        court.resolve(id);
    }

    /// Two of five can be drawn: a panel of two, which still has to agree.
    function test_a_small_panel_needs_the_whole_majority() external {
        _retire(3);
        uint64 id = drawn();
        eq(panelOf(id).length, 2, "seats");
        bytes32[] memory votes = new bytes32[](2);
        (votes[0], votes[1]) = (RESULT, RESULT);
        voteAll(id, votes);
        court.resolve(id);
        _ended(id, JobEnd.Upheld);
        moved(-COST - F - 2 * V, COST, F, 0);
        mark();
        vm.prank(provider);
        sublet.beat();
        id = drawn();
        votes[1] = OTHER;
        voteAll(id, votes);
        court.resolve(id);
        _ended(id, JobEnd.Inconclusive);
        moved(-COST / 2 - 2 * V, COST / 2, 0, 0);
    }

    /// Fewer than a majority can be drawn: over at the draw, nobody is paid, the fees go back.
    function test_too_small_an_electorate_is_inconclusive_at_once() external {
        for (uint256 left = 2; left != 0;) {
            --left;
            _retire(mediators.length - left);
            mark();
            uint64 id = disputed();
            eq(court.disputeOf(id).electorate, left, "electorate");
            mine(3);
            vm.expectEmit(address(court));
            emit ICourt.DisputeResolved(id, Verdict.Inconclusive, 0, 0, 0, FEES);
            court.draw(id);
            _ended(id, JobEnd.Inconclusive);
            moved(-COST / 2, COST / 2, 0, 0);
        }
    }

    /// Electorates fixed at the same time may seat a mediator on more panels than its bond pays for: it loses what it
    /// has.
    function test_a_bond_pays_what_it_can() external {
        address[] memory members = ascending("lone", 3);
        uint64 lone = newSet(members, 3, VOTE);
        for (uint256 i; i < 3; ++i) {
            register(members[i], VOTE + VOTE / 2);
        }
        (uint64 a, uint64 b) = (_exact(lone, 5), _exact(lone, 5));
        vm.startPrank(renter);
        court.dispute(a);
        court.dispute(b);
        vm.stopPrank();
        mine(3);
        court.draw(a);
        court.draw(b);
        eq(court.mediatorOf(members[0]).atStake, 2 * VOTE, "more at stake than there is");
        vm.warp(court.disputeOf(a).commitBy + 1);
        mark();
        court.resolve(a);
        eq(court.mediatorOf(members[0]).bond, VOTE / 2, "one vote less");
        court.resolve(b);
        eq(court.mediatorOf(members[0]).bond, 0, "nothing left");
        int256 half = V / 2 / 2;
        moved(
            2 * int256(uint256(ESCROW)) - COST / 2 * 2 + 2 * F + 6 * V + 3 * (TO_RENTER + V / 2 - half),
            2 * Q + COST / 2 * 2 + 3 * (TO_PROVIDER + half),
            0,
            0
        );
        // Nothing is left to withdraw, and whoever wants to go on posts anew.
        vm.startPrank(members[0]);
        vm.expectRevert();
        court.retireMediator();
        court.registerMediator(keccak256("again"), VOTE);
        vm.stopPrank();
        eq(court.mediatorOf(members[0]).bond, VOTE, "a new bond");
    }

    /// A token that pays some accounts no more, here none at all, blocks no verdict: nothing is paid out, only
    /// credited.
    function test_a_token_that_blocks_accounts_blocks_no_verdict() external {
        vm.mockCallRevert(address(token), abi.encodeWithSelector(token.transfer.selector), "blocked");
        vm.mockCallRevert(address(token), abi.encodeWithSelector(token.transferFrom.selector), "blocked");
        uint64 id = ruled(OTHER, OTHER, SILENT);
        _ended(id, JobEnd.Overturned);
        moved(Q - 2 * V + TO_RENTER, -Q + TO_PROVIDER, 0, 0);
        vm.prank(renter);
        vm.expectRevert("blocked");
        sublet.withdraw(1);
    }

    /// Any panel, any votes, any cost: all money is where the rules say, computed anew here.
    /// forge-config: default.fuzz.runs = 10000
    function testFuzz_every_verdict(uint8 size, uint256 dice, uint32 used, uint96 price, uint96 fee) external {
        Case memory c;
        c.panelSize = uint8(bound(size, 0, 2)) * 2 + 1;
        c.price = uint96(bound(price, 1_000, 1e12));
        c.pledge = uint256(c.price) * DURATION / 2;
        c.fee = uint96(bound(fee, 1, c.pledge / c.panelSize));
        c.cost = uint256(c.price) * (used < DURATION ? used : DURATION);
        uint64 five = newSet(mediators, c.panelSize, c.fee);
        for (uint256 i; i < 5; ++i) {
            _post(mediators[i], c.fee);
        }
        mark();
        uint64 id = _exactAt(five, used, c.price);
        vm.prank(renter);
        court.dispute(id);
        drawNow(id);
        bytes32[] memory votes = new bytes32[](c.panelSize);
        bytes32[5] memory all = [RESULT, OTHER, bytes32(0), SILENT, MUTE];
        for (uint256 i; i < votes.length; ++i) {
            // Three of four agree with the first choice, so that every verdict is common.
            uint256 roll = uint256(keccak256(abi.encode(dice, i)));
            votes[i] = all[roll % 4 != 0 ? dice % 5 : (roll >> 8) % 5];
        }
        voteAll(id, votes);
        court.resolve(id);
        _check(id, c, votes);
    }

    struct Case {
        uint8 panelSize;
        uint96 price;
        uint96 fee;
        uint256 pledge;
        uint256 cost;
        int256 toRenter;
        int256 toProvider;
    }

    /// SETTLEMENT's words: at most one of the three can have a majority.
    function _check(uint64 id, Case memory c, bytes32[] memory votes) private view {
        uint256[3] memory count;
        uint256 revealed;
        bytes32[3] memory kinds = [RESULT, OTHER, bytes32(0)];
        for (uint256 i; i < votes.length; ++i) {
            if (votes[i] == SILENT || votes[i] == MUTE) {
                c.toProvider += int256(uint256(c.fee / 2));
                c.toRenter += int256(uint256(c.fee - c.fee / 2));
                continue;
            }
            ++revealed;
            for (uint256 k; k < 3; ++k) {
                if (votes[i] == kinds[k]) ++count[k];
            }
        }
        uint256 winner = 3;
        for (uint256 k; k < 3; ++k) {
            if (2 * count[k] > c.panelSize) winner = k;
        }
        uint256 paid = winner == 3 ? revealed : count[winner];
        if (winner == 0) {
            (c.toRenter, c.toProvider) = (c.toRenter - int256(c.cost) - F, c.toProvider + int256(c.cost));
        } else if (winner == 3) {
            (c.toRenter, c.toProvider) = (c.toRenter - int256(c.cost / 2), c.toProvider + int256(c.cost / 2));
        } else {
            (c.toRenter, c.toProvider) = (c.toRenter + int256(c.pledge), c.toProvider - int256(c.pledge));
        }
        moved(c.toRenter - int256(paid * c.fee), c.toProvider, winner == 0 ? F : int256(0), 0);
        jobIs(id, JobState.Ended, winner == 0 ? JobEnd.Upheld : winner == 3 ? JobEnd.Inconclusive : JobEnd.Overturned);
        address[] memory panel = panelOf(id);
        for (uint256 i; i < votes.length; ++i) {
            bool silent = votes[i] == SILENT || votes[i] == MUTE;
            bool pays = !silent && (winner == 3 || votes[i] == kinds[winner]);
            eq(delta(panel[i]), pays ? int256(uint256(c.fee)) : int256(0), "a mediator");
            eq(court.mediatorOf(panel[i]).bond, BOND + c.fee - (silent ? c.fee : 0), "its bond");
        }
        courtHolds(0);
    }

    function _ended(uint64 id, JobEnd reason) private view {
        jobIs(id, JobState.Ended, reason);
        courtHolds(0);
    }

    function _retire(uint256 count) private {
        for (uint256 i; i < count; ++i) {
            if (court.mediatorOf(mediators[i]).retiredAt != 0) continue;
            vm.prank(mediators[i]);
            court.retireMediator();
        }
    }

    function _post(address mediator, uint96 amount) private {
        vm.prank(mediator);
        court.registerMediator(keccak256("key"), amount);
    }

    function _exact(uint64 set_, uint32 used) private returns (uint64 id) {
        return _exactAt(set_, used, PRICE);
    }

    function _exactAt(uint64 set_, uint32 used, uint128 price) private returns (uint64 id) {
        Offer memory offer = offerOf(Kind.Job);
        Order memory order = exactOrder();
        (offer.mediatorSet, order.mediatorSet) = (set_, set_);
        (offer.price, order.maxPrice) = (price, price);
        id = open(offer, order);
        run(min(used, DURATION));
        vm.prank(provider);
        sublet.submitJob(id, RESULT, used);
    }
}
