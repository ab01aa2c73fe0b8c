// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Court} from "../src/Court.sol";
import {DisputeStage, DisputeView, JobEnd, JobState, Kind, Offer, Order} from "../src/Types.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {ITrunk} from "../src/interfaces/ITrunk.sol";
import {CourtFixture} from "./base/CourtFixture.sol";

/// @notice The court's draw, to be fed with any electorate and any hash.
contract Drawer is Court {
    constructor() Court(ITrunk(address(0))) {}

    function pick(uint64 electorate, uint256 most, bytes32 seed) external pure returns (uint256[] memory) {
        return _pick(electorate, most, seed);
    }
}

/// @notice Nobody steers the panel (I10): who can be drawn is fixed with the dispute, who is drawn by a later block.
contract PanelsTest is CourtFixture {
    uint256 private constant MEMBERS = 5;

    /// What a mediator or a party can still do between the dispute and the draw, and that none of it matters.
    function test_the_electorate_is_fixed_with_the_dispute() external {
        address late = ascending("late", 1)[0];
        fund(late);
        address[] memory members = _with(late);
        uint64 six = newSet(members, 5, VOTE);
        uint64 id = _exactOf(six);
        vm.prank(renter);
        court.dispute(id);
        eq(court.disputeOf(id).electorate, MEMBERS, "without the late one");
        vm.prank(late);
        court.registerMediator(keccak256("late"), BOND);
        vm.prank(mediators[0]);
        court.retireMediator();
        vm.prank(mediators[1]);
        court.registerMediator(keccak256("other key"), 5 * BOND);
        vm.prank(mediators[2]);
        court.leaveSet(six);
        mine(3);
        court.draw(id);
        address[] memory panel = panelOf(id);
        eq(panel.length, MEMBERS, "all five, and nobody else");
        for (uint256 i; i < MEMBERS; ++i) {
            yes(panel[i] != late, "not the late one");
        }
        // What was at stake when the dispute was raised decides, not what is now.
        vm.prank(mediators[0]);
        court.registerMediator(keccak256("back"), 0);
    }

    /// The same hash and electorate draw the same panel, whoever draws, whenever it may be drawn.
    function test_who_draws_and_when_changes_nothing() external {
        uint64 id = disputed();
        bytes32 hash = keccak256("of the block that decides");
        uint256 decides = court.disputeOf(id).drawFrom - 1;
        Drawer drawer = new Drawer();
        uint256[] memory expected = drawer.pick(31, PANEL, keccak256(abi.encode(hash, id)));
        uint256[3] memory blocks = [decides + 1, decides + 100, decides + 256];
        for (uint256 i; i < blocks.length; ++i) {
            uint256 snapshot = vm.snapshotState();
            vm.roll(blocks[i]);
            vm.setBlockhash(decides, hash);
            vm.prank(i == 0 ? renter : i == 1 ? provider : stranger);
            court.draw(id);
            address[] memory panel = panelOf(id);
            for (uint256 j; j < PANEL; ++j) {
                eq(panel[j], mediators[expected[j]], "as the hash says");
            }
            vm.revertToState(snapshot);
        }
    }

    /// The chain forgets hashes after 256 blocks: a new block decides, and who can be drawn is fixed anew.
    function test_draws_late_arms_again() external {
        uint64 id = disputed();
        vm.prank(mediators[0]);
        court.retireMediator();
        vm.roll(court.disputeOf(id).drawUntil + 1);
        vm.expectEmit(address(court));
        emit ICourt.DisputeArmed(id, uint64(height()), 30);
        court.draw(id);
        stageIs(id, DisputeStage.Armed);
        DisputeView memory v = court.disputeOf(id);
        eq(v.electorate, 4, "without who retired");
        eq(v.drawFrom, height() + 3, "a new block");
        vm.expectRevert(abi.encodeWithSelector(ICourt.DisputeTooEarly.selector, id, height() + 3));
        court.draw(id);
        vm.roll(v.drawUntil);
        court.draw(id);
        stageIs(id, DisputeStage.Commit);
        for (uint256 i; i < PANEL; ++i) {
            yes(v.panel.length == 0 && panelOf(id)[i] != mediators[0], "without who retired");
        }
        voteAll(id, RESULT, RESULT, RESULT);
        court.resolve(id);
        jobIs(id, JobState.Ended, JobEnd.Upheld);
        courtHolds(0);
    }

    /// Joining counts from the next dispute on, leaving likewise, member by member.
    function test_who_joined_can_be_drawn() external {
        uint64 some = court.createMediatorSet(mediators, 3, VOTE);
        _electorateIs(some, 0);
        vm.prank(mediators[1]);
        court.joinSet(some);
        vm.prank(mediators[4]);
        court.joinSet(some);
        eq(court.mediatorSet(some).joined, 18, "members 1 and 4");
        _electorateIs(some, 2);
        vm.prank(mediators[1]);
        court.leaveSet(some);
        _electorateIs(some, 1);
        eq(court.mediatorSet(set).joined, 31, "another set's are its own");
    }

    function _electorateIs(uint64 set_, uint256 count) private {
        uint64 id = _exactOf(set_);
        vm.prank(renter);
        court.dispute(id);
        eq(court.disputeOf(id).electorate, count, "members that joined");
        drawNow(id);
    }

    /// A party that is a mediator itself hears no job of its own.
    function test_no_party_is_drawn() external {
        address[] memory members = _with(renter);
        members = _insert(members, provider);
        uint64 seven = newSet(members, 5, VOTE);
        vm.prank(renter);
        court.registerMediator(keccak256("r"), BOND);
        vm.prank(provider);
        court.registerMediator(keccak256("p"), BOND);
        for (uint256 i; i < 20; ++i) {
            vm.prank(provider);
            sublet.beat();
            uint64 id = _exactOf(seven);
            vm.prank(renter);
            court.dispute(id);
            eq(court.disputeOf(id).electorate, MEMBERS, "neither party");
            mine(3);
            vm.setBlockhash(height() - 1, keccak256(abi.encode(i)));
            court.draw(id);
            address[] memory panel = panelOf(id);
            for (uint256 j; j < panel.length; ++j) {
                yes(panel[j] != renter && panel[j] != provider, "no party");
            }
            bytes32[] memory votes = new bytes32[](panel.length);
            voteAll(id, votes);
            court.resolve(id);
        }
    }

    /// Only bonds that could still lose a vote: what is at stake elsewhere does not count, to the unit.
    function test_only_free_bonds_can_be_drawn() external {
        address[] memory members = ascending("poor", 3);
        uint64 poor = newSet(members, 3, VOTE);
        register(members[0], 2 * VOTE);
        register(members[1], 2 * VOTE - 1);
        register(members[2], VOTE - 1);
        uint64 a = _exactOf(poor);
        vm.prank(renter);
        court.dispute(a);
        eq(court.disputeOf(a).electorate, 2, "one has too little");
        drawNow(a);
        uint64 b = _exactOf(poor);
        vm.prank(renter);
        court.dispute(b);
        eq(court.disputeOf(b).electorate, 1, "another has its only vote at stake");
        vm.warp(court.disputeOf(a).commitBy + 1);
        court.resolve(a);
        eq(court.mediatorOf(members[0]).atStake, 0, "free again");
        eq(court.mediatorOf(members[0]).bond, VOTE, "and one vote less");
    }

    /// Whatever the hash: as many as asked for or as there are, all different, all of the electorate.
    function testFuzz_a_draw_is_a_sample(uint64 electorate, uint256 most, bytes32 seed) external {
        most = bound(most, 1, 15);
        uint256[] memory picked = new Drawer().pick(electorate, most, seed);
        uint256 count;
        for (uint256 i; i < 64; ++i) {
            count += electorate >> i & 1;
        }
        eq(picked.length, most < count ? most : count, "length");
        uint256 seen;
        for (uint256 i; i < picked.length; ++i) {
            yes(electorate >> picked[i] & 1 == 1, "of the electorate");
            yes(seen >> picked[i] & 1 == 0, "once");
            seen |= 1 << picked[i];
        }
    }

    /// Every member gets its share of seats, wherever it stands in the set.
    function test_seats_are_shared_evenly() external {
        Drawer drawer = new Drawer();
        uint64 electorate = 0x8000_0000_0001_0421;
        uint256[64] memory seats;
        for (uint256 i; i < 2_000; ++i) {
            uint256[] memory picked = drawer.pick(electorate, 2, keccak256(abi.encode(i)));
            (++seats[picked[0]], ++seats[picked[1]]);
        }
        for (uint256 i; i < 64; ++i) {
            if (electorate >> i & 1 == 0) continue;
            // 4,000 seats among five: 800 each, give or take five standard deviations.
            atMost(seats[i], 910, "too many");
            atMost(690, seats[i], "too few");
        }
    }

    /// The largest set and the largest panel fit a block by far.
    function test_the_largest_court_works() external {
        address[] memory members = ascending("many", 64);
        for (uint256 i; i < 64; ++i) {
            register(members[i], 3);
        }
        uint64 id = _exactOf(newSet(members, 15, 3));
        vm.prank(renter);
        court.dispute(id);
        eq(court.disputeOf(id).electorate, 64, "all of them");
        drawNow(id);
        bytes32[] memory votes = new bytes32[](15);
        for (uint256 i; i < 15; ++i) {
            votes[i] = i % 2 == 0 ? OTHER : RESULT;
        }
        voteAll(id, votes);
        court.resolve(id);
        jobIs(id, JobState.Ended, JobEnd.Overturned);
    }

    function _with(address one) private view returns (address[] memory) {
        return _insert(mediators, one);
    }

    function _insert(address[] memory members, address one) private pure returns (address[] memory more) {
        more = new address[](members.length + 1);
        uint256 place;
        while (place < members.length && members[place] < one) ++place;
        for (uint256 i; i < more.length; ++i) {
            more[i] = i < place ? members[i] : i == place ? one : members[i - 1];
        }
    }

    function _exactOf(uint64 set_) private returns (uint64 id) {
        Offer memory offer = offerOf(Kind.Job);
        Order memory order = exactOrder();
        (offer.mediatorSet, order.mediatorSet) = (set_, set_);
        id = open(offer, order);
        vm.prank(provider);
        sublet.submitJob(id, RESULT, USED);
    }
}
