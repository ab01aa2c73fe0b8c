// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Offer, Order} from "../Types.sol";
import {ISublet} from "../interfaces/ISublet.sol";
import {Batches} from "./Batches.sol";
import {Branches} from "./Branches.sol";
import {Fee, Head, OfferKey, Progress, Record, Result} from "./Record.sol";
import {Sums} from "./Sums.sol";
import {Terms, TermsLib} from "./Terms.sol";

/// @notice What leases and jobs share: their head, capacity of offers, solver fees, and how money leaves.
abstract contract Agreements is ISublet, Branches, Batches {
    /// Never zero again once used, so that the next agreement of the offer pays for a rewrite only.
    struct Use {
        uint64 ever;
        uint32 open;
    }

    /// Where the money of an ending agreement goes.
    struct Split {
        uint256 paid;
        uint256 refunded;
        uint256 pledgeBack;
        uint256 slashed;
        uint256 reward;
    }

    /// Share of the pledge that a provider loses by never starting or never submitting.
    uint256 private constant EXPIRY_PENALTY_BPS = 1_000;
    /// Share of a penalty for the third party that called.
    uint256 private constant REWARD_BPS = 100;

    mapping(uint64 id => Head) internal _heads;
    mapping(OfferKey => Use) private _uses;
    mapping(uint64 id => Fee) private _fees;
    mapping(uint64 id => Progress) internal _progress;
    mapping(uint64 id => Result) internal _results;

    /// @inheritdoc ISublet
    function recordOf(uint64 id) external view returns (Record memory) {
        return Record(_heads[id], _fees[id], _progress[id], _results[id]);
    }

    /// @inheritdoc ISublet
    function openCount(bytes32 offerHash) external view returns (uint32) {
        return _uses[_keyOf(offerHash)].open;
    }

    /// Writes a new agreement and takes one place of the offer; the money is locked by the caller.
    function _create(
        uint64 id,
        uint8 state,
        bytes32 offerHash,
        Offer calldata offer,
        Order calldata order,
        address solver,
        uint96 own
    ) internal {
        Use storage use = _uses[_keyOf(offerHash)];
        (uint64 ever, uint32 count) = (use.ever, use.open);
        if (count >= offer.capacity) revert OfferFull(offerHash, offer.capacity);
        unchecked {
            (use.ever, use.open) = (ever + 1, count + 1);
        }
        Head storage h = _heads[id];
        (h.renter, h.price) = (order.renter, uint96(offer.price));
        (h.provider, h.offer) = (offer.provider, _keyOf(offerHash));
        bool hasFee = order.solverFee != 0;
        h.terms = TermsLib.pack(order.duration, offer.startWithin, offer.pledgeBps, state, offer.kind, hasFee, own);
        if (hasFee) _fees[id] = Fee(solver, uint96(order.solverFee));
    }

    /// Ends an agreement: `split` says what is paid, refunded and slashed (at most the pledge); the rest is filled in.
    function _end(uint64 id, Head storage h, Terms t, address caller, Split memory split, bool payFee) internal {
        (address renter, address provider) = (h.renter, h.provider);
        uint256 pledge = Sums.pledge(h.price, t.duration(), t.pledgeBps());
        if (split.slashed > pledge) split.slashed = pledge;
        split.pledgeBack = pledge - split.slashed;
        h.terms = t.withoutFee();
        --_uses[h.offer].open;
        if (t.hasFee()) {
            if (payFee) {
                _paySolver(id);
            } else {
                split.refunded += _fees[id].amount;
                delete _fees[id];
            }
        }
        if (caller != renter && caller != provider && caller != address(_court)) {
            split.reward = split.slashed * REWARD_BPS / Sums.WHOLE_BPS;
            _credit(caller, split.reward);
        }
        _credit(provider, split.paid + split.pledgeBack);
        _credit(renter, split.refunded + split.slashed - split.reward);
    }

    /// The fee goes to whoever opened.
    function _paySolver(uint64 id) internal {
        (address solver, uint96 amount) = (_fees[id].solver, _fees[id].amount);
        delete _fees[id];
        _credit(solver, amount);
        emit SolverPaid(id, solver, amount);
    }

    function _expiryPenalty(Head storage h, Terms t) internal view returns (uint256) {
        return Sums.pledge(h.price, t.duration(), t.pledgeBps()) * EXPIRY_PENALTY_BPS / Sums.WHOLE_BPS;
    }

    function _requireParty(uint64 id, address party) internal view {
        if (msg.sender != party) revert AgreementOtherParty(id, msg.sender);
    }

    function _requireInTime(uint64 id, uint256 deadline) internal view {
        if (block.timestamp > deadline) revert AgreementTooLate(id, deadline);
    }

    function _requirePast(uint64 id, uint256 deadline) internal view {
        if (block.timestamp <= deadline) revert AgreementTooEarly(id, deadline + 1);
    }

    function _keyOf(bytes32 offerHash) private pure returns (OfferKey) {
        return OfferKey.wrap(bytes12(offerHash));
    }
}
