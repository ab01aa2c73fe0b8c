// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {DisputeStage, SeatView} from "../../src/Types.sol";
import {Fixture} from "./Fixture.sol";

/// @notice A market whose five mediators are registered, and short ways to every stage of a dispute.
abstract contract CourtFixture is Fixture {
    /// Ten votes.
    uint128 internal constant BOND = 1_000_000_000_010;
    /// A vote for another result than the submitted one.
    bytes32 internal constant OTHER = keccak256("other");
    /// A vote that is never committed, and one that is committed and not revealed.
    bytes32 internal constant SILENT = keccak256("silent");
    bytes32 internal constant MUTE = keccak256("mute");

    function setUp() public virtual override {
        super.setUp();
        for (uint256 i; i < mediators.length; ++i) {
            register(mediators[i], BOND);
        }
        join(set, mediators);
        mark();
    }

    function mark() internal virtual override {
        super.mark();
        for (uint256 i; i < mediators.length; ++i) {
            mark(mediators[i]);
        }
    }

    /// Funds an account and registers it as mediator.
    function register(address mediator, uint128 bond) internal {
        fund(mediator);
        vm.prank(mediator);
        court.registerMediator(keccak256(abi.encode(mediator)), bond);
    }

    /// A set whose members all agree to serve.
    function newSet(address[] memory members, uint8 panelSize, uint96 fee) internal returns (uint64 set_) {
        set_ = court.createMediatorSet(members, panelSize, fee);
        join(set_, members);
    }

    function join(uint64 set_, address[] memory members) internal {
        for (uint256 i; i < members.length; ++i) {
            vm.prank(members[i]);
            court.joinSet(set_);
        }
    }

    function disputed() internal returns (uint64 id) {
        id = exactJob();
        vm.prank(renter);
        court.dispute(id);
    }

    function drawn() internal returns (uint64 id) {
        id = disputed();
        drawNow(id);
    }

    function drawNow(uint64 id) internal {
        mine(3);
        court.draw(id);
    }

    /// Who sits on the panel of `id`.
    function panelOf(uint64 id) internal view returns (address[] memory panel) {
        SeatView[] memory seats = court.disputeOf(id).panel;
        panel = new address[](seats.length);
        for (uint256 i; i < seats.length; ++i) {
            panel[i] = seats[i].mediator;
        }
    }

    function commit(uint64 id, address mediator, bytes32 vote) internal {
        bytes32 commitment = court.commitmentOf(id, mediator, vote, saltOf(mediator));
        vm.prank(mediator);
        court.commitVote(id, commitment);
    }

    function reveal(uint64 id, address mediator, bytes32 vote) internal {
        vm.prank(mediator);
        court.revealVote(id, vote, saltOf(mediator));
    }

    function saltOf(address mediator) internal pure returns (bytes32) {
        return keccak256(abi.encode("salt", mediator));
    }

    /// The whole way from the draw until `resolve` may be called: member i of the panel votes `votes[i]`.
    function voteAll(uint64 id, bytes32[] memory votes) internal {
        address[] memory panel = panelOf(id);
        for (uint256 i; i < panel.length; ++i) {
            if (votes[i] != SILENT) commit(id, panel[i], votes[i]);
        }
        if (court.disputeOf(id).stage == DisputeStage.Commit) vm.warp(court.disputeOf(id).commitBy + 1);
        for (uint256 i; i < panel.length; ++i) {
            if (votes[i] != SILENT && votes[i] != MUTE) reveal(id, panel[i], votes[i]);
        }
        if (court.disputeOf(id).stage == DisputeStage.Reveal) vm.warp(court.disputeOf(id).revealBy + 1);
    }

    function voteAll(uint64 id, bytes32 a, bytes32 b, bytes32 c) internal {
        bytes32[] memory votes = new bytes32[](3);
        (votes[0], votes[1], votes[2]) = (a, b, c);
        voteAll(id, votes);
    }

    /// A dispute of three votes, resolved by a stranger.
    function ruled(bytes32 a, bytes32 b, bytes32 c) internal returns (uint64 id) {
        id = drawn();
        voteAll(id, a, b, c);
        vm.prank(stranger);
        court.resolve(id);
    }

    function stageIs(uint64 id, DisputeStage stage) internal view {
        eq(uint256(court.disputeOf(id).stage), uint256(stage), "stage");
    }

    /// What the panel's member `seat` won since `mark`, and what its bond is.
    function mediatorHas(uint64 id, uint256 seat, int256 won, uint256 bond) internal view {
        address mediator = panelOf(id)[seat];
        eq(delta(mediator), won, "won by a mediator");
        eq(court.mediatorOf(mediator).bond, bond, "its bond");
    }

    /// The court has its mediators' bonds and the fees of what it still hears, and not a unit more.
    function courtHolds(uint256 fees) internal view {
        uint256 bonds;
        for (uint256 i; i < mediators.length; ++i) {
            bonds += court.mediatorOf(mediators[i]).bond;
        }
        eq(sublet.freeOf(address(court)), bonds + fees, "held by the court");
    }
}
