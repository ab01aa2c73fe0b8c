// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Sublet} from "../../src/Sublet.sol";
import {SubletToken} from "../../src/SubletToken.sol";
import {Kind, Offer, Order} from "../../src/Types.sol";
import {ISublet} from "../../src/interfaces/ISublet.sol";
import {Coin} from "../mocks/Coin.sol";
import {LyingToken} from "../mocks/Tokens.sol";
import {Attack} from "./Attack.sol";

/// @notice Getting at money that is somebody else's, or paying with money that is not there.
contract EscrowAttacksTest is Attack {
    /// An agreement with oneself moves only what it holds, however and however often it is closed.
    function test_sham_agreement() external {
        uint64 honest = activeLease();
        uint64 id = sham(Kind.Lease);
        vm.startPrank(mallory);
        sublet.cancelLease(id);
        for (uint256 i; i < 3; ++i) {
            _tryAll(id);
        }
        vm.stopPrank();
        wins(mallory, 0, "a sham lease drew on another's escrow");
        id = sham(Kind.Lease);
        vm.startPrank(mallory);
        sublet.startLease(id);
        sublet.closeLease(id, ANY);
        for (uint256 i; i < 3; ++i) {
            _tryAll(id);
        }
        uint128 all = uint128(sublet.freeOf(mallory));
        sublet.withdraw(all);
        vm.stopPrank();
        worked(all != FUNDS, "withdrew more than was paid in");
        eq(lens.lease(honest).escrow, ESCROW, "the honest escrow is whole");
        uint256 owed = sublet.freeOf(renter) + sublet.freeOf(provider) + sublet.freeOf(stranger) + sublet.freeOf(solver);
        owed += ESCROW + PLEDGE + FUNDS * mediators.length;
        eq(token.balanceOf(address(sublet)), owed, "and so is everything");
    }

    /// Numbers are the contract's own: nobody takes one in advance, nor writes over one.
    function test_id_squatting() external {
        Order memory order = orderOf(Kind.Lease);
        order.nonce = 77;
        Order memory squat = orderOf(Kind.Lease);
        (squat.renter, squat.nonce) = (mallory, 77);
        uint64 first = shamOf(Kind.Lease, squat);
        uint64 second = open(offerOf(Kind.Lease), order);
        worked(first == second, "two agreements have one number");
        worked(first != 1 || second != 2, "a number was chosen");
        eq(lens.lease(first).renter, mallory, "hers");
        eq(lens.lease(second).renter, renter, "theirs");
    }

    function test_pledge_of_zero() external {
        Offer memory offer = offerOf(Kind.Lease);
        offer.pledgeBps = 0;
        Order memory careless = orderOf(Kind.Lease);
        careless.minPledgeBps = 0;
        bytes memory why = abi.encodeWithSelector(ISublet.OfferZeroPledge.selector);
        refuseOpen(offer, careless, why, "a provider pledged nothing");
        // Nor by rounding.
        (offer.price, offer.pledgeBps) = (1, 2);
        refuseOpen(offer, careless, why, "a provider pledged less than a unit");
    }

    function test_unpaid_pledge() external {
        vm.prank(provider);
        sublet.withdraw(FUNDS - PLEDGE + 1);
        bytes memory why = abi.encodeWithSelector(ISublet.AccountShort.selector, provider, PLEDGE - 1, PLEDGE);
        refuseOpen(offerOf(Kind.Lease), orderOf(Kind.Lease), why, "a provider pledged what it does not have");
    }

    /// Escrow is locked for every second at the provider's price: one unit a second buys nothing dearer.
    function test_one_unit_a_second() external {
        Order memory order = orderOf(Kind.Lease);
        order.maxPrice = 1;
        bytes memory why = abi.encodeWithSelector(ISublet.MatchPriceTooHigh.selector, PRICE, 1);
        refuseOpen(offerOf(Kind.Lease), order, why, "the renter set the price");
        order.maxPrice = PRICE;
        vm.prank(renter);
        sublet.withdraw(FUNDS - DURATION - FEE);
        why = abi.encodeWithSelector(ISublet.AccountShort.selector, renter, DURATION + FEE, ESCROW + FEE);
        refuseOpen(offerOf(Kind.Lease), order, why, "a machine for one unit a second");
    }

    /// The token is fixed; one that says it paid and did not is no payment either.
    function test_worthless_token() external {
        LyingToken liar = new LyingToken();
        Sublet other = new Sublet(liar, guardian);
        bytes memory why = abi.encodeWithSelector(ISublet.AccountDepositDiffers.selector, 1_000, 0);
        refusedAt(
            mallory, address(other), abi.encodeCall(other.deposit, (1_000)), why, "a worthless token was credited"
        );
        liar.setCredit(999);
        why = abi.encodeWithSelector(ISublet.AccountDepositDiffers.selector, 1_000, 999);
        refusedAt(
            mallory, address(other), abi.encodeCall(other.deposit, (1_000)), why, "more was credited than came in"
        );
    }

    function test_expired_order() external {
        Order memory order = orderOf(Kind.Lease);
        order.validUntil = uint64(clock() - 1);
        bytes memory why =
            abi.encodeWithSelector(ISublet.OrderExpired.selector, sublet.hashOrder(order), order.validUntil);
        refuseOpen(offerOf(Kind.Lease), order, why, "an expired order was filled");
    }

    function test_withdrawn_escrow() external {
        vm.prank(renter);
        sublet.withdraw(FUNDS);
        bytes memory why = abi.encodeWithSelector(ISublet.AccountShort.selector, renter, 0, ESCROW + FEE);
        refuseOpen(offerOf(Kind.Lease), orderOf(Kind.Lease), why, "money that was withdrawn paid");
        eq(sublet.agreementCount(), 0, "no number used");
    }

    function test_reused_order() external {
        Order memory order = orderOf(Kind.Lease);
        open(offerOf(Kind.Lease), order);
        bytes memory why = abi.encodeWithSelector(ISublet.OrderNonceUsed.selector, renter, order.nonce);
        refuseOpen(offerOf(Kind.Lease), order, why, "one order was filled twice");
    }

    /// Whom the token refuses stops nobody else, and is paid elsewhere.
    function test_recipient_that_rejects_payment() external {
        Coin coin = new Coin();
        uint64 id = _leaseIn(coin);
        coin.setBlocked(renter, true);
        vm.prank(provider);
        (bool ok,) = address(sublet).call(abi.encodeCall(sublet.closeLease, (id, ANY)));
        worked(!ok, "a renter that cannot be paid keeps the provider's pledge locked");
        _leave(provider, provider);
        bytes memory why = abi.encodeWithSelector(Coin.CoinBlocked.selector, renter);
        refused(renter, abi.encodeCall(sublet.withdraw, (1)), why, "a blocked account was paid");
        _leave(renter, stranger);
        _leave(solver, solver);
        eq(coin.balanceOf(address(sublet)), 0, "everybody got everything");
    }

    function _tryAll(uint64 id) private {
        bytes4[5] memory calls = [
            sublet.cancelLease.selector,
            sublet.rejectLease.selector,
            sublet.closeLease.selector,
            sublet.settleLease.selector,
            sublet.expireLease.selector
        ];
        for (uint256 i; i < calls.length; ++i) {
            (bool ok,) = address(sublet).call(abi.encodeWithSelector(calls[i], id, ANY));
            worked(ok, "an agreement ended twice");
        }
    }

    /// A lease of the same parties in another market, whose token refuses accounts.
    function _leaseIn(Coin coin) private returns (uint64 id) {
        token = SubletToken(address(coin));
        sublet = new Sublet(coin, guardian);
        fund(renter);
        fund(provider);
        vm.startPrank(provider);
        sublet.registerProvider(keccak256("provider key"), "");
        sublet.setOnline(true);
        vm.stopPrank();
        return activeLease();
    }

    function _leave(address who, address to) private {
        uint128 all = uint128(sublet.freeOf(who));
        vm.prank(who);
        sublet.withdrawTo(to, all);
    }
}
