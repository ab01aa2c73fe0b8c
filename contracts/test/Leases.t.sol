// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, LeaseEnd, LeaseState, Offer, Order} from "../src/Types.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {Fixture} from "./base/Fixture.sol";

/// @notice Every row of SETTLEMENT's lease table: who, when, and where each unit goes.
contract LeasesTest is Fixture {
    int256 private constant E = 3_600_000_025_200;
    int256 private constant Q = 1_800_000_012_600;
    int256 private constant F = 77_777;
    int256 private constant P = 1_000_000_007;

    function test_start_pays_the_solver_and_beats() external {
        uint64 id = openLease();
        pass(START_WITHIN);
        vm.prank(provider);
        sublet.startLease(id);
        moved(-E - F, -Q, F, 0);
        leaseIs(id, LeaseState.Active, LeaseEnd.None);
        eq(lens.lease(id).startedAt, clock(), "startedAt");
        eq(lens.lease(id).owedSeconds, 0, "nothing owed yet");
        eq(sublet.providerOf(provider).lastBeat, clock(), "a start is a beat");
    }

    function test_reject_gives_all_back() external {
        uint64 id = openLease();
        pass(START_WITHIN);
        vm.prank(provider);
        sublet.rejectLease(id);
        moved(0, 0, 0, 0);
        leaseIs(id, LeaseState.Ended, LeaseEnd.Rejected);
    }

    function test_start_and_reject_in_time_only() external {
        uint64 id = openLease();
        pass(START_WITHIN + 1);
        bytes memory late = abi.encodeWithSelector(ISublet.AgreementTooLate.selector, id, START + START_WITHIN);
        vm.startPrank(provider);
        vm.expectRevert(late);
        sublet.startLease(id);
        vm.expectRevert(late);
        sublet.rejectLease(id);
        vm.stopPrank();
    }

    function test_cancel_costs_the_minimum_charge() external {
        uint64 id = openLease();
        vm.prank(renter);
        sublet.cancelLease(id);
        int256 charge = P * int256(uint256(MIN_CHARGE));
        moved(-charge, charge, 0, 0);
        leaseIs(id, LeaseState.Ended, LeaseEnd.Cancelled);
    }

    function test_cancel_costs_at_most_the_escrow() external {
        Offer memory offer = offerOf(Kind.Lease);
        Order memory order = orderOf(Kind.Lease);
        offer.minCharge = order.maxMinCharge = DURATION + 1;
        uint64 id = open(offer, order);
        vm.prank(renter);
        sublet.cancelLease(id);
        moved(-E, E, 0, 0);
    }

    function test_expire_by_the_renter() external {
        uint64 id = openLease();
        pass(START_WITHIN);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AgreementTooEarly.selector, id, START + START_WITHIN + 1));
        sublet.expireLease(id);
        pass(1);
        vm.prank(renter);
        sublet.expireLease(id);
        moved(Q / 10, -(Q / 10), 0, 0);
        leaseIs(id, LeaseState.Ended, LeaseEnd.Expired);
    }

    function test_expire_by_a_stranger_earns_a_hundredth_of_the_penalty() external {
        uint64 id = openLease();
        pass(START_WITHIN + 1);
        vm.prank(stranger);
        sublet.expireLease(id);
        int256 reward = Q / 10 / 100;
        moved(Q / 10 - reward, -(Q / 10), 0, reward);
    }

    function test_settle_pays_uptime_only() external {
        uint64 id = activeLease();
        run(1_000);
        eq(lens.lease(id).owedSeconds, 1_000, "owed");
        vm.expectEmit();
        emit ISublet.LeaseSettled(id, 1_000, PRICE * 1_000);
        eq(sublet.settleLease(id), PRICE * 1_000, "returned");
        eq(sublet.settleLease(id), 0, "nothing twice");
        pass(sublet.FAULT_AFTER());
        uint256 gap = sublet.MAX_GAP();
        vm.prank(stranger);
        eq(sublet.settleLease(id), PRICE * gap, "silence counts up to one gap");
        vm.prank(provider);
        sublet.beat();
        eq(sublet.settleLease(id), 0, "the beat after it adds nothing");
        moved(-E - F, -Q + P * int256(1_000 + gap), F, 0);
        eq(lens.lease(id).paidSeconds, 1_000 + gap, "paidSeconds");
    }

    function test_settle_never_pays_more_than_was_bought() external {
        uint64 id = activeLease();
        run(DURATION + 5_000);
        eq(sublet.settleLease(id), ESCROW, "all of it");
        eq(lens.lease(id).escrow, 0, "empty");
        moved(-E - F, -Q + E, F, 0);
    }

    function test_top_up_settles_first_and_bills_no_gap() external {
        uint64 id = activeLease();
        run(DURATION + 2_000);
        vm.prank(stranger);
        sublet.topUpLease(id, 100);
        int256 more = 100 * P;
        int256 pledge = (E + more) / 2 - Q;
        moved(-E - F, E - Q - pledge, F, -more);
        eq(lens.lease(id).owedSeconds, 0, "the idle gap is not owed");
        eq(lens.lease(id).escrow, uint256(more), "all of the top-up is left");
        run(40);
        eq(sublet.settleLease(id), uint256(40 * P), "rent resumes");
        vm.prank(renter);
        sublet.closeLease(id, ANY);
        moved(-E - F + 60 * P, E + 40 * P, F, -more);
    }

    function test_top_up_limits() external {
        uint64 id = activeLease();
        vm.startPrank(renter);
        vm.expectRevert(abi.encodeWithSelector(ISublet.LeaseZeroSeconds.selector));
        sublet.topUpLease(id, 0);
        vm.expectRevert(abi.encodeWithSelector(ISublet.LeaseTooLong.selector, id, 2 * DURATION + 1, 2 * DURATION));
        sublet.topUpLease(id, DURATION + 1);
        sublet.topUpLease(id, DURATION);
        vm.expectRevert(
            abi.encodeWithSelector(
                ISublet.LeaseTooLong.selector, id, uint256(2 * DURATION) + type(uint32).max, 2 * DURATION
            )
        );
        sublet.topUpLease(id, type(uint32).max);
        vm.stopPrank();
        moved(-2 * E - F, -int256(uint256(2 * ESCROW) / 2), F, 0);
    }

    function test_top_up_needs_both_balances() external {
        uint64 id = activeLease();
        vm.prank(solver);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountShort.selector, solver, FEE, uint256(PRICE) * 100));
        sublet.topUpLease(id, 100);
        uint128 free = uint128(sublet.freeOf(provider));
        vm.prank(provider);
        sublet.withdraw(free);
        uint256 pledge = (ESCROW + uint256(PRICE) * 100) / 2 - PLEDGE;
        vm.prank(renter);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AccountShort.selector, provider, 0, pledge));
        sublet.topUpLease(id, 100);
    }

    function test_renter_closes_any_time() external {
        uint64 id = activeLease();
        run(1_000);
        vm.prank(renter);
        vm.expectEmit();
        emit ISublet.LeaseEnded(
            id, LeaseEnd.ClosedByRenter, PRICE * 1_000, ESCROW - PRICE * 1_000, PLEDGE, 0, renter, 0
        );
        sublet.closeLease(id, ANY);
        moved(-1_000 * P - F, 1_000 * P, F, 0);
        leaseIs(id, LeaseState.Ended, LeaseEnd.ClosedByRenter);
    }

    function test_renter_closing_early_pays_the_minimum_once() external {
        uint64 id = activeLease();
        run(50);
        sublet.settleLease(id);
        run(20);
        vm.prank(renter);
        sublet.closeLease(id, ANY);
        int256 charge = P * int256(uint256(MIN_CHARGE));
        moved(-charge - F, charge, F, 0);
        eq(lens.lease(id).paidSeconds, MIN_CHARGE, "paidSeconds");
    }

    function test_provider_closes_with_a_penalty_for_missing_notice() external {
        uint64 id = activeLease();
        run(100);
        vm.prank(provider);
        sublet.closeLease(id, ANY);
        int256 penalty = P * int256(uint256(NOTICE));
        moved(-100 * P - F + penalty, 100 * P - penalty, F, 0);
        leaseIs(id, LeaseState.Ended, LeaseEnd.ClosedByProvider);
    }

    function test_notice_lowers_the_penalty_to_nothing() external {
        uint64 id = activeLease();
        vm.startPrank(provider);
        sublet.giveNotice(id);
        vm.expectRevert(abi.encodeWithSelector(ISublet.LeaseNoticeAlreadyGiven.selector, id, START));
        sublet.giveNotice(id);
        vm.stopPrank();
        run(NOTICE - 1);
        vm.prank(provider);
        sublet.closeLease(id, ANY);
        int256 rent = P * int256(uint256(NOTICE - 1));
        moved(-rent - F + P, rent - P, F, 0);

        mark();
        id = activeLease();
        vm.prank(provider);
        sublet.giveNotice(id);
        run(NOTICE);
        vm.prank(provider);
        sublet.closeLease(id, ANY);
        rent += P;
        moved(-rent - F, rent, F, 0);
    }

    /// Given once it stays given, however long the lease goes on and whatever is bought.
    function test_notice_never_lapses() external {
        uint64 id = activeLease();
        vm.prank(provider);
        sublet.giveNotice(id);
        run(DURATION - 1);
        vm.prank(renter);
        sublet.topUpLease(id, DURATION);
        run(DURATION / 2);
        mark();
        vm.prank(provider);
        sublet.closeLease(id, 0);
        leaseIs(id, LeaseState.Ended, LeaseEnd.ClosedByProvider);
        // What was used since the top-up, what is left of it, and the whole pledge of twice the duration.
        moved(P * 1_801, P * 1_800 + 2 * int256(uint256(PLEDGE)), 0, 0);
    }

    /// The provider bears as much as it said, to the unit; a renter loses nothing by closing, so it may say zero.
    function test_a_close_bears_what_it_said() external {
        uint64 id = activeLease();
        uint128 penalty = PRICE * NOTICE;
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(ISublet.LeasePenaltyTooHigh.selector, id, penalty, penalty - 1));
        sublet.closeLease(id, penalty - 1);
        uint256 snapshot = vm.snapshotState();
        vm.prank(provider);
        sublet.closeLease(id, penalty);
        leaseIs(id, LeaseState.Ended, LeaseEnd.ClosedByProvider);
        vm.revertToState(snapshot);
        vm.prank(renter);
        sublet.closeLease(id, 0);
        leaseIs(id, LeaseState.Ended, LeaseEnd.ClosedByRenter);
    }

    /// Only while a beat vouches for the provider.
    function test_top_up_while_the_beat_is_fresh() external {
        uint64 id = activeLease();
        uint256 beat = clock();
        pass(sublet.MAX_GAP());
        sublet.settleLease(id);
        vm.prank(renter);
        sublet.topUpLease(id, 1);
        pass(1);
        vm.prank(renter);
        vm.expectRevert(abi.encodeWithSelector(ISublet.ProviderStale.selector, provider, beat));
        sublet.topUpLease(id, 1);
    }

    /// A pledge that a top-up would carry beyond what is kept is refused by name.
    function test_a_pledge_beyond_what_is_kept() external {
        Offer memory offer = offerOf(Kind.Lease);
        Order memory order = orderOf(Kind.Lease);
        (offer.price, offer.pledgeBps, offer.maxDuration) = (type(uint96).max, type(uint24).max, type(uint32).max);
        (order.maxPrice, order.duration) = (offer.price, type(uint32).max);
        uint256 pledge = uint256(offer.price) * order.duration * offer.pledgeBps / 10_000;
        bytes memory why =
            abi.encodeWithSelector(ISublet.MatchOutOfRange.selector, bytes32("pledge"), pledge, type(uint128).max);
        refuse(offer, order, why);
    }

    function test_penalty_is_at_most_the_pledge() external {
        Offer memory offer = offerOf(Kind.Lease);
        offer.notice = type(uint32).max;
        uint64 id = open(offer, orderOf(Kind.Lease));
        vm.startPrank(provider);
        sublet.startLease(id);
        sublet.closeLease(id, ANY);
        vm.stopPrank();
        moved(Q - F, -Q, F, 0);
    }

    function test_either_closes_a_lease_that_ran_out() external {
        address[2] memory by = [renter, provider];
        for (uint256 i; i < 2; ++i) {
            mark();
            uint64 id = activeLease();
            run(DURATION);
            vm.prank(by[i]);
            sublet.closeLease(id, ANY);
            moved(-E - F, E, F, 0);
            leaseIs(id, LeaseState.Ended, LeaseEnd.RanOut);
        }
    }

    function test_fault_pays_to_the_last_beat_only() external {
        uint64 id = activeLease();
        run(1_000);
        pass(sublet.FAULT_AFTER());
        uint256 from = clock() + 1;
        vm.expectRevert(abi.encodeWithSelector(ISublet.AgreementTooEarly.selector, id, from));
        sublet.faultLease(id);
        pass(1);
        vm.prank(stranger);
        sublet.faultLease(id);
        // The rest is worth more than the pledge, so the whole pledge goes.
        moved(-1_000 * P - F + Q - Q / 100, 1_000 * P - Q, F, Q / 100);
        leaseIs(id, LeaseState.Ended, LeaseEnd.Faulted);
    }

    function test_fault_penalty_is_at_most_the_rest() external {
        uint64 id = activeLease();
        run(3_500);
        pass(sublet.FAULT_AFTER() + 1);
        vm.prank(renter);
        sublet.faultLease(id);
        moved(-3_500 * P - F + 100 * P, 3_500 * P - 100 * P, F, 0);
    }

    /// What was settled past the last beat stays paid: paid is monotone.
    function test_fault_takes_nothing_back() external {
        uint64 id = activeLease();
        run(100);
        pass(sublet.FAULT_AFTER() + 1);
        uint256 paid = sublet.settleLease(id);
        eq(paid, PRICE * (100 + sublet.MAX_GAP()), "one gap past the beat");
        vm.prank(renter);
        sublet.faultLease(id);
        eq(lens.lease(id).paidSeconds, 100 + sublet.MAX_GAP(), "no less");
    }

    function test_only_the_right_party() external {
        uint64 id = openLease();
        refusedToOthers(provider, id, abi.encodeCall(sublet.startLease, (id)));
        refusedToOthers(provider, id, abi.encodeCall(sublet.rejectLease, (id)));
        refusedToOthers(renter, id, abi.encodeCall(sublet.cancelLease, (id)));
        vm.prank(provider);
        sublet.startLease(id);
        refusedToOthers(provider, id, abi.encodeCall(sublet.giveNotice, (id)));
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ISublet.AgreementOtherParty.selector, id, stranger));
        sublet.closeLease(id, ANY);
    }

    /// Every call in every state that does not allow it, by everybody; among them I5: the end is the end.
    function test_only_the_right_state() external {
        uint64 id = activeLease();
        _refused(id, LeaseState.Active, _openCalls(id));
        vm.prank(renter);
        sublet.closeLease(id, ANY);
        _refused(id, LeaseState.Ended, _openCalls(id));
        _refused(id, LeaseState.Ended, _activeCalls(id));
        id = openLease();
        _refused(id, LeaseState.Open, _activeCalls(id));
        _refused(99, LeaseState.None, _openCalls(99));
        _refused(99, LeaseState.None, _activeCalls(99));
        uint64 job = openJob();
        _refused(job, LeaseState.None, _openCalls(job));
        _refused(job, LeaseState.None, _activeCalls(job));
    }

    /// However it goes, what went in comes out, and the provider gets no more than time allows.
    /// forge-config: default.fuzz.runs = 10000
    function testFuzz_money_is_conserved(uint32[8] calldata waits, uint8 ending, bool notice) external {
        uint64 id = activeLease();
        uint256 started = clock();
        if (notice) {
            vm.prank(provider);
            sublet.giveNotice(id);
        }
        for (uint256 i; i < waits.length; ++i) {
            pass(waits[i] % 1_000);
            if (waits[i] % 3 == 0) sublet.settleLease(id);
            if (waits[i] % 3 == 1) {
                vm.prank(provider);
                sublet.beat();
            }
        }
        if (ending % 3 == 2) {
            pass(sublet.FAULT_AFTER() + 1);
            sublet.faultLease(id);
        } else {
            vm.prank(ending % 3 == 0 ? renter : provider);
            sublet.closeLease(id, ANY);
        }
        uint256 most = clock() - started;
        if (most < MIN_CHARGE) most = MIN_CHARGE;
        atMost(lens.lease(id).paidSeconds, most, "paid for time that passed");
        uint256 all = sublet.freeOf(renter) + sublet.freeOf(provider) + sublet.freeOf(solver)
            + sublet.freeOf(address(this)) + sublet.freeOf(stranger);
        eq(all, 3 * FUNDS, "conserved");
        leaseIs(id, LeaseState.Ended, lens.lease(id).reason);
    }

    function _openCalls(uint64 id) private view returns (bytes[] memory calls) {
        calls = new bytes[](4);
        calls[0] = abi.encodeCall(sublet.startLease, (id));
        calls[1] = abi.encodeCall(sublet.rejectLease, (id));
        calls[2] = abi.encodeCall(sublet.cancelLease, (id));
        calls[3] = abi.encodeCall(sublet.expireLease, (id));
    }

    function _activeCalls(uint64 id) private view returns (bytes[] memory calls) {
        calls = new bytes[](5);
        calls[0] = abi.encodeCall(sublet.settleLease, (id));
        calls[1] = abi.encodeCall(sublet.topUpLease, (id, 1));
        calls[2] = abi.encodeCall(sublet.giveNotice, (id));
        calls[3] = abi.encodeCall(sublet.closeLease, (id, ANY));
        calls[4] = abi.encodeCall(sublet.faultLease, (id));
    }

    function _refused(uint64 id, LeaseState actual, bytes[] memory calls) private {
        refusedToAll(calls, abi.encodeWithSelector(ISublet.LeaseWrongState.selector, id, actual));
    }
}
