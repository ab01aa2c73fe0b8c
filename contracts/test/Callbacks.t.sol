// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, JobEnd, JobState, Kind, Offer, Order, Settlement} from "../src/Types.sol";
import {IJobReceiver} from "../src/interfaces/IJobReceiver.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {CourtFixture} from "./base/CourtFixture.sol";
import {Gullible, Receiver} from "./mocks/Receivers.sol";

/// @notice A renter that is a contract is told how its job ended: last of all, once, with enough gas, and whatever it
/// does with that changes nothing.
contract CallbacksTest is CourtFixture {
    int256 private constant COST = 5_000_000_035;
    int256 private constant E = 3_600_000_025_200;
    int256 private constant Q = 1_800_000_012_600;
    int256 private constant F = 77_777;
    int256 private constant V = 100_000_000_001;

    Receiver private receiver;

    function setUp() public override {
        super.setUp();
        receiver = new Receiver(sublet);
        token.mint(address(receiver), FUNDS);
        receiver.fund(token, FUNDS);
        mark(address(receiver));
    }

    function test_told_in_every_end() external {
        uint64 id = _open(Class.None);
        vm.prank(provider);
        sublet.rejectJob(id);
        _told(id, JobEnd.Rejected, 0, 1);
        id = _open(Class.None);
        pass(START_WITHIN + DURATION + 1);
        vm.prank(stranger);
        sublet.expireJob(id);
        _told(id, JobEnd.Expired, 0, 2);
        id = _submitted(Class.None);
        receiver.act(address(sublet), abi.encodeCall(sublet.acceptJob, (id)));
        _told(id, JobEnd.Accepted, RESULT, 3);
        id = _submitted(Class.None);
        receiver.act(address(sublet), abi.encodeCall(sublet.refuseJob, (id)));
        _told(id, JobEnd.Refused, RESULT, 4);
        id = _submitted(Class.None);
        pass(WINDOW + 1);
        sublet.finalizeJob(id);
        _told(id, JobEnd.Finalized, RESULT, 5);
        _told(_ruled(RESULT, RESULT, RESULT), JobEnd.Upheld, RESULT, 6);
        _told(_ruled(OTHER, OTHER, OTHER), JobEnd.Overturned, RESULT, 7);
        _told(_ruled(OTHER, RESULT, 0), JobEnd.Inconclusive, RESULT, 8);
    }

    /// A plain account may wish for it, and its signature settles: there is nobody to tell.
    function test_a_plain_account_is_no_obstacle() external {
        Order memory o = orderOf(Kind.Job);
        vm.prank(renter);
        orders.placeOrder(o, "", true);
        uint64 id = _openPlaced(o);
        bytes memory sig = acceptance(id, RESULT, PRICE);
        vm.expectEmit(address(sublet));
        emit ISublet.JobCalledBack(id, true);
        vm.prank(provider);
        sublet.settleJob(id, RESULT, PRICE, sig);
        jobIs(id, JobState.Ended, JobEnd.Settled);
    }

    /// The contract accepts any signature: whoever opens its placed order with one takes its callback away, it thinks.
    function test_stripping_a_callback() external {
        Gullible gullible = new Gullible(sublet);
        token.mint(address(gullible), FUNDS);
        gullible.fund(token, FUNDS);
        Order memory o = orderOf(Kind.Job);
        o.renter = address(gullible);
        gullible.place(o, "", true);
        Offer memory offer = offerOf(Kind.Job);
        bytes memory a = sign(offer);
        vm.prank(solver);
        uint64 id = sublet.open(offer, a, o, "anything");
        yes(lens.job(id).callback, "attack worked: a signature strips an order of its callback");
        vm.prank(provider);
        sublet.rejectJob(id);
        eq(gullible.calls(), 1, "told");
    }

    function test_nobody_is_told_without_the_wish() external {
        Order memory o = orderOf(Kind.Job);
        o.renter = address(receiver);
        receiver.place(o, "", false);
        uint64 id = _openPlaced(o);
        vm.prank(provider);
        sublet.rejectJob(id);
        eq(receiver.calls(), 0, "calls");
    }

    function test_it_may_fail_in_any_way() external {
        Receiver.Mood[4] memory moods = [
            Receiver.Mood.Reverts, Receiver.Mood.BurnsAllGas, Receiver.Mood.ReturnsABomb, Receiver.Mood.RevertsWithABomb
        ];
        for (uint256 i; i < moods.length; ++i) {
            mark();
            mark(address(receiver));
            receiver.be(moods[i]);
            uint64 id = _submitted(Class.None);
            pass(WINDOW + 1);
            vm.expectEmit(address(sublet));
            emit ISublet.JobCalledBack(id, moods[i] == Receiver.Mood.ReturnsABomb);
            uint256 before = gasleft();
            sublet.finalizeJob(id);
            // The cap, the rest of the call, and no copy of what came back.
            atMost(before - gasleft(), sublet.CALLBACK_GAS() + 60_000, "gas");
            jobIs(id, JobState.Ended, JobEnd.Finalized);
            moved(0, COST, F, 0);
            eq(delta(address(receiver)), -COST - F, "paid as any other");
            vm.prank(provider);
            sublet.beat();
        }
        eq(receiver.calls(), 0, "nothing remembered");
    }

    /// In its callback the renter finds the job ended and its money there: it may spend that, and end nothing twice.
    function test_calling_back_in_changes_nothing() external {
        bytes[6] memory calls = [
            abi.encodeCall(sublet.acceptJob, (1)),
            abi.encodeCall(sublet.refuseJob, (1)),
            abi.encodeCall(sublet.finalizeJob, (1)),
            abi.encodeCall(sublet.expireJob, (1)),
            abi.encodeCall(court.dispute, (1)),
            abi.encodeCall(court.resolve, (1))
        ];
        for (uint256 i; i < calls.length; ++i) {
            uint256 snapshot = vm.snapshotState();
            uint64 id = _submitted(Class.None);
            eq(id, 1, "the job that is called about");
            receiver.callBackWith(i < 4 ? address(sublet) : address(court), calls[i]);
            pass(WINDOW + 1);
            sublet.finalizeJob(id);
            eq(receiver.calls(), 1, "called once");
            yes(!receiver.answered(), "and refused itself");
            moved(0, COST, F, 0);
            eq(delta(address(receiver)), -COST - F, "paid as any other");
            vm.revertToState(snapshot);
        }
    }

    function test_money_is_there_when_it_is_told() external {
        uint64 id = _open(Class.None);
        uint128 all = FUNDS;
        receiver.callBackWith(address(sublet), abi.encodeCall(sublet.withdraw, (all)));
        vm.prank(provider);
        sublet.rejectJob(id);
        yes(receiver.answered(), "withdrawn in the callback");
        eq(token.balanceOf(address(receiver)), FUNDS, "all of it");
    }

    /// Also when the court rules: every mediator is paid and every seat free before the renter hears of it.
    function test_the_court_is_done_when_it_is_told() external {
        uint64 id = _submitted(Class.Exact);
        receiver.act(address(court), abi.encodeCall(court.dispute, (id)));
        drawNow(id);
        voteAll(id, OTHER, OTHER, OTHER);
        receiver.callBackWith(address(court), abi.encodeCall(court.resolve, (id)));
        court.resolve(id);
        yes(!receiver.answered(), "resolved already");
        jobIs(id, JobState.Ended, JobEnd.Overturned);
        moved(0, -Q, 0, 0);
        eq(delta(address(receiver)), Q - 3 * V, "all of it, once");
        courtHolds(0);
    }

    /// Whoever ends the job brings the callback's gas, or ends nothing: the renter always gets its full measure.
    function test_starving_is_refused() external {
        uint64 id = _submitted(Class.None);
        pass(WINDOW + 1);
        bool ended;
        uint256 refusals;
        for (uint256 gas = 40_000; !ended; gas += 500) {
            bytes memory why;
            (ended, why) = address(sublet).call{gas: gas}(abi.encodeCall(sublet.finalizeJob, (id)));
            if (ended) break;
            jobIs(id, JobState.Submitted, JobEnd.None);
            if (bytes4(why) == ISublet.JobCallbackGas.selector) ++refusals;
        }
        eq(receiver.calls(), 1, "attack worked: the job ended and its renter was not told");
        // What its own entry costs is all that is missing.
        atMost(sublet.CALLBACK_GAS() - 1_000, receiver.lastGas(), "attack worked: told with too little gas");
        yes(refusals > 100, "said why");
        atMost(receiver.lastGas(), sublet.CALLBACK_GAS(), "and no more than the cap");
    }

    /// The same through the court, whose own calls take their share on the way.
    function test_starving_is_refused_in_court() external {
        uint64 id = _submitted(Class.Exact);
        receiver.act(address(court), abi.encodeCall(court.dispute, (id)));
        drawNow(id);
        voteAll(id, RESULT, RESULT, RESULT);
        bool ended;
        uint256 refusals;
        for (uint256 gas = 100_000; !ended; gas += 2_000) {
            bytes memory why;
            (ended, why) = address(court).call{gas: gas}(abi.encodeCall(court.resolve, (id)));
            if (!ended) jobIs(id, JobState.Disputed, JobEnd.None);
            if (bytes4(why) == ISublet.JobCallbackGas.selector) ++refusals;
        }
        yes(refusals > 20, "said why");
        eq(receiver.calls(), 1, "called");
        atMost(sublet.CALLBACK_GAS() - 1_000, receiver.lastGas(), "gas at its start");
        courtHolds(0);
    }

    /// A hostile callback costs a batch its own gas and no other row.
    function test_in_a_batch_it_spoils_no_other_row() external {
        receiver.be(Receiver.Mood.BurnsAllGas);
        Order memory o = orderOf(Kind.Job);
        vm.prank(renter);
        orders.placeOrder(o, "", true);
        uint64 a = _openPlaced(o);
        uint64 b = openJob();
        Settlement[] memory rows = new Settlement[](2);
        rows[0] = Settlement(a, RESULT, PRICE, acceptance(a, RESULT, PRICE));
        rows[1] = Settlement(b, RESULT, PRICE, acceptance(b, RESULT, PRICE));
        vm.prank(provider);
        sublet.settleJobs(rows);
        jobIs(a, JobState.Ended, JobEnd.Settled);
        jobIs(b, JobState.Ended, JobEnd.Settled);
    }

    function _open(Class class) private returns (uint64) {
        vm.prank(provider);
        sublet.beat();
        Order memory o = class == Class.Exact ? exactOrder() : orderOf(Kind.Job);
        o.renter = address(receiver);
        receiver.place(o, "", true);
        return _openPlaced(o);
    }

    function _openPlaced(Order memory o) private returns (uint64 id) {
        Offer memory offer = offerOf(Kind.Job);
        bytes memory a = sign(offer);
        vm.prank(solver);
        id = sublet.open(offer, a, o, "");
        (, bool callback) = orders.placed(sublet.hashOrder(o));
        yes(lens.job(id).callback == callback, "as wished");
    }

    function _submitted(Class class) private returns (uint64 id) {
        id = _open(class);
        pass(USED);
        vm.prank(provider);
        sublet.submitJob(id, RESULT, USED);
    }

    function _ruled(bytes32 a, bytes32 b, bytes32 c) private returns (uint64 id) {
        id = _submitted(Class.Exact);
        receiver.act(address(court), abi.encodeCall(court.dispute, (id)));
        drawNow(id);
        voteAll(id, a, b, c);
        court.resolve(id);
    }

    function _told(uint64 id, JobEnd reason, bytes32 hash, uint256 calls) private view {
        jobIs(id, JobState.Ended, reason);
        eq(receiver.calls(), calls, "calls");
        eq(receiver.lastJob(), id, "job");
        eq(uint256(receiver.lastReason()), uint256(reason), "reason");
        eq(receiver.lastHash(), hash, "hash");
    }
}
