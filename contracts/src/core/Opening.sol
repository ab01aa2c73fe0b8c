// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, JobState, Kind, LeaseState, Offer, Order, Pair} from "../Types.sol";
import {IFit} from "../interfaces/IFit.sol";
import {ISublet} from "../interfaces/ISublet.sol";
import {Guardian} from "./Guardian.sol";
import {Leases} from "./Leases.sol";
import {Rulings} from "./Rulings.sol";
import {Sums} from "./Sums.sol";
import {TermsLib} from "./Terms.sol";

/// @notice Checks who signed, or placed, the documents of a pair that fits, locks the money, and starts the agreement.
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
    function open(
        Offer calldata offer,
        bytes calldata offerSignature,
        Order calldata order,
        bytes calldata orderSignature
    ) external returns (uint64) {
        Opened memory o;
        o.id = _nextAgreement();
        _requireFit(offer, order);
        o.solver = _caller();
        o.offerHash = hashOffer(offer);
        o.orderHash = hashOrder(order);
        _checkOffer(offer, offerSignature, o.offerHash);
        _checkOrder(order, o.orderHash, o.solver);
        o.callback = _requireOrdered(order.renter, o.orderHash, orderSignature);
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

    /// In the call data both documents are as `Fit` takes them, but for the place of a signature in between.
    function _requireFit(Offer calldata offer, Order calldata order) private view {
        (uint256 a, uint256 b) = (0, 0);
        assembly ("memory-safe") {
            a := offer
            b := order
        }
        bytes memory ask = bytes.concat(IFit.check.selector, msg.data[a:a + OFFER_SIZE], msg.data[b:b + ORDER_SIZE]);
        (bool fits, bytes memory why) = address(_fit).staticcall(ask);
        if (fits) return;
        assembly ("memory-safe") {
            revert(add(why, 0x20), mload(why))
        }
    }

    function _checkOffer(Offer calldata offer, bytes calldata signature, bytes32 hash) private view {
        if (block.timestamp > offer.validUntil) revert OfferExpired(hash, offer.validUntil);
        _requireTaking(offer.provider, offer.epoch);
        if (isOfferCancelled(offer.provider, hash)) revert OfferIsCancelled(hash);
        if (!_isSignedBy(offer.provider, hash, signature)) revert OfferBadSignature(offer.provider, hash);
    }

    function _checkOrder(Order calldata order, bytes32 hash, address opener) private view {
        if (block.timestamp > order.validUntil) revert OrderExpired(hash, order.validUntil);
        if (order.solver != address(0) && opener != order.solver && opener != order.renter) {
            revert OrderOtherSolver(opener, order.solver);
        }
    }

    /// Signed, or placed on chain: then without a signature, and perhaps with the wish to be told the end.
    function _requireOrdered(address renter, bytes32 hash, bytes calldata signature)
        private
        view
        returns (bool callback)
    {
        bool placed;
        // A contract may accept any signature: given one, a placed order would lose its wish for a callback.
        if (signature.length == 0 || renter.code.length != 0) (placed, callback) = _orders.placed(hash);
        if (!placed && !_isSignedBy(renter, hash, signature)) revert OrderBadSignature(renter, hash);
    }

    /// Escrow and fee from the renter, pledge from the provider.
    function _lock(Offer calldata offer, Order calldata order, Opened memory o) private {
        o.escrow = Sums.rent(uint96(offer.price), order.duration);
        o.pledge = Sums.pledge(uint96(offer.price), order.duration, uint24(offer.pledgeBps));
        if (order.class == Class.Exact) _requireFees(order.mediatorSet, o.pledge);
        _debit(order.renter, o.escrow + order.solverFee);
        _debit(offer.provider, o.pledge);
    }

    /// The pledge must pay the panel that would overturn the result.
    function _requireFees(uint64 mediatorSet, uint256 pledge) private view {
        uint256 fees = _court.panelFees(mediatorSet);
        if (fees == 0) revert MatchMediatorsUnknown(mediatorSet);
        if (pledge < fees) revert MatchPledgeBelowFees(pledge, fees);
    }

    function _openLease(Offer calldata offer, Order calldata order, Opened memory o) private {
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

    function _openJob(Offer calldata offer, Order calldata order, Opened memory o) private {
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
