// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, Kind, Offer, Order, Resources} from "../src/Types.sol";
import {ISublet} from "../src/interfaces/ISublet.sol";
import {Fixture} from "./base/Fixture.sol";
import {Wallet} from "./mocks/Wallets.sol";

/// @notice Digests against a second, plain implementation of EIP-712; who may sign; what was taken back.
contract DocumentsTest is Fixture {
    string private constant RESOURCES =
        "Resources(uint32 vcpus,uint32 memoryMiB,uint32 diskGiB,uint32 gpus,bytes32 traits)";

    function test_offer_digest() external view {
        Offer memory o = offerOf(Kind.Job);
        bytes32 typeHash = keccak256(
            abi.encodePacked(
                "Offer(address provider,uint8 kind,Resources resources,uint128 price,uint32 pledgeBps,",
                "uint32 capacity,uint32 minDuration,uint32 maxDuration,uint32 startWithin,uint32 notice,",
                "uint32 minCharge,uint64 mediatorSet,uint32 maxChallengeWindow,uint64 validUntil,uint64 epoch)",
                RESOURCES
            )
        );
        bytes memory head = abi.encode(typeHash, o.provider, o.kind, _hash(o.resources), o.price, o.pledgeBps);
        bytes memory middle = abi.encode(o.capacity, o.minDuration, o.maxDuration, o.startWithin, o.notice);
        bytes memory tail = abi.encode(o.minCharge, o.mediatorSet, o.maxChallengeWindow, o.validUntil, o.epoch);
        eq(sublet.hashOffer(o), _digest(bytes.concat(head, middle, tail)), "offer");
    }

    function testFuzz_order_digest(uint128 price, uint32 count, bytes32 hash, uint64 set, address solver_) external {
        Order memory o = orderOf(Kind(count % 2));
        (o.maxPrice, o.solverFee, o.duration, o.resources.gpus) = (price, ~price, count, ~count);
        (o.workload, o.peerKey, o.resources.traits, o.nonce) = (hash, ~hash, keccak256(abi.encode(hash)), uint256(hash));
        (o.class, o.mediatorSet, o.validUntil) = (Class(set % 2), set, ~set);
        (o.solver, o.provider) = (solver_, address(~uint160(solver_)));
        (o.minPledgeBps, o.maxStartWithin, o.minNotice, o.maxMinCharge) = (count, ~count, count / 2, ~(count / 2));
        bytes32 typeHash = keccak256(
            abi.encodePacked(
                "Order(address renter,uint8 kind,Resources resources,uint128 maxPrice,uint32 duration,",
                "bytes32 workload,bytes32 peerKey,uint8 class,uint64 mediatorSet,uint32 challengeWindow,",
                "uint32 minPledgeBps,uint32 maxStartWithin,uint32 minNotice,uint32 maxMinCharge,",
                "address provider,address solver,uint128 solverFee,uint64 validUntil,uint256 nonce)",
                RESOURCES
            )
        );
        bytes memory head = abi.encode(typeHash, o.renter, o.kind, _hash(o.resources), o.maxPrice, o.duration);
        bytes memory middle = abi.encode(o.workload, o.peerKey, o.class, o.mediatorSet, o.challengeWindow);
        bytes memory tail = abi.encode(o.provider, o.solver, o.solverFee, o.validUntil, o.nonce);
        bytes memory limits = abi.encode(o.minPledgeBps, o.maxStartWithin, o.minNotice, o.maxMinCharge);
        eq(sublet.hashOrder(o), _digest(bytes.concat(head, middle, limits, tail)), "order");
    }

    function test_acceptance_digest() external view {
        bytes32 typeHash = keccak256("Acceptance(uint64 job,bytes32 resultHash,uint128 cost)");
        bytes32 digest = _digest(abi.encode(typeHash, 9, RESULT, 12));
        eq(sublet.hashAcceptance(9, RESULT, 12), digest, "acceptance");
    }

    /// Chain and contract are part of what is signed.
    function test_signatures_bind_the_chain() external {
        (Offer memory offer, Order memory order) = (offerOf(Kind.Lease), orderOf(Kind.Lease));
        (bytes memory a, bytes memory b) = (sign(offer), sign(order));
        vm.chainId(99);
        vm.expectRevert(abi.encodeWithSelector(ISublet.OfferBadSignature.selector, provider, sublet.hashOffer(offer)));
        sublet.open(offer, a, order, b);
    }

    function test_a_contract_account_rents_by_erc1271() external {
        Wallet wallet = new Wallet(renter);
        token.mint(address(wallet), FUNDS);
        wallet.deposit(sublet, token, FUNDS);
        Order memory order = orderOf(Kind.Job);
        order.renter = address(wallet);
        uint64 id = open(offerOf(Kind.Job), order);
        bytes memory sig = acceptance(id, RESULT, ESCROW);
        vm.prank(stranger);
        sublet.settleJob(id, RESULT, ESCROW, sig);
        eq(sublet.freeOf(address(wallet)), FUNDS - ESCROW - FEE, "paid");
        order.nonce = 1_000;
        bytes memory wrong = signature(PROVIDER_KEY, sublet.hashOrder(order));
        Offer memory offer = offerOf(Kind.Job);
        bytes memory good = sign(offer);
        vm.expectRevert(
            abi.encodeWithSelector(ISublet.OrderBadSignature.selector, address(wallet), sublet.hashOrder(order))
        );
        sublet.open(offer, good, order, wrong);
    }

    function test_bad_signatures() external {
        (Offer memory offer, Order memory order) = (offerOf(Kind.Lease), orderOf(Kind.Lease));
        bytes[4] memory bad =
            [bytes(""), new bytes(65), signature(0xBAD, sublet.hashOffer(offer)), bytes.concat(sign(offer), hex"00")];
        bytes memory good = sign(order);
        for (uint256 i; i < bad.length; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(ISublet.OfferBadSignature.selector, provider, sublet.hashOffer(offer))
            );
            sublet.open(offer, bad[i], order, good);
        }
        good = sign(offer);
        bytes memory swapped = signature(RENTER_KEY, sublet.hashOffer(offer));
        vm.expectRevert(abi.encodeWithSelector(ISublet.OrderBadSignature.selector, renter, sublet.hashOrder(order)));
        sublet.open(offer, good, order, swapped);
    }

    function test_cancelled_order() external {
        Order memory order = orderOf(Kind.Lease);
        order.nonce = type(uint256).max;
        vm.prank(renter);
        sublet.cancelOrder(order.nonce);
        yes(sublet.isNonceUsed(renter, order.nonce), "used");
        yes(!sublet.isNonceUsed(renter, order.nonce - 1), "only that one");
        bytes memory used = abi.encodeWithSelector(ISublet.OrderNonceUsed.selector, renter, order.nonce);
        refuse(offerOf(Kind.Lease), order, used);
        vm.prank(renter);
        vm.expectRevert(used);
        sublet.cancelOrder(order.nonce);
    }

    function test_cancelled_offer_is_its_providers_only() external {
        Offer memory offer = offerOf(Kind.Lease);
        bytes32 hash = sublet.hashOffer(offer);
        vm.prank(stranger);
        sublet.cancelOffer(hash);
        open(offer, orderOf(Kind.Lease));
        vm.prank(provider);
        sublet.cancelOffer(hash);
        yes(sublet.isOfferCancelled(provider, hash), "cancelled");
        refuse(offer, orderOf(Kind.Lease), abi.encodeWithSelector(ISublet.OfferIsCancelled.selector, hash));
        offer.validUntil += 1;
        open(offer, orderOf(Kind.Lease));
    }

    function test_bumped_epoch_ends_all_older_offers() external {
        Offer memory offer = offerOf(Kind.Lease);
        vm.prank(provider);
        sublet.bumpEpoch();
        refuse(offer, orderOf(Kind.Lease), abi.encodeWithSelector(ISublet.OfferEpochOver.selector, 0, 1));
        offer.epoch = 1;
        open(offer, orderOf(Kind.Lease));
    }

    function _hash(Resources memory r) private pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(bytes(RESOURCES)), r.vcpus, r.memoryMiB, r.diskGiB, r.gpus, r.traits));
    }

    function _digest(bytes memory encoded) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Sublet"),
                keccak256("1"),
                block.chainid,
                address(sublet)
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, keccak256(encoded)));
    }
}
