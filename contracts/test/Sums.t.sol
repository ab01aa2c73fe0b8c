// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, Offer, Order} from "../src/Types.sol";
import {Fixture} from "./base/Fixture.sol";

/// @notice Penalties, rewards, minimum charges, top-ups and fees for any price, time and pledge, to the unit. Costs, verdicts and
/// what opening locks are fuzzed where they are tested.
contract SumsTest is Fixture {
    struct Dice {
        uint64 price;
        uint32 duration;
        uint32 bps;
        uint64 fee;
        uint32 a;
        uint32 b;
        uint8 by;
    }

    uint256 private escrow;
    uint256 private pledge;

    /// A tenth of the pledge to the renter, of that a hundredth to a third party that called; each rounded down.
    /// forge-config: default.fuzz.runs = 10000
    function testFuzz_expiry(Dice memory d) external {
        bool lease = d.a % 2 == 0;
        uint64 id = _open(lease ? Kind.Lease : Kind.Job, d);
        pass(START_WITHIN + (lease ? 0 : d.duration) + 1);
        address by = _by(d.by);
        vm.prank(by);
        if (lease) sublet.expireLease(id);
        else sublet.expireJob(id);
        uint256 penalty = pledge / 10;
        uint256 reward = by == stranger ? penalty / 100 : 0;
        moved(int256(penalty - reward), -int256(penalty), 0, int256(reward));
    }

    /// Rent up to the last beat, then the rest of it as penalty, or the pledge if that is less.
    /// forge-config: default.fuzz.runs = 10000
    function testFuzz_fault(Dice memory d) external {
        uint64 id = _start(d);
        uint256 served = d.a % 600;
        pass(served);
        vm.prank(provider);
        sublet.beat();
        if (d.b % 2 == 0) sublet.settleLease(id);
        pass(sublet.FAULT_AFTER() + 1);
        address by = _by(d.by);
        vm.prank(by);
        sublet.faultLease(id);
        uint256 paid = served < d.duration ? served * d.price : escrow;
        uint256 penalty = escrow - paid < pledge ? escrow - paid : pledge;
        uint256 reward = by == stranger ? penalty / 100 : 0;
        int256 fee = int256(uint256(d.fee));
        moved(int256(penalty - reward) - int256(paid) - fee, int256(paid) - int256(penalty), fee, int256(reward));
    }

    /// The price of the notice not given, or the pledge if that is less; nothing once the rent is used up.
    /// forge-config: default.fuzz.runs = 10000
    function testFuzz_notice(Dice memory d) external {
        uint64 id = _start(d);
        bool given = d.b % 3 != 0;
        if (given) {
            vm.prank(provider);
            sublet.giveNotice(id);
        }
        uint256 waited = d.a % 600;
        pass(waited);
        vm.prank(provider);
        sublet.closeLease(id, ANY);
        uint256 paid = (waited < d.duration ? waited : d.duration) * d.price;
        uint256 missing = given ? NOTICE - waited : NOTICE;
        uint256 penalty = missing * d.price < pledge ? missing * d.price : pledge;
        if (waited >= d.duration) penalty = 0;
        int256 fee = int256(uint256(d.fee));
        moved(int256(penalty) - int256(paid) - fee, int256(paid) - int256(penalty), fee, 0);
    }

    /// However often and by however little it is topped up, the pledge is that of the whole, and all of it comes back.
    /// forge-config: default.fuzz.runs = 10000
    function testFuzz_top_up(Dice memory d, uint16[4] memory more) external {
        uint64 id = _start(d);
        mark();
        uint256 duration = d.duration;
        for (uint256 i; i < more.length; ++i) {
            uint32 seconds_ = 1 + more[i] % 1_000;
            vm.prank(stranger);
            sublet.topUpLease(id, seconds_);
            duration += seconds_;
        }
        uint256 whole = d.price * duration * d.bps / 10_000;
        int256 added = int256(d.price * (duration - d.duration));
        moved(0, -int256(whole - pledge), 0, -added);
        eq(lens.lease(id).escrow, d.price * duration, "escrow of the whole");
        vm.prank(renter);
        sublet.closeLease(id, ANY);
        int256 charge = int256(d.price * (MIN_CHARGE < duration ? MIN_CHARGE : duration));
        moved(int256(d.price * duration) - charge, int256(pledge) + charge, 0, -added);
    }

    /// The least charge, or all of the escrow if that is less; the solver's fee comes back.
    /// forge-config: default.fuzz.runs = 10000
    function testFuzz_cancel(Dice memory d) external {
        uint64 id = _open(Kind.Lease, d);
        pass(d.a % 1_000);
        vm.prank(renter);
        sublet.cancelLease(id);
        int256 charge = int256(uint256(d.price) * (MIN_CHARGE < d.duration ? MIN_CHARGE : d.duration));
        moved(-charge, charge, 0, 0);
    }

    /// What the renter signed to the provider, the fee to the solver, the rest back; by whoever may send it.
    /// forge-config: default.fuzz.runs = 10000
    function testFuzz_settle(Dice memory d, uint128 cost) external {
        uint64 id = _open(Kind.Job, d);
        cost = uint128(bound(cost, 0, escrow));
        uint256 declared = escrow;
        if (d.a % 2 == 0) {
            // Long enough for all of it, but in time.
            pass(min(d.b, d.duration));
            vm.prank(provider);
            sublet.submitJob(id, RESULT, d.b);
            declared = uint256(d.price) * (d.b < d.duration ? d.b : d.duration);
        }
        bytes memory sig = acceptance(id, RESULT, cost);
        address by = cost < declared ? provider : _by(d.by);
        vm.prank(by);
        sublet.settleJob(id, RESULT, cost, sig);
        int256 fee = int256(uint256(d.fee));
        moved(-int256(uint256(cost)) - fee, int256(uint256(cost)), fee, 0);
    }

    function _by(uint8 dice) private view returns (address) {
        return dice % 3 == 0 ? renter : dice % 3 == 1 ? provider : stranger;
    }

    /// An agreement of these terms, brought into what everybody can pay, and what it locked.
    function _open(Kind kind, Dice memory d) private returns (uint64 id) {
        Offer memory offer = offerOf(kind);
        Order memory order = orderOf(kind);
        d.price = uint64(bound(d.price, 1, 1e12));
        d.duration = uint32(bound(d.duration, 1, 10_000_000));
        d.bps = uint32(bound(d.bps, 1, 50_000));
        d.fee %= 1e18;
        escrow = uint256(d.price) * d.duration;
        pledge = escrow * d.bps / 10_000;
        vm.assume(pledge != 0);
        (offer.price, offer.pledgeBps, offer.maxDuration) = (d.price, d.bps, type(uint32).max);
        (order.maxPrice, order.duration, order.solverFee) = (d.price, d.duration, d.fee);
        order.minPledgeBps = d.bps;
        return open(offer, order);
    }

    function _start(Dice memory d) private returns (uint64 id) {
        id = _open(Kind.Lease, d);
        vm.prank(provider);
        sublet.startLease(id);
    }
}
