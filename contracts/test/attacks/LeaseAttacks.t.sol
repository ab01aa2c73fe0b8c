// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, LeaseEnd, LeaseState, Offer, Order} from "../../src/Types.sol";
import {ISublet} from "../../src/interfaces/ISublet.sol";
import {Attack} from "./Attack.sol";

/// @notice Paying too little or too much for a machine, slashing for a trifle, and getting at what others rent.
contract LeaseAttacksTest is Attack {
    /// A beat one second late: one second is not paid, nothing is slashed.
    function test_late_heartbeat() external {
        uint64 id = activeLease();
        uint256 gap = sublet.MAX_GAP();
        pass(gap + 1);
        uint256 from = clock() - gap - 1 + sublet.FAULT_AFTER() + 1;
        bytes memory why = abi.encodeWithSelector(ISublet.AgreementTooEarly.selector, id, from);
        refused(mallory, abi.encodeCall(sublet.faultLease, (id)), why, "a beat one second late cost the pledge");
        vm.prank(provider);
        sublet.beat();
        uint256 paid = sublet.settleLease(id);
        eq(paid, gap * PRICE, "one second less");
        eq(lens.lease(id).pledge, PLEDGE, "the pledge is whole");
    }

    /// The last second of the silence that is allowed, and the first that is not.
    function test_fault_to_the_second() external {
        uint64 id = activeLease();
        uint256 beat = clock();
        pass(sublet.FAULT_AFTER());
        bytes memory why =
            abi.encodeWithSelector(ISublet.AgreementTooEarly.selector, id, beat + sublet.FAULT_AFTER() + 1);
        refused(mallory, abi.encodeCall(sublet.faultLease, (id)), why, "faulted a second early");
        pass(1);
        vm.prank(mallory);
        sublet.faultLease(id);
        // Nothing was served but the second of the start; the rest is larger than the pledge.
        wins(mallory, Q / 100, "a hundredth of the penalty");
        wins(provider, -Q, "all of the pledge");
    }

    /// More time costs what the lease costs, whatever the provider asks by then.
    function test_renewing_at_another_price() external {
        uint64 id = activeLease();
        vm.prank(provider);
        sublet.bumpEpoch();
        mark();
        vm.prank(renter);
        sublet.topUpLease(id, 10);
        wins(renter, -10 * P, "renewed at another price");
        wins(provider, -5 * P, "renewed for another pledge");
        eq(lens.lease(id).price, PRICE, "the price stays");
    }

    /// A provider answers a stranger's order with terms of its own that nobody would bear: all is charged at once, nothing is
    /// pledged, it need not start for a century, or may leave at any time.
    function test_hostile_terms() external {
        Offer memory offer = offerOf(Kind.Lease);
        offer.minCharge = type(uint32).max;
        bytes memory why = _tooLarge("minCharge", offer.minCharge, MIN_CHARGE);
        refuseOpen(offer, orderOf(Kind.Lease), why, "all of the rent is charged for nothing");
        offer = offerOf(Kind.Lease);
        offer.startWithin = type(uint32).max;
        why = _tooLarge("startWithin", offer.startWithin, START_WITHIN);
        refuseOpen(offer, orderOf(Kind.Lease), why, "the escrow is locked for a century");
        offer = offerOf(Kind.Lease);
        offer.pledgeBps = 1;
        why = abi.encodeWithSelector(ISublet.MatchTooSmall.selector, bytes32("pledgeBps"), 1, PLEDGE_BPS);
        refuseOpen(offer, orderOf(Kind.Lease), why, "a provider risks next to nothing");
        offer = offerOf(Kind.Lease);
        offer.notice = 0;
        why = abi.encodeWithSelector(ISublet.MatchTooSmall.selector, bytes32("notice"), 0, NOTICE);
        refuseOpen(offer, orderOf(Kind.Lease), why, "a provider leaves without notice");
    }

    /// A renter lengthens a silent provider's lease: the pledge that it locks that way would be its own after the fault.
    function test_topping_up_a_silent_provider() external {
        uint64 id = activeLease();
        uint256 beat = clock();
        pass(sublet.MAX_GAP() + 1);
        mark();
        bytes memory why = abi.encodeWithSelector(ISublet.ProviderStale.selector, provider, beat);
        refused(renter, abi.encodeCall(sublet.topUpLease, (id, DURATION)), why, "a silent provider pledged more");
        vm.warp(beat + sublet.FAULT_AFTER() + 1);
        vm.prank(renter);
        sublet.faultLease(id);
        wins(provider, 0, "a fault takes more than was pledged");
    }

    /// The rent ran out, so the provider closes for free; the renter's top-up comes first and would make that a breach.
    function test_top_up_before_a_close() external {
        uint64 id = activeLease();
        run(DURATION);
        vm.prank(renter);
        sublet.topUpLease(id, DURATION);
        mark();
        bytes memory why =
            abi.encodeWithSelector(ISublet.LeasePenaltyTooHigh.selector, id, uint256(NOTICE) * PRICE, uint128(0));
        refused(provider, abi.encodeCall(sublet.closeLease, (id, 0)), why, "a free close became a penalty");
        wins(provider, 0, "the penalty of a close that was free");
    }

    function _tooLarge(bytes32 what, uint256 has, uint256 most) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ISublet.MatchTooLarge.selector, what, has, most);
    }

    /// Whoever renews pays for it, and gets no right to the lease by it.
    function test_renewing_somebody_elses_lease() external {
        uint64 id = activeLease();
        mark();
        vm.prank(mallory);
        sublet.topUpLease(id, 10);
        wins(renter, 0, "renewed at the renter's cost");
        wins(mallory, -10 * P, "renewed for nothing");
        bytes memory why = abi.encodeWithSelector(ISublet.AgreementOtherParty.selector, id, mallory);
        refused(mallory, abi.encodeCall(sublet.closeLease, (id, ANY)), why, "a top-up bought the lease");
        why = abi.encodeWithSelector(ISublet.LeaseTooLong.selector, id, uint256(DURATION) + 10 + DURATION, 2 * DURATION);
        refused(mallory, abi.encodeCall(sublet.topUpLease, (id, DURATION)), why, "renewed beyond what was offered");
    }

    /// Every second is paid or given back, also the last ones, and then the lease is over for free.
    function test_last_seconds_stranded() external {
        Offer memory offer = offerOf(Kind.Lease);
        (offer.price, offer.pledgeBps, offer.minCharge) = (1, 10_000, 0);
        Order memory order = orderOf(Kind.Lease);
        (order.duration, order.solverFee) = (7, 0);
        uint64 id = open(offer, order);
        vm.prank(provider);
        sublet.startLease(id);
        for (uint256 i; i < 7; ++i) {
            run(1);
            sublet.settleLease(id);
        }
        worked(lens.lease(id).escrow != 0, "the last seconds of rent are stranded");
        vm.prank(provider);
        sublet.closeLease(id, ANY);
        leaseIs(id, LeaseState.Ended, LeaseEnd.RanOut);
        wins(provider, 7, "seven seconds of rent");
        wins(renter, -7, "and not one more");
    }

    /// Time after the money ran out is nobody's.
    function test_top_up_billing_the_idle_gap() external {
        uint64 id = activeLease();
        run(DURATION + 1_000);
        mark();
        vm.prank(renter);
        sublet.topUpLease(id, 500);
        wins(provider, E - 250 * P, "a top-up billed the gap before it");
        run(100);
        uint256 paid = sublet.settleLease(id);
        worked(paid != 100 * PRICE, "a top-up billed the gap before it, later");
    }

    /// The renter closes: what it used is paid in the same call, the lease is over for good, and the log says so to the
    /// agent that stops the machine.
    function test_terminate_and_keep_the_machine() external {
        (uint64 id, uint64 next) = (activeLease(), activeLease());
        run(3_000);
        mark();
        vm.prank(renter);
        sublet.closeLease(id, ANY);
        wins(provider, 3_000 * P + Q, "the renter took back what it used");
        wins(renter, 600 * P, "the rest");
        vm.expectEmit(address(sublet));
        emit ISublet.LeaseEnded(next, LeaseEnd.ClosedByRenter, 3_000 * PRICE, 600 * PRICE, PLEDGE, 0, renter, 0);
        vm.prank(renter);
        sublet.closeLease(next, ANY);
        bytes memory why = abi.encodeWithSelector(ISublet.LeaseWrongState.selector, id, LeaseState.Ended);
        refused(renter, abi.encodeCall(sublet.topUpLease, (id, 10)), why, "a lease came back to life");
        refused(provider, abi.encodeCall(sublet.startLease, (id)), why, "a lease started again");
    }

    /// Ending an agreement frees one place of its offer, once.
    function test_cancelling_an_old_agreement() external {
        Offer memory offer = offerOf(Kind.Lease);
        uint64 old = open(offer, orderOf(Kind.Lease));
        vm.prank(renter);
        sublet.cancelLease(old);
        open(offer, orderOf(Kind.Lease));
        open(offer, orderOf(Kind.Lease));
        bytes memory why = abi.encodeWithSelector(ISublet.LeaseWrongState.selector, old, LeaseState.Ended);
        refused(renter, abi.encodeCall(sublet.cancelLease, (old)), why, "an old agreement freed what another uses");
        bytes32 hash = sublet.hashOffer(offer);
        eq(sublet.openCount(hash), 2, "both counted");
        why = abi.encodeWithSelector(ISublet.OfferFull.selector, hash, 2);
        refuseOpen(offer, orderOf(Kind.Lease), why, "a third tenant of two places");
    }
}
