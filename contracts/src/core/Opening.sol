// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, JobState, Kind, LeaseState, Offer, Order, Pair, Resources} from "../Types.sol";
import {ISublet} from "../interfaces/ISublet.sol";
import {Guardian} from "./Guardian.sol";
import {Leases} from "./Leases.sol";
import {Rulings} from "./Rulings.sol";
import {Sums} from "./Sums.sol";
import {TermsLib} from "./Terms.sol";

/// @notice Checks a signed offer against an order, signed or placed, locks the money, and starts the agreement.
abstract contract Opening is ISublet, Guardian, Leases, Rulings {
    /// What was locked, and under which hashes.
    struct Opened {
        uint64 id;
        bytes32 offerHash;
        bytes32 orderHash;
        uint256 escrow;
        uint256 pledge;
        address solver;
        bool callback;
    }

    /// @inheritdoc ISublet
    function open(Offer memory offer, bytes calldata offerSignature, Order memory order, bytes calldata orderSignature)
        external
        returns (uint64)
    {
        Opened memory o;
        o.id = _nextAgreement();
        o.solver = _caller();
        o.offerHash = hashOffer(offer);
        o.orderHash = hashOrder(order);
        _checkOffer(offer, offerSignature, o.offerHash);
        _checkOrder(order, o.orderHash, o.solver);
        o.callback = _requireOrdered(order.renter, o.orderHash, orderSignature);
        _checkMatch(offer, order);
        _useNonce(order.renter, order.nonce);
        _lock(offer, order, o);
        if (offer.kind == Kind.Lease) _openLease(offer, order, o);
        else _openJob(offer, order, o);
        return o.id;
    }

    /// @inheritdoc ISublet
    function openMany(Pair[] calldata pairs) external returns (uint64[] memory ids) {
        ids = new uint64[](pairs.length);
        for (uint256 i; i < pairs.length; ++i) {
            Pair calldata p = pairs[i];
            uint256 start;
            assembly ("memory-safe") {
                start := p
            }
            (bool ok, bytes memory answer) = _callSelf(this.open.selector, start, p.orderSignature);
            if (ok) ids[i] = abi.decode(answer, (uint64));
            else emit OpenRefused(i, p.order.renter, p.offer.provider, answer);
        }
    }

    function _checkOffer(Offer memory offer, bytes calldata signature, bytes32 hash) private view {
        if (block.timestamp > offer.validUntil) revert OfferExpired(hash, offer.validUntil);
        if (offer.price == 0) revert OfferZeroPrice();
        if (offer.price > type(uint96).max) revert MatchOutOfRange("price", offer.price, type(uint96).max);
        if (offer.pledgeBps > type(uint24).max) {
            revert MatchOutOfRange("pledgeBps", offer.pledgeBps, type(uint24).max);
        }
        _requireTaking(offer.provider, offer.epoch);
        if (isOfferCancelled(offer.provider, hash)) revert OfferIsCancelled(hash);
        if (!_isSignedBy(offer.provider, hash, signature)) revert OfferBadSignature(offer.provider, hash);
    }

    function _checkOrder(Order memory order, bytes32 hash, address opener) private view {
        if (block.timestamp > order.validUntil) revert OrderExpired(hash, order.validUntil);
        if (order.solver != address(0) && opener != order.solver && opener != order.renter) {
            revert OrderOtherSolver(opener, order.solver);
        }
        if (order.solverFee > type(uint96).max) {
            revert MatchOutOfRange("solverFee", order.solverFee, type(uint96).max);
        }
    }

    /// Signed, or placed on chain: then without a signature, and perhaps with the wish to be told the end.
    function _requireOrdered(address renter, bytes32 hash, bytes calldata signature)
        private
        view
        returns (bool callback)
    {
        bool placed;
        if (signature.length == 0) (placed, callback) = _orders.placed(hash);
        if (!placed && !_isSignedBy(renter, hash, signature)) revert OrderBadSignature(renter, hash);
    }

    function _checkMatch(Offer memory offer, Order memory order) private pure {
        if (order.provider != address(0) && order.provider != offer.provider) {
            revert OrderOtherProvider(offer.provider, order.provider);
        }
        if (offer.kind != order.kind) revert MatchKindDiffers(offer.kind, order.kind);
        if (offer.price > order.maxPrice) revert MatchPriceTooHigh(offer.price, order.maxPrice);
        if (order.duration == 0 || order.duration < offer.minDuration || order.duration > offer.maxDuration) {
            revert MatchDurationOutside(order.duration, offer.minDuration, offer.maxDuration);
        }
        _checkResources(offer.resources, order.resources);
        if (order.kind == Kind.Lease) {
            if (order.class != Class.None) revert MatchLeaseHasClass();
            return;
        }
        if (order.challengeWindow > offer.maxChallengeWindow) {
            revert MatchWindowTooLong(order.challengeWindow, offer.maxChallengeWindow);
        }
        if (order.class == Class.Exact && order.mediatorSet != offer.mediatorSet) {
            revert MatchMediatorsDiffer(offer.mediatorSet, order.mediatorSet);
        }
    }

    function _checkResources(Resources memory has, Resources memory least) private pure {
        if (has.vcpus < least.vcpus) revert MatchTooSmall("vcpus", has.vcpus, least.vcpus);
        if (has.memoryMiB < least.memoryMiB) revert MatchTooSmall("memoryMiB", has.memoryMiB, least.memoryMiB);
        if (has.diskGiB < least.diskGiB) revert MatchTooSmall("diskGiB", has.diskGiB, least.diskGiB);
        if (has.gpus < least.gpus) revert MatchTooSmall("gpus", has.gpus, least.gpus);
        if (least.traits != 0 && has.traits != least.traits) revert MatchTraitsDiffer(has.traits, least.traits);
    }

    /// Escrow and fee from the renter, pledge from the provider.
    function _lock(Offer memory offer, Order memory order, Opened memory o) private {
        o.escrow = Sums.rent(uint96(offer.price), order.duration);
        o.pledge = Sums.pledge(uint96(offer.price), order.duration, uint24(offer.pledgeBps));
        if (o.pledge == 0) revert OfferZeroPledge();
        if (order.class == Class.Exact) _requireFees(order.mediatorSet, o.pledge);
        _debit(order.renter, uint256(o.escrow) + order.solverFee);
        _debit(offer.provider, o.pledge);
    }

    /// The pledge must pay the panel that would overturn the result.
    function _requireFees(uint64 mediatorSet, uint256 pledge) private view {
        uint256 fees = _court.panelFees(mediatorSet);
        if (fees == 0) revert MatchMediatorsUnknown(mediatorSet);
        if (pledge < fees) revert MatchPledgeBelowFees(pledge, fees);
    }

    function _openLease(Offer memory offer, Order memory order, Opened memory o) private {
        uint96 own = TermsLib.packLease(offer.maxDuration, offer.notice, offer.minCharge);
        _create(o.id, uint8(LeaseState.Open), o.offerHash, offer, order, o.solver, own);
        emit LeaseOpened(
            o.id,
            order.renter,
            offer.provider,
            o.offerHash,
            o.orderHash,
            order.workload,
            order.peerKey,
            offer.price,
            order.duration,
            uint128(o.escrow),
            uint128(o.pledge),
            order.solverFee,
            o.solver,
            uint64(block.timestamp + offer.startWithin)
        );
    }

    function _openJob(Offer memory offer, Order memory order, Opened memory o) private {
        // A set that nobody can call is not kept; one that exists has a small number.
        uint48 set = order.class == Class.Exact ? uint48(order.mediatorSet) : 0;
        uint96 own = TermsLib.packJob(order.challengeWindow, set, order.class, o.callback);
        _create(o.id, uint8(JobState.Open), o.offerHash, offer, order, o.solver, own);
        emit JobOpened(
            o.id,
            order.renter,
            offer.provider,
            o.offerHash,
            o.orderHash,
            order.workload,
            order.peerKey,
            order.class,
            offer.price,
            order.duration,
            uint128(o.escrow),
            uint128(o.pledge),
            order.solverFee,
            o.solver,
            uint64(block.timestamp + offer.startWithin),
            uint64(block.timestamp + offer.startWithin + order.duration)
        );
    }
}
