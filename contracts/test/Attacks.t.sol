// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Sublet} from "../src/Sublet.sol";
import {SubletToken} from "../src/SubletToken.sol";
import {JobEnd, JobState, Kind, LeaseEnd, LeaseState, Offer, Order, Pair} from "../src/Types.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {Fixture} from "./base/Fixture.sol";
import {Forwarder} from "./mocks/Wallets.sol";

/// @notice SETTLEMENT's list of attacks, as far as leases and jobs without disputes go. Tested beside the rule itself:
/// pledge of zero (Opening), provider-declared cost and late rejection (Jobs), settlement of gaps (Leases).
contract AttacksTest is Fixture {
    int256 private constant E = 3_600_000_025_200;
    int256 private constant Q = 1_800_000_012_600;
    int256 private constant F = 77_777;
    int256 private constant P = 1_000_000_007;

    uint256 private constant MALLORY_KEY = 0xBAD;
    address private mallory = vm.addr(MALLORY_KEY);

    /// An agreement with oneself can move only what it holds, however it is closed.
    function test_sham_agreement_draws_on_no_other_escrow() external {
        uint64 honest = activeLease();
        fund(mallory);
        vm.startPrank(mallory);
        sublet.registerProvider(keccak256("m"), "");
        sublet.setOnline(true);
        vm.stopPrank();
        for (uint256 how; how < 4; ++how) {
            uint64 id = _sham(how);
            vm.startPrank(mallory);
            if (how == 0) sublet.cancelLease(id);
            if (how == 1) sublet.rejectLease(id);
            if (how > 1) sublet.startLease(id);
            if (how == 2) sublet.closeLease(id);
            vm.stopPrank();
            if (how == 3) {
                pass(sublet.FAULT_AFTER() + 1);
                vm.prank(mallory);
                sublet.faultLease(id);
            }
            // The solver's fee went to mallory itself, which opened.
            eq(sublet.freeOf(mallory), FUNDS, "nothing won");
        }
        eq(lens.lease(honest).escrow, ESCROW, "the honest escrow is whole");
    }

    function test_a_vanished_provider_locks_nothing() external {
        (uint64 a, uint64 b) = (openLease(), activeLease());
        uint64 c = openJob();
        pass(sublet.FAULT_AFTER() + START_WITHIN + DURATION + 1);
        vm.startPrank(renter);
        sublet.expireLease(a);
        sublet.faultLease(b);
        sublet.expireJob(c);
        vm.stopPrank();
        // Everything back, two tenths of a pledge, and of the fault the smaller of pledge and rest.
        moved(Q / 10 + Q + Q / 10 - F, -(Q / 10 + Q + Q / 10), F, 0);
    }

    function test_a_vanished_renter_locks_nothing() external {
        (uint64 a, uint64 b) = (activeLease(), submittedJob(10));
        run(DURATION);
        vm.startPrank(provider);
        sublet.closeLease(a);
        sublet.finalizeJob(b);
        vm.stopPrank();
        moved(-E - 10 * P - 2 * F, E + 10 * P, 2 * F, 0);
    }

    /// The renter signs a cost of one unit for good work and sends it itself.
    function test_signing_a_low_cost_does_not_cheat_the_provider() external {
        uint64 id = submittedJob(10);
        bytes memory sig = acceptance(id, RESULT, 1);
        vm.prank(renter);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobCostTooLow.selector, id, 1, 10 * PRICE));
        sublet.settleJob(id, RESULT, 1, sig);
        uint64 unsubmitted = openJob();
        sig = acceptance(unsubmitted, RESULT, ESCROW - 1);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobCostTooLow.selector, unsubmitted, ESCROW - 1, ESCROW));
        sublet.settleJob(unsubmitted, RESULT, ESCROW - 1, sig);
        sig = acceptance(id, RESULT, 1);
        vm.prank(provider);
        sublet.settleJob(id, RESULT, 1, sig);
    }

    function test_a_result_is_not_replaced_after_acceptance() external {
        uint64 id = submittedJob(10);
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.Submitted));
        sublet.submitJob(id, keccak256("worse"), 10);
        vm.prank(renter);
        sublet.acceptJob(id);
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(ISublet.JobWrongState.selector, id, JobState.Ended));
        sublet.submitJob(id, keccak256("worse"), 10);
        eq(lens.job(id).resultHash, RESULT, "as accepted");
    }

    /// Good work refused still costs half, so refusing to compute free does not pay.
    function test_refusing_is_never_free() external {
        uint64 id = submittedJob(DURATION);
        vm.prank(renter);
        sublet.refuseJob(id);
        moved(-E / 2, E / 2, 0, 0);
    }

    /// A relay in the middle is the sender; its victim's rights are not lent to it.
    function test_relaying_a_call_gains_nothing() external {
        uint64 id = activeLease();
        Forwarder relay = new Forwarder();
        vm.prank(renter);
        (bool ok, bytes memory why) = relay.forward(address(sublet), abi.encodeCall(sublet.closeLease, (id)));
        yes(!ok, "refused");
        eq(
            keccak256(why),
            keccak256(abi.encodeWithSelector(ISublet.AgreementOtherParty.selector, id, address(relay))),
            "for its caller"
        );
    }

    function test_ids_cannot_be_squatted() external {
        eq(openLease(), 1, "first");
        eq(openJob(), 2, "shared counter");
        eq(openLease(), 3, "third");
    }

    function test_pausing_traps_no_refund() external {
        (uint64 a, uint64 b, uint64 c) = (openLease(), activeLease(), submittedJob(1));
        vm.prank(guardian);
        sublet.pauseOpen(true);
        vm.startPrank(renter);
        sublet.cancelLease(a);
        sublet.topUpLease(b, 1);
        sublet.closeLease(b);
        sublet.refuseJob(c);
        uint128 free = uint128(sublet.freeOf(renter));
        sublet.withdraw(free);
        vm.stopPrank();
        vm.startPrank(provider);
        free = uint128(sublet.freeOf(provider));
        sublet.withdraw(free);
        vm.stopPrank();
    }

    /// A beat one second late: nothing is slashed, one second is not counted.
    function test_a_late_beat_slashes_nothing() external {
        uint64 id = activeLease();
        uint256 gap = sublet.MAX_GAP();
        pass(gap + 1);
        vm.prank(provider);
        sublet.beat();
        vm.prank(stranger);
        vm.expectRevert();
        sublet.faultLease(id);
        eq(sublet.settleLease(id), gap * PRICE, "one second less");
        eq(lens.lease(id).pledge, PLEDGE, "pledge whole");
    }

    function test_each_agreement_expires_alone() external {
        (uint64 a, uint64 b) = (openLease(), openLease());
        pass(START_WITHIN + 1);
        vm.prank(renter);
        sublet.expireLease(a);
        vm.expectRevert();
        sublet.expireLease(a);
        vm.prank(renter);
        sublet.expireLease(b);
    }

    /// More time is bought at the price of the lease, whatever the provider asks by then, and only by who pays.
    function test_renewing_keeps_the_price_and_takes_from_the_caller_only() external {
        uint64 id = activeLease();
        mark();
        vm.prank(stranger);
        sublet.topUpLease(id, 10);
        moved(0, -5 * P, 0, -10 * P);
        vm.prank(renter);
        sublet.closeLease(id);
        eq(lens.lease(id).price, PRICE, "price");
        moved(E + 10 * P - int256(uint256(MIN_CHARGE)) * P, Q + int256(uint256(MIN_CHARGE)) * P, 0, -10 * P);
    }

    function test_no_second_is_stranded() external {
        Offer memory offer = offerOf(Kind.Lease);
        (offer.price, offer.pledgeBps, offer.minCharge) = (1, 10_000, 0);
        Order memory order = orderOf(Kind.Lease);
        (order.duration, order.solverFee) = (7, 0);
        uint64 id = open(offer, order);
        vm.prank(provider);
        sublet.startLease(id);
        for (uint256 i; i < 7; ++i) {
            run(1);
            eq(sublet.settleLease(id), 1, "a second");
        }
        vm.prank(renter);
        sublet.closeLease(id);
        moved(-7, 7, 0, 0);
    }

    /// Expired, cancelled, used or somebody else's escrow is no payment: nothing opens without locked money.
    function test_nothing_opens_on_money_that_is_gone() external {
        Offer memory offer = offerOf(Kind.Lease);
        Order memory order = orderOf(Kind.Lease);
        vm.prank(renter);
        sublet.withdraw(FUNDS);
        refuse(offer, order, abi.encodeWithSelector(ISublet.AccountShort.selector, renter, 0, ESCROW + FEE));
        eq(sublet.agreementCount(), 0, "no number used");
        yes(!sublet.isNonceUsed(renter, order.nonce), "no nonce used");
    }

    /// Ending one agreement frees one place of the offer, once.
    function test_an_old_agreement_frees_no_place_in_use() external {
        Offer memory offer = offerOf(Kind.Lease);
        uint64 old = open(offer, orderOf(Kind.Lease));
        vm.prank(renter);
        sublet.cancelLease(old);
        open(offer, orderOf(Kind.Lease));
        open(offer, orderOf(Kind.Lease));
        vm.prank(renter);
        vm.expectRevert();
        sublet.cancelLease(old);
        eq(sublet.openCount(sublet.hashOffer(offer)), 2, "both counted");
    }

    function test_rejecting_late_does_not_dodge_the_penalty() external {
        uint64 id = openJob();
        pass(START_WITHIN + 1);
        vm.prank(provider);
        vm.expectRevert();
        sublet.rejectJob(id);
        pass(DURATION);
        vm.prank(renter);
        sublet.expireJob(id);
        moved(Q / 10, -(Q / 10), 0, 0);
    }

    /// Nobody can call the parts of a batch, nor pose as its caller.
    function test_a_contract_cannot_borrow_a_batch() external {
        uint64 id = submittedJob(10);
        Forwarder relay = new Forwarder();
        bytes memory sig = acceptance(id, RESULT, 1);
        vm.prank(provider);
        (bool ok,) = relay.forward(address(sublet), abi.encodeCall(sublet.settleJob, (id, RESULT, 1, sig)));
        yes(!ok, "the relay is not the provider");
    }

    function _sham(uint256 nonce) private returns (uint64) {
        vm.prank(mallory);
        sublet.beat();
        Offer memory offer = offerOf(Kind.Lease);
        Order memory order = orderOf(Kind.Lease);
        (offer.provider, offer.epoch, order.renter, order.nonce) = (mallory, 0, mallory, nonce);
        bytes memory a = signature(MALLORY_KEY, sublet.hashOffer(offer));
        bytes memory b = signature(MALLORY_KEY, sublet.hashOrder(order));
        vm.prank(mallory);
        return sublet.open(offer, a, order, b);
    }
}
