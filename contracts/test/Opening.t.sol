// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {
    Class,
    JobEnd,
    JobState,
    JobView,
    Kind,
    LeaseEnd,
    LeaseState,
    LeaseView,
    Offer,
    Order,
    Pair
} from "../src/Types.sol";
import {IFit} from "../src/interfaces/IFit.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {Fixture} from "./base/Fixture.sol";
import {GasEater} from "./mocks/Wallets.sol";

contract OpeningTest is Fixture {
    function test_lease_locks_escrow_fee_and_pledge() external {
        (Offer memory offer, Order memory order) = (offerOf(Kind.Lease), orderOf(Kind.Lease));
        (bytes memory a, bytes memory b) = (sign(offer), sign(order));
        (bytes32 offerHash, bytes32 orderHash) = (sublet.hashOffer(offer), sublet.hashOrder(order));
        vm.prank(solver);
        vm.expectEmit();
        emit ISublet.LeaseOpened(
            1,
            renter,
            provider,
            offerHash,
            orderHash,
            order.workload,
            order.peerKey,
            PRICE,
            DURATION,
            ESCROW,
            PLEDGE,
            FEE,
            solver,
            uint64(START + START_WITHIN)
        );
        uint64 id = sublet.open(offer, a, order, b);
        moved(-int256(uint256(ESCROW + FEE)), -int256(uint256(PLEDGE)), 0, 0);
        LeaseView memory v = lens.lease(id);
        leaseIs(id, LeaseState.Open, LeaseEnd.None);
        eq(v.renter, renter, "renter");
        eq(v.provider, provider, "provider");
        eq(v.price, PRICE, "the offer's price, not the order's");
        eq(v.pledgeBps, 5_000, "bps");
        eq(v.duration, DURATION, "duration");
        eq(v.maxDuration, 2 * DURATION, "max");
        eq(v.notice, NOTICE, "notice");
        eq(v.minCharge, MIN_CHARGE, "minCharge");
        eq(v.openedAt, START, "openedAt");
        eq(v.startBy, START + START_WITHIN, "startBy");
        eq(v.escrow, ESCROW, "escrow");
        eq(v.pledge, PLEDGE, "pledge");
        eq(v.solverFee, FEE, "fee");
        eq(v.solver, solver, "solver");
        eq(sublet.openCount(offerHash), 1, "count");
        eq(uint256(lens.job(id).state), 0, "no job of that number");
    }

    function test_job_of_class_exact_opens_with_equal_mediators() external {
        Order memory order = orderOf(Kind.Job);
        (order.class, order.mediatorSet) = (Class.Exact, set);
        uint64 id = open(offerOf(Kind.Job), order);
        moved(-int256(uint256(ESCROW + FEE)), -int256(uint256(PLEDGE)), 0, 0);
        JobView memory v = lens.job(id);
        jobIs(id, JobState.Open, JobEnd.None);
        eq(uint256(v.class), uint256(Class.Exact), "class");
        eq(v.mediatorSet, set, "set");
        eq(v.challengeWindow, WINDOW, "window");
        eq(v.startBy, START + START_WITHIN, "startBy");
        eq(v.runBy, START + START_WITHIN + DURATION, "runBy");
        eq(v.escrow, ESCROW, "escrow");
        eq(v.pledge, PLEDGE, "pledge");
        eq(uint256(lens.lease(id).state), 0, "no lease of that number");
        order.nonce += 1_000;
        order.mediatorSet = set + 1;
        refuse(offerOf(Kind.Job), order, abi.encodeWithSelector(ISublet.MatchMediatorsDiffer.selector, set, set + 1));
        Offer memory offer = offerOf(Kind.Job);
        for (uint256 i; i < 2; ++i) {
            // None, and one that nobody created.
            offer.mediatorSet = order.mediatorSet = i == 0 ? 0 : type(uint64).max;
            refuse(
                offer, order, abi.encodeWithSelector(ISublet.MatchMediatorsUnknown.selector, uint64(offer.mediatorSet))
            );
        }
    }

    /// Whoever overturns a result is paid from the pledge: it has to be enough for the whole panel.
    function test_a_pledge_covers_the_panel() external {
        Offer memory offer = offerOf(Kind.Job);
        offer.mediatorSet = court.createMediatorSet(mediators, 3, uint96(PLEDGE / 3));
        Order memory order = exactOrder();
        order.mediatorSet = offer.mediatorSet;
        open(offer, order);
        // A third that is one unit more makes three units more than the pledge, which is a multiple of three.
        offer.mediatorSet = order.mediatorSet = court.createMediatorSet(mediators, 3, uint96(PLEDGE / 3) + 1);
        order.nonce += 1_000;
        refuse(offer, order, abi.encodeWithSelector(ISublet.MatchPledgeBelowFees.selector, PLEDGE, PLEDGE + 3));
        order.class = Class.None;
        open(offer, order);
    }

    function test_who_may_open() external {
        Order memory order = orderOf(Kind.Lease);
        order.solver = stranger;
        Offer memory offer = offerOf(Kind.Lease);
        refuse(offer, order, abi.encodeWithSelector(ISublet.OrderOtherSolver.selector, solver, stranger));
        Pair memory p = pair(offer, order);
        vm.prank(renter);
        sublet.open(offer, p.offerSignature, order, p.orderSignature);
        order.nonce += 1_000;
        p = pair(offer, order);
        vm.prank(stranger);
        uint64 id = sublet.open(offer, p.offerSignature, order, p.orderSignature);
        eq(lens.lease(id).solver, stranger, "the opener earns the fee");
    }

    function test_refusals_of_the_offer() external {
        Offer memory o = offerOf(Kind.Lease);
        o.validUntil = uint64(clock() - 1);
        refuse(
            o,
            orderOf(Kind.Lease),
            abi.encodeWithSelector(ISublet.OfferExpired.selector, sublet.hashOffer(o), o.validUntil)
        );
        o = offerOf(Kind.Lease);
        o.price = 0;
        refuse(o, orderOf(Kind.Lease), abi.encodeWithSelector(ISublet.OfferZeroPrice.selector));
        o.price = uint128(type(uint96).max) + 1;
        refuse(o, orderOf(Kind.Lease), _range("price", o.price, type(uint96).max));
        o = offerOf(Kind.Lease);
        o.pledgeBps = uint32(type(uint24).max) + 1;
        refuse(o, orderOf(Kind.Lease), _range("pledgeBps", o.pledgeBps, type(uint24).max));
        o.pledgeBps = 0;
        Order memory any = orderOf(Kind.Lease);
        any.minPledgeBps = 0;
        refuse(o, any, abi.encodeWithSelector(ISublet.OfferZeroPledge.selector));
        o = offerOf(Kind.Lease);
        o.capacity = 0;
        refuse(o, orderOf(Kind.Lease), abi.encodeWithSelector(ISublet.OfferFull.selector, sublet.hashOffer(o), 0));
    }

    function test_refusals_of_the_order() external {
        Order memory o = orderOf(Kind.Lease);
        o.validUntil = uint64(clock() - 1);
        refuse(
            offerOf(Kind.Lease),
            o,
            abi.encodeWithSelector(ISublet.OrderExpired.selector, sublet.hashOrder(o), o.validUntil)
        );
        o = orderOf(Kind.Lease);
        o.solverFee = uint128(type(uint96).max) + 1;
        refuse(offerOf(Kind.Lease), o, _range("solverFee", o.solverFee, type(uint96).max));
        o = orderOf(Kind.Lease);
        o.provider = stranger;
        refuse(offerOf(Kind.Lease), o, abi.encodeWithSelector(ISublet.OrderOtherProvider.selector, provider, stranger));
        o = orderOf(Kind.Lease);
        o.class = Class.Exact;
        refuse(offerOf(Kind.Lease), o, abi.encodeWithSelector(ISublet.MatchLeaseHasClass.selector));
    }

    function test_refusals_of_the_match() external {
        Offer memory offer = offerOf(Kind.Lease);
        Order memory o = orderOf(Kind.Job);
        refuse(offer, o, abi.encodeWithSelector(ISublet.MatchKindDiffers.selector, Kind.Lease, Kind.Job));
        o = orderOf(Kind.Lease);
        o.maxPrice = PRICE - 1;
        refuse(offer, o, abi.encodeWithSelector(ISublet.MatchPriceTooHigh.selector, PRICE, PRICE - 1));
        o = orderOf(Kind.Lease);
        o.duration = 2 * DURATION + 1;
        refuse(offer, o, abi.encodeWithSelector(ISublet.MatchDurationOutside.selector, o.duration, 1, 2 * DURATION));
        o.duration = 0;
        offer.minDuration = 0;
        refuse(offer, o, abi.encodeWithSelector(ISublet.MatchDurationOutside.selector, 0, 0, 2 * DURATION));
        (o.duration, offer.minDuration) = (9, 10);
        refuse(offer, o, abi.encodeWithSelector(ISublet.MatchDurationOutside.selector, 9, 10, 2 * DURATION));
        o = orderOf(Kind.Job);
        o.challengeWindow = WINDOW + 1;
        refuse(offerOf(Kind.Job), o, abi.encodeWithSelector(ISublet.MatchWindowTooLong.selector, WINDOW + 1, WINDOW));
    }

    /// To the second, and only where somebody has to run it again.
    function test_longest_exact_job() external {
        uint32 most = IFit(sublet.fit()).MAX_EXACT();
        Offer memory offer = offerOf(Kind.Job);
        (offer.maxDuration, offer.price, offer.pledgeBps) = (type(uint32).max, 10_000, 1_000_000);
        Order memory o = exactOrder();
        o.duration = most + 1;
        refuse(offer, o, _range("duration", most + 1, most));
        (o.class, o.mediatorSet) = (Class.None, 0);
        jobIs(open(offer, o), JobState.Open, JobEnd.None);
        o = exactOrder();
        (o.duration, offer.capacity) = (most, offer.capacity + 1);
        jobIs(open(offer, o), JobState.Open, JobEnd.None);
    }

    /// What the renter signed bounds the provider's terms, each to the unit.
    function test_refusals_of_terms() external {
        for (uint256 i; i < 2; ++i) {
            Kind kind = Kind(i);
            Order memory o = orderOf(kind);
            o.minPledgeBps = PLEDGE_BPS + 1;
            refuse(offerOf(kind), o, _small("pledgeBps", PLEDGE_BPS, PLEDGE_BPS + 1));
            o = orderOf(kind);
            o.maxStartWithin = START_WITHIN - 1;
            refuse(offerOf(kind), o, _large("startWithin", START_WITHIN, START_WITHIN - 1));
        }
        Order memory lease = orderOf(Kind.Lease);
        lease.minNotice = NOTICE + 1;
        refuse(offerOf(Kind.Lease), lease, _small("notice", NOTICE, NOTICE + 1));
        lease = orderOf(Kind.Lease);
        lease.maxMinCharge = MIN_CHARGE - 1;
        refuse(offerOf(Kind.Lease), lease, _large("minCharge", MIN_CHARGE, MIN_CHARGE - 1));
        Order memory job = orderOf(Kind.Job);
        (job.minNotice, job.maxMinCharge) = (type(uint32).max, 0);
        jobIs(open(offerOf(Kind.Job), job), JobState.Open, JobEnd.None);
    }

    /// Anybody may ask before it spends gas, and hears what `open` would say.
    function test_fit_says_what_open_would() external {
        IFit fit = IFit(sublet.fit());
        (Offer memory offer, Order memory o) = (offerOf(Kind.Lease), orderOf(Kind.Lease));
        fit.check(offer, o);
        o.maxPrice = PRICE - 1;
        bytes memory why = abi.encodeWithSelector(ISublet.MatchPriceTooHigh.selector, PRICE, PRICE - 1);
        vm.expectRevert(why);
        fit.check(offer, o);
        refuse(offer, o, why);
    }

    function test_refusals_of_resources() external {
        Offer memory offer = offerOf(Kind.Lease);
        Order memory o = orderOf(Kind.Lease);
        o.resources.vcpus = 5;
        refuse(offer, o, _small("vcpus", 4, 5));
        o = orderOf(Kind.Lease);
        o.resources.memoryMiB = 8_193;
        refuse(offer, o, _small("memoryMiB", 8_192, 8_193));
        o = orderOf(Kind.Lease);
        o.resources.diskGiB = 101;
        refuse(offer, o, _small("diskGiB", 100, 101));
        o = orderOf(Kind.Lease);
        o.resources.gpus = 2;
        refuse(offer, o, _small("gpus", 1, 2));
        o = orderOf(Kind.Lease);
        o.resources.traits = keccak256("others");
        bytes32 has = offer.resources.traits;
        refuse(offer, o, abi.encodeWithSelector(ISublet.MatchTraitsDiffer.selector, has, o.resources.traits));
        o.resources = offer.resources;
        open(offer, o);
    }

    function test_provider_must_be_online_and_fresh() external {
        Offer memory offer = offerOf(Kind.Lease);
        pass(sublet.MAX_GAP());
        open(offer, orderOf(Kind.Lease));
        pass(1);
        refuse(offer, orderOf(Kind.Lease), abi.encodeWithSelector(ISublet.ProviderStale.selector, provider, START));
        vm.prank(provider);
        sublet.setOnline(false);
        refuse(offer, orderOf(Kind.Lease), abi.encodeWithSelector(ISublet.ProviderIsOffline.selector, provider));
        offer.provider = renter;
        Order memory order = orderOf(Kind.Lease);
        bytes memory sig = signature(RENTER_KEY, sublet.hashOffer(offer));
        bytes memory orderSig = sign(order);
        vm.expectRevert(abi.encodeWithSelector(ISublet.ProviderUnknown.selector, renter));
        sublet.open(offer, sig, order, orderSig);
    }

    function test_short_balances() external {
        vm.prank(provider);
        sublet.withdraw(FUNDS - PLEDGE + 1);
        refuse(
            offerOf(Kind.Lease),
            orderOf(Kind.Lease),
            abi.encodeWithSelector(ISublet.AccountShort.selector, provider, PLEDGE - 1, PLEDGE)
        );
        vm.prank(renter);
        sublet.withdraw(FUNDS - ESCROW);
        refuse(
            offerOf(Kind.Lease),
            orderOf(Kind.Lease),
            abi.encodeWithSelector(ISublet.AccountShort.selector, renter, ESCROW, ESCROW + FEE)
        );
    }

    function test_an_order_fills_once_and_an_offer_to_capacity() external {
        Offer memory offer = offerOf(Kind.Lease);
        Order memory order = orderOf(Kind.Lease);
        uint64 first = open(offer, order);
        refuse(offer, order, abi.encodeWithSelector(ISublet.OrderNonceUsed.selector, renter, order.nonce));
        open(offer, orderOf(Kind.Lease));
        bytes memory full = abi.encodeWithSelector(ISublet.OfferFull.selector, sublet.hashOffer(offer), 2);
        refuse(offer, orderOf(Kind.Lease), full);
        vm.prank(provider);
        sublet.rejectLease(first);
        open(offer, orderOf(Kind.Lease));
        refuse(offer, orderOf(Kind.Lease), full);
        eq(sublet.openCount(sublet.hashOffer(offer)), 2, "count");
    }

    function test_paused() external {
        vm.prank(guardian);
        sublet.pauseOpen(true);
        refuse(offerOf(Kind.Lease), orderOf(Kind.Lease), abi.encodeWithSelector(ISublet.OpenIsPaused.selector));
    }

    function test_batch_opens_what_it_can() external {
        Pair[] memory pairs = new Pair[](4);
        Offer memory offer = offerOf(Kind.Job);
        pairs[0] = pair(offer, orderOf(Kind.Job));
        pairs[1] = pair(offer, orderOf(Kind.Lease));
        GasEater eater = new GasEater();
        Order memory hungry = orderOf(Kind.Job);
        hungry.renter = address(eater);
        pairs[2] = pair(offer, hungry);
        pairs[3] = pair(offer, orderOf(Kind.Job));
        vm.prank(solver);
        vm.expectEmit();
        emit ISublet.OpenRefused(
            1, renter, provider, abi.encodeWithSelector(ISublet.MatchKindDiffers.selector, Kind.Job, Kind.Lease)
        );
        uint64[] memory ids = sublet.openMany{gas: 3_000_000}(pairs);
        eq(ids[0], 1, "first");
        eq(ids[1], 0, "refused");
        eq(ids[2], 0, "ate its own gas only");
        eq(ids[3], 2, "last");
        eq(lens.job(2).solver, solver, "opened by the batch's caller");
        moved(-int256(uint256(2 * (ESCROW + FEE))), -int256(uint256(2 * PLEDGE)), 0, 0);
    }

    /// Rows that fail for want of gas would fail in silence, so the batch fails instead.
    function test_batch_brings_gas_for_every_row() external {
        Pair[] memory pairs = new Pair[](2);
        Offer memory offer = offerOf(Kind.Job);
        (pairs[0], pairs[1]) = (pair(offer, orderOf(Kind.Job)), pair(offer, orderOf(Kind.Job)));
        vm.prank(solver);
        try sublet.openMany{gas: 800_000}(pairs) {
            yes(false, "attack worked: rows may go hungry");
        } catch (bytes memory reason) {
            eq(bytes32(bytes4(reason)), bytes32(ISublet.BatchGas.selector), "says what is missing");
        }
        vm.prank(solver);
        eq(sublet.openMany{gas: 1_200_000}(pairs)[1], 2, "enough for both");
    }

    /// A batch acts for its caller only: an order for another solver is refused within one as outside.
    function test_batch_does_not_lend_an_identity() external {
        Pair[] memory pairs = new Pair[](1);
        Order memory order = orderOf(Kind.Job);
        order.solver = address(sublet);
        pairs[0] = pair(offerOf(Kind.Job), order);
        vm.prank(solver);
        eq(sublet.openMany(pairs)[0], 0, "refused");
    }

    /// Largest and smallest amounts open, and give everything back, or are refused for just this reason.
    /// forge-config: default.fuzz.runs = 10000
    function testFuzz_amounts(uint128 price, uint32 duration, uint32 bps, uint128 fee) external {
        (price, duration, bps, fee) =
        (price >> price % 128, duration >> duration % 32, bps >> bps % 32, fee >> fee % 128);
        Offer memory offer = offerOf(Kind.Lease);
        Order memory order = orderOf(Kind.Lease);
        (offer.price, offer.pledgeBps, offer.minDuration, offer.maxDuration) = (price, bps, 0, type(uint32).max);
        (order.maxPrice, order.duration, order.solverFee, order.minPledgeBps) = (price, duration, fee, 0);
        bytes memory why = _refusal(price, duration, bps, fee);
        if (why.length != 0) return refuse(offer, order, why);
        uint64 id = open(offer, order);
        uint256 escrow = uint256(price) * duration;
        moved(-int256(escrow + fee), -int256(escrow * bps / 10_000), 0, 0);
        vm.prank(provider);
        sublet.rejectLease(id);
        moved(0, 0, 0, 0);
    }

    /// Why such amounts cannot be; empty if they can.
    function _refusal(uint256 price, uint256 duration, uint256 bps, uint256 fee) private view returns (bytes memory) {
        if (price == 0) return abi.encodeWithSelector(ISublet.OfferZeroPrice.selector);
        if (price > type(uint96).max) return _range("price", price, type(uint96).max);
        if (bps > type(uint24).max) return _range("pledgeBps", bps, type(uint24).max);
        if (fee > type(uint96).max) return _range("solverFee", fee, type(uint96).max);
        if (duration == 0) {
            return abi.encodeWithSelector(ISublet.MatchDurationOutside.selector, 0, 0, type(uint32).max);
        }
        uint256 escrow = price * duration;
        uint256 pledge = escrow * bps / 10_000;
        if (pledge > type(uint128).max) return _range("pledge", pledge, type(uint128).max);
        if (pledge == 0) return abi.encodeWithSelector(ISublet.OfferZeroPledge.selector);
        if (escrow + fee > FUNDS) return _short(renter, escrow + fee);
        return pledge > FUNDS ? _short(provider, pledge) : bytes("");
    }

    function _short(address who, uint256 needed) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ISublet.AccountShort.selector, who, FUNDS, needed);
    }

    function _range(bytes32 what, uint256 value, uint256 max) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ISublet.MatchOutOfRange.selector, what, value, max);
    }

    function _large(bytes32 what, uint256 offered, uint256 ordered) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ISublet.MatchTooLarge.selector, what, offered, ordered);
    }

    function _small(bytes32 what, uint256 offered, uint256 ordered) private pure returns (bytes memory) {
        return abi.encodeWithSelector(ISublet.MatchTooSmall.selector, what, offered, ordered);
    }
}
