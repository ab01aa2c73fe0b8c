// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobEnd, JobState, Kind, LeaseEnd, LeaseState, Order, Pair, Settlement} from "../../src/Types.sol";
import {ISublet} from "../../src/interfaces/ISublet.sol";
import {Attack} from "./Attack.sol";

/// @notice Holding other people's money by not being there, by stopping the clock, or by spoiling a batch.
contract VanishingAttacksTest is Attack {
    /// The renter alone gets out of everything a provider left behind, and is paid for it.
    function test_vanished_provider() external {
        (uint64 a, uint64 b, uint64 c) = (openLease(), activeLease(), openJob());
        pass(sublet.FAULT_AFTER() + START_WITHIN + DURATION + 1);
        _mustWork(
            renter, abi.encodeCall(sublet.expireLease, (a)), "a vanished provider locks a lease that never started"
        );
        _mustWork(renter, abi.encodeCall(sublet.faultLease, (b)), "a vanished provider locks a lease");
        _mustWork(renter, abi.encodeCall(sublet.expireJob, (c)), "a vanished provider locks a job");
        wins(renter, Q / 10 + Q + Q / 10 - F, "the renter gets its money and the penalties");
        wins(provider, -(Q / 10 + Q + Q / 10), "the provider loses the penalties");
    }

    /// Nor does a provider that beats on without ever starting: its own clock runs out.
    function test_provider_that_only_beats() external {
        (uint64 a, uint64 b) = (openLease(), openJob());
        run(START_WITHIN + DURATION + 1);
        _mustWork(stranger, abi.encodeCall(sublet.expireLease, (a)), "beats keep a lease open for ever");
        _mustWork(stranger, abi.encodeCall(sublet.expireJob, (b)), "beats keep a job open for ever");
        wins(stranger, 2 * (Q / 10 / 100), "the stranger's hundredth of the penalties");
    }

    /// The provider alone gets paid for all it did, and its pledges back.
    function test_vanished_renter() external {
        (uint64 a, uint64 b, uint64 c) = (activeLease(), submittedJob(10), exactJob());
        run(DURATION);
        _mustWork(provider, abi.encodeCall(sublet.closeLease, (a, ANY)), "a vanished renter locks a lease");
        _mustWork(provider, abi.encodeCall(sublet.finalizeJob, (b)), "a vanished renter locks a job");
        _mustWork(provider, abi.encodeCall(sublet.finalizeJob, (c)), "a vanished renter locks an exact job");
        int256 used = int256(uint256(USED));
        wins(provider, E + (10 + used) * P, "the provider is paid");
        wins(renter, -E - (10 + used) * P - 3 * F, "by the renter");
    }

    /// A renter that disputed and vanished, with mediators that vanished too.
    function test_vanished_court() external {
        uint64 id = disputed();
        mine(3);
        _mustWork(provider, abi.encodeCall(court.draw, (id)), "a vanished renter stops the draw");
        pass(uint256(DURATION) + 1 hours + 1);
        _mustWork(provider, abi.encodeCall(court.resolve, (id)), "vanished mediators stop the verdict");
        jobIs(id, JobState.Ended, JobEnd.Inconclusive);
    }

    /// The guardian stops new agreements and nothing else.
    function test_pausing_to_trap_refunds() external {
        (uint64 a, uint64 b, uint64 c, uint64 d) = (openLease(), activeLease(), submittedJob(1), exactJob());
        vm.prank(guardian);
        sublet.pauseOpen(true);
        string memory what = "a pause traps money";
        _mustWork(renter, abi.encodeCall(sublet.cancelLease, (a)), what);
        _mustWork(renter, abi.encodeCall(sublet.topUpLease, (b, 1)), what);
        _mustWork(renter, abi.encodeCall(sublet.closeLease, (b, ANY)), what);
        _mustWork(renter, abi.encodeCall(sublet.refuseJob, (c)), what);
        _mustWork(renter, abi.encodeCall(court.dispute, (d)), what);
        mine(3);
        court.draw(d);
        voteAll(d, RESULT, RESULT, RESULT);
        _mustWork(stranger, abi.encodeCall(court.resolve, (d)), what);
        _mustWork(renter, abi.encodeCall(sublet.withdraw, (uint128(sublet.freeOf(renter)))), what);
        _mustWork(provider, abi.encodeCall(sublet.withdraw, (uint128(sublet.freeOf(provider)))), what);
        bytes memory why = abi.encodeWithSelector(ISublet.OpenIsPaused.selector);
        refuseOpen(offerOf(Kind.Lease), orderOf(Kind.Lease), why, "a pause stops nothing");
    }

    /// Nobody but the guardian pauses, and it can give that up for good.
    function test_pausing_by_others() external {
        bytes memory why = abi.encodeWithSelector(ISublet.GuardianOnly.selector, mallory);
        refused(mallory, abi.encodeCall(sublet.pauseOpen, (true)), why, "anybody pauses");
    }

    /// Every agreement expires by a call of its own; in a batch, a row that cannot be settled or opened is left out.
    function test_bad_row() external {
        (uint64 a, uint64 b) = (openLease(), openLease());
        pass(START_WITHIN + 1);
        vm.prank(provider);
        sublet.beat();
        vm.prank(renter);
        sublet.cancelLease(a);
        bytes memory why = abi.encodeWithSelector(ISublet.LeaseWrongState.selector, a, LeaseState.Ended);
        refused(mallory, abi.encodeCall(sublet.expireLease, (a)), why, "a lease ended twice");
        _mustWork(mallory, abi.encodeCall(sublet.expireLease, (b)), "one bad lease stops another's expiry");
        leaseIs(b, LeaseState.Ended, LeaseEnd.Expired);
        (uint64 c, uint64 d) = (submittedJob(1), submittedJob(2));
        Settlement[] memory rows = new Settlement[](2);
        rows[0] = Settlement(c, RESULT, PRICE, "not a signature");
        rows[1] = Settlement(d, RESULT, 2 * PRICE, acceptance(d, RESULT, 2 * PRICE));
        _mustWork(provider, abi.encodeCall(sublet.settleJobs, (rows)), "one bad row stops a batch of settlements");
        jobIs(c, JobState.Submitted, JobEnd.None);
        jobIs(d, JobState.Ended, JobEnd.Settled);
    }

    function test_bad_pair() external {
        Pair[] memory pairs = new Pair[](2);
        Order memory bad = orderOf(Kind.Lease);
        bad.maxPrice = 1;
        pairs[0] = pair(offerOf(Kind.Lease), bad);
        pairs[1] = pair(offerOf(Kind.Lease), orderOf(Kind.Lease));
        _mustWork(solver, abi.encodeCall(sublet.openMany, (pairs)), "one bad pair stops a batch of openings");
        eq(sublet.agreementCount(), 1, "the good one opened");
    }

    /// If an honest party cannot do this, it is the attack that worked.
    function _mustWork(address by, bytes memory data, string memory what) private {
        bytes4 call_ = bytes4(data);
        bool ofCourt =
            call_ == court.dispute.selector || call_ == court.draw.selector || call_ == court.resolve.selector;
        vm.prank(by);
        (bool ok,) = (ofCourt ? address(court) : address(sublet)).call(data);
        worked(!ok, what);
    }
}
