// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobState, Kind, LeaseState} from "../../src/Types.sol";
import {CourtActs} from "./CourtActs.sol";

/// @notice The way out of every agreement and every bond for one account alone, all others having vanished. Tried in a call
/// that always reverts, so that nothing of it stays.
abstract contract Exits is CourtActs {
    error Left(bool out, uint256 took, string where);

    /// Longest way out, from what the renter signed: the time to start and then, of a lease, a silence to be sure of; of a
    /// job its run, its window, and a panel's two windows.
    function bound(uint64 id) public view returns (uint256) {
        Agreement storage g = _agreements[id];
        if (g.kind == Kind.Lease) return g.maxStartWithin + FAULT_AFTER + 2;
        return g.maxStartWithin + 2 * g.duration + g.window + COMMIT_SLACK + REVEAL_WINDOW + 4;
    }

    /// The longest of all bounds, from what orders of this world say at most; none in an extreme one.
    function longestBound() external view returns (uint256) {
        if (extreme) return type(uint256).max;
        return LATEST + 2 * uint256(LONGEST) + WIDEST + COMMIT_SLACK + REVEAL_WINDOW + 4;
    }

    /// Whether `alone` gets out of agreement `id`, and every account then its money; `paused` says whether `open` is.
    function leaves(uint64 id, address alone, bool paused)
        external
        returns (bool out, uint256 took, string memory where)
    {
        (uint256 time, uint256 block_) = (clock(), height());
        try this.goOut(id, alone, paused) {}
        catch (bytes memory answer) {
            if (bytes4(answer) == Left.selector) {
                (out, took, where) = abi.decode(_tail(answer), (bool, uint256, string));
            } else {
                where = "a call of the way out was refused";
            }
        }
        vm.warp(time);
        vm.roll(block_);
    }

    /// Always reverts, with what was found.
    function goOut(uint64 id, address alone, bool paused) external {
        if (paused) _pause();
        uint256 from = clock();
        Agreement storage g = _agreements[id];
        if (g.kind == Kind.Lease) _leaveLease(id, alone);
        else _leaveJob(id, alone);
        uint256 took = clock() - from;
        bool lease = lens.lease(id).state == LeaseState.Ended;
        if (!lease && lens.job(id).state != JobState.Ended) revert Left(false, took, "the agreement is not over");
        if (!_emptied(alone)) revert Left(false, took, "the money stays inside");
        for (uint256 i; i < ACTORS; ++i) {
            if (!_emptied(_who[i])) revert Left(false, took, "somebody's money stays inside");
        }
        revert Left(true, took, "");
    }

    /// Longest way out of a bond: the longest seat on a panel, whoever ordered the job, and then the bond's own time.
    uint256 public constant UNBONDED_WITHIN = MAX_EXACT + COMMIT_SLACK + REVEAL_WINDOW + UNBONDING + 4;

    /// Whether a mediator or gateway gets its bond back, with everybody else gone.
    function unbonds(address who, bool mediator, bool paused)
        external
        returns (bool out, uint256 took, string memory where)
    {
        (uint256 time, uint256 block_) = (clock(), height());
        try this.unbond(who, mediator, paused) {}
        catch (bytes memory answer) {
            if (bytes4(answer) == Left.selector) {
                (out, took, where) = abi.decode(_tail(answer), (bool, uint256, string));
            } else {
                where = "a call of the way out was refused";
            }
        }
        vm.warp(time);
        vm.roll(block_);
    }

    /// Always reverts, with what was found.
    function unbond(address who, bool mediator, bool paused) external {
        if (paused) _pause();
        uint256 from = clock();
        Bonded storage b = mediator ? _mediators[who] : _gateways[who];
        if (b.retiredAt == 0) {
            vm.prank(who);
            if (mediator) court.retireMediator();
            else gateways.retireGateway();
        }
        // Seats on panels end first; anybody can end them.
        for (uint64 id = 1; mediator && id <= _count; ++id) {
            if (_votes[id][who].seated && _disputes[id].stage == Case.Drawn) _leaveCourt(id, who);
        }
        uint256 bond = mediator ? court.mediatorOf(who).bond : gateways.gatewayOf(who).bond;
        uint256 before = sublet.freeOf(who);
        vm.warp(clock() + UNBONDING);
        // A bond that was slashed to nothing is nothing to get back.
        if (bond != 0) {
            vm.prank(who);
            if (mediator) court.withdrawBond();
            else gateways.withdrawBond();
        }
        bool whole = sublet.freeOf(who) == before + bond;
        revert Left(
            whole && _emptied(who),
            clock() - from,
            whole ? "the bond stays inside" : "another sum than the bond came back"
        );
    }

    /// The acts of a campaign that asks for this leave the guardian alone, so that there is one.
    function _pause() private {
        vm.prank(_guardian);
        sublet.pauseOpen(true);
        yes(sublet.openPaused(), "paused");
    }

    function _leaveLease(uint64 id, address alone) private {
        Agreement storage g = _agreements[id];
        bool open = lens.lease(id).state == LeaseState.Open;
        uint256 startBy = g.openedAt + g.startWithin;
        if (alone == g.renter || (alone == g.provider && !open)) {
            vm.prank(alone);
            if (open) sublet.cancelLease(id);
            else sublet.closeLease(id, type(uint128).max);
        } else if (alone == g.provider && clock() <= startBy) {
            vm.prank(alone);
            sublet.rejectLease(id);
        } else if (open) {
            _until(startBy + 1);
            vm.prank(alone);
            sublet.expireLease(id);
        } else {
            _until(_providers[g.provider].lastBeat + FAULT_AFTER + 1);
            vm.prank(alone);
            sublet.faultLease(id);
        }
    }

    function _leaveJob(uint64 id, address alone) private {
        Agreement storage g = _agreements[id];
        if (g.stage == Stage.Disputed) return _leaveCourt(id, alone);
        uint256 startBy = g.openedAt + g.startWithin;
        if (g.stage == Stage.Open && alone == g.provider && clock() <= startBy) {
            vm.prank(alone);
            sublet.rejectJob(id);
        } else if (g.stage == Stage.Open) {
            _until(startBy + g.duration + 1);
            vm.prank(alone);
            sublet.expireJob(id);
        } else {
            _until(g.submittedAt + g.window + 1);
            vm.prank(alone);
            sublet.finalizeJob(id);
        }
    }

    /// Nobody votes any more.
    function _leaveCourt(uint64 id, address alone) private {
        Dispute storage d = _disputes[id];
        if (d.stage == Case.Armed) {
            uint256 from = height() > d.armedAt + DECIDES + REMEMBERED ? height() : d.armedAt;
            if (from == height() && from != d.armedAt) {
                vm.prank(alone);
                court.draw(id);
            }
            if (height() <= from + DECIDES) vm.roll(from + DECIDES + 1);
            vm.prank(alone);
            court.draw(id);
            if (lens.job(id).state == JobState.Ended) return;
        }
        _until(uint256(court.disputeOf(id).commitBy) + 1);
        _until(uint256(court.disputeOf(id).revealBy) + 1);
        vm.prank(alone);
        court.resolve(id);
    }

    function _until(uint256 time) private {
        if (clock() < time) vm.warp(time);
    }

    /// All that `who` has goes out, to itself or, if the token refuses it, to another account.
    function _emptied(address who) private returns (bool) {
        address to = coin.blocked(who) ? address(0xE) : who;
        while (sublet.freeOf(who) != 0) {
            uint256 most = min(sublet.freeOf(who), type(uint128).max);
            vm.prank(who);
            (bool ok,) = address(sublet).call(abi.encodeCall(sublet.withdrawTo, (to, uint128(most))));
            if (!ok) return false;
        }
        return true;
    }
}
