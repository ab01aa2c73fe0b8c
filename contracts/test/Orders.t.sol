// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, LeaseEnd, LeaseState, Offer, Order, Pair} from "../src/Types.sol";
import {IOrders} from "../src/interfaces/IOrders.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {Fixture} from "./base/Fixture.sol";
import {Receiver} from "./mocks/Receivers.sol";

/// @notice Orders placed on chain: who may, with what, and that they fill as signed ones do.
contract OrdersTest is Fixture {
    bytes private constant WORKLOAD = "{\"module\":\"cowsay\"}";

    function test_place() external {
        Order memory o = _order(Kind.Job);
        bytes32 hash = sublet.hashOrder(o);
        vm.expectEmit(address(orders));
        emit IOrders.OrderPlaced(renter, hash, o, WORKLOAD, true);
        vm.prank(renter);
        eq(orders.placeOrder(o, WORKLOAD, true), hash, "the digest that is signed otherwise");
        _is(hash, true, true);
        o.nonce += 1_000;
        vm.prank(renter);
        hash = orders.placeOrder(o, "", false);
        _is(hash, true, false);
        o.nonce += 1_000;
        _is(sublet.hashOrder(o), false, false);
        moved(0, 0, 0, 0);
    }

    function test_place_refusals() external {
        Order memory o = _order(Kind.Job);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IOrders.OrderNotRenter.selector, stranger, renter));
        orders.placeOrder(o, WORKLOAD, false);
        vm.startPrank(renter);
        vm.expectRevert(
            abi.encodeWithSelector(IOrders.OrderWorkloadDiffers.selector, keccak256("other"), keccak256(WORKLOAD))
        );
        orders.placeOrder(o, "other", false);
        bytes memory long = new bytes(16 * 1024 + 1);
        vm.expectRevert(abi.encodeWithSelector(IOrders.OrderWorkloadTooLong.selector, long.length, long.length - 1));
        orders.placeOrder(o, long, false);
        long = new bytes(16 * 1024);
        o.workload = keccak256(long);
        orders.placeOrder(o, long, false);
        o = _order(Kind.Lease);
        vm.expectRevert(abi.encodeWithSelector(IOrders.OrderNoCallback.selector, Kind.Lease));
        orders.placeOrder(o, WORKLOAD, true);
        orders.placeOrder(o, WORKLOAD, false);
        vm.stopPrank();
    }

    /// No signature at all, of anybody but the provider.
    function test_a_placed_order_fills_without_a_signature() external {
        Order memory o = _order(Kind.Lease);
        vm.prank(renter);
        orders.placeOrder(o, WORKLOAD, false);
        uint64 id = _openPlaced(offerOf(Kind.Lease), o);
        leaseIs(id, LeaseState.Open, LeaseEnd.None);
        eq(lens.lease(id).renter, renter, "renter");
        moved(-int256(uint256(ESCROW + FEE)), -int256(uint256(PLEDGE)), 0, 0);
        _refusedPlaced(offerOf(Kind.Lease), o, abi.encodeWithSelector(ISublet.OrderNonceUsed.selector, renter, o.nonce));
    }

    /// A contract that could never sign, in a batch beside a signed order.
    function test_a_contract_that_cannot_sign() external {
        Receiver receiver = _receiver();
        Order memory o = _order(Kind.Job);
        o.renter = address(receiver);
        receiver.place(o, WORKLOAD, false);
        Pair[] memory pairs = new Pair[](2);
        pairs[0] = Pair(offerOf(Kind.Job), sign(offerOf(Kind.Job)), o, "");
        pairs[1] = pair(offerOf(Kind.Job), orderOf(Kind.Job));
        vm.prank(solver);
        uint64[] memory ids = sublet.openMany(pairs);
        eq(lens.job(ids[0]).renter, address(receiver), "the contract's");
        yes(!lens.job(ids[0]).callback, "no callback was wished for");
        eq(lens.job(ids[1]).renter, renter, "the signed one");
    }

    function test_what_was_not_placed_does_not_fill() external {
        Order memory o = _order(Kind.Job);
        _refusedPlaced(offerOf(Kind.Job), o, _badSignature(o));
        vm.prank(renter);
        orders.placeOrder(o, WORKLOAD, false);
        // Every field counts.
        Order memory other = _order(Kind.Job);
        other.nonce = o.nonce;
        other.maxPrice = o.maxPrice + 1;
        _refusedPlaced(offerOf(Kind.Job), other, _badSignature(other));
        // Somebody else's name on the same order.
        other.maxPrice = o.maxPrice;
        other.renter = stranger;
        _refusedPlaced(offerOf(Kind.Job), other, _badSignature(other));
        // A signature beside a placed order has to be good.
        bytes memory a = sign(offerOf(Kind.Job));
        Offer memory offer = offerOf(Kind.Job);
        vm.prank(solver);
        vm.expectRevert(_badSignature(o));
        sublet.open(offer, a, o, hex"00");
        open(offer, o);
    }

    function test_cancelled_and_expired_ones_do_not_fill() external {
        Order memory o = _order(Kind.Job);
        vm.startPrank(renter);
        orders.placeOrder(o, WORKLOAD, false);
        sublet.cancelOrder(o.nonce);
        vm.stopPrank();
        _refusedPlaced(offerOf(Kind.Job), o, abi.encodeWithSelector(ISublet.OrderNonceUsed.selector, renter, o.nonce));
        o = _order(Kind.Job);
        o.validUntil = uint64(clock());
        vm.prank(renter);
        bytes32 hash = orders.placeOrder(o, WORKLOAD, false);
        pass(1);
        _refusedPlaced(offerOf(Kind.Job), o, abi.encodeWithSelector(ISublet.OrderExpired.selector, hash, o.validUntil));
        // Still placed: `open` says why not, not this list.
        _is(hash, true, false);
    }

    /// The solver named, the money needed, the pause: a placed order has no privileges.
    function test_all_other_checks_are_the_same() external {
        Order memory o = _order(Kind.Job);
        o.solver = stranger;
        vm.prank(renter);
        orders.placeOrder(o, WORKLOAD, false);
        Offer memory offer = offerOf(Kind.Job);
        _refusedPlaced(offer, o, abi.encodeWithSelector(ISublet.OrderOtherSolver.selector, solver, stranger));
        o = _order(Kind.Job);
        o.maxPrice = PRICE - 1;
        vm.prank(renter);
        orders.placeOrder(o, WORKLOAD, false);
        _refusedPlaced(offer, o, abi.encodeWithSelector(ISublet.MatchPriceTooHigh.selector, PRICE, PRICE - 1));
        o = _order(Kind.Job);
        uint128 free = uint128(sublet.freeOf(renter));
        vm.startPrank(renter);
        orders.placeOrder(o, WORKLOAD, false);
        sublet.withdraw(free);
        vm.stopPrank();
        _refusedPlaced(offer, o, abi.encodeWithSelector(ISublet.AccountShort.selector, renter, 0, ESCROW + FEE));
        vm.prank(guardian);
        sublet.pauseOpen(true);
        _refusedPlaced(offer, o, abi.encodeWithSelector(ISublet.OpenIsPaused.selector));
    }

    function _order(Kind kind) private returns (Order memory o) {
        o = orderOf(kind);
        o.workload = keccak256(WORKLOAD);
    }

    function _receiver() private returns (Receiver receiver) {
        receiver = new Receiver(sublet);
        token.mint(address(receiver), FUNDS);
        receiver.fund(token, FUNDS);
    }

    function _openPlaced(Offer memory offer, Order memory order) private returns (uint64) {
        bytes memory a = sign(offer);
        vm.prank(solver);
        return sublet.open(offer, a, order, "");
    }

    function _refusedPlaced(Offer memory offer, Order memory order, bytes memory why) private {
        bytes memory a = sign(offer);
        vm.prank(solver);
        vm.expectRevert(why);
        sublet.open(offer, a, order, "");
    }

    function _badSignature(Order memory o) private view returns (bytes memory) {
        return abi.encodeWithSelector(ISublet.OrderBadSignature.selector, o.renter, sublet.hashOrder(o));
    }

    function _is(bytes32 hash, bool placed, bool callback) private view {
        (bool p, bool c) = orders.placed(hash);
        yes(p == placed && c == callback, "as placed");
    }
}
