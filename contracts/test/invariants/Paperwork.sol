// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, Kind, Offer, Order, Resources} from "../../src/Types.sol";
import {OpenRules} from "./OpenRules.sol";

/// @notice Offers and orders to try: most match, a fifth has one flaw.
abstract contract Paperwork is OpenRules {
    uint256 private constant FLAWS = 26;
    uint256 private constant MAX_OFFERS = 16;
    uint32 internal constant LONGEST = 4_000;
    uint32 internal constant LATEST = 2_000;
    uint32 internal constant WIDEST = 3_000;
    /// forge's own; the compiler reads `block.chainid` again wherever it is used.
    uint256 private constant CHAIN = 31_337;

    Offer[] internal _offers;
    /// Orders that filled once, to be sent again.
    uint256[] private _usedNonces;
    uint256 private _nonce;

    function offers() external view returns (Offer[] memory) {
        return _offers;
    }

    /// One of the pool; renewed first, most of the time, when its provider's epoch ended it.
    function _someOffer(Dice memory dice) internal returns (Offer memory x) {
        uint256 index = _roll(dice, _offers.length);
        x = _offers[index];
        if (x.epoch == _providers[x.provider].epoch || _once(dice, 8)) return x;
        x = _newOffer(dice, x.provider);
        _offers[index] = x;
    }

    function _addOffer(Dice memory dice) internal {
        Offer memory x = _newOffer(dice, _who[PROVIDERS + _roll(dice, 3)]);
        if (_offers.length < MAX_OFFERS) _offers.push(x);
        else _offers[_roll(dice, MAX_OFFERS)] = x;
    }

    function _newOffer(Dice memory dice, address provider) internal view returns (Offer memory x) {
        x.provider = provider;
        x.kind = Kind(_roll(dice, 5) < 2 ? 0 : 1);
        x.resources = Resources(4, 4096, 40, 1, keccak256("traits"));
        x.price = uint128(_amount(dice, 1, 1e6, type(uint96).max));
        x.pledgeBps = uint32(_amount(dice, 1, 25_000, type(uint24).max));
        x.capacity = uint32(_between(dice, 1, 4));
        x.maxDuration = uint32(_amount(dice, LONGEST, LONGEST, type(uint32).max));
        x.startWithin = uint32(_amount(dice, 0, LATEST, type(uint32).max));
        x.notice = uint32(_amount(dice, 0, 2_000, type(uint32).max));
        x.minCharge = uint32(_amount(dice, 0, 2_000, type(uint32).max));
        x.mediatorSet = uint64(_between(dice, 1, 4));
        x.maxChallengeWindow = uint32(_amount(dice, WIDEST, WIDEST, type(uint32).max));
        // Different for every offer, so that none is counted twice.
        x.validUntil = type(uint64).max - uint64(uint160(dice.seed) >> 100);
        x.epoch = uint64(_providers[provider].epoch);
    }

    function _newOrder(Dice memory dice, Offer memory x) internal returns (Order memory w) {
        w.renter = _renter(dice);
        w.kind = x.kind;
        w.resources = Resources(2, 1024, 10, 0, _once(dice, 2) ? bytes32(0) : x.resources.traits);
        w.maxPrice = x.price + uint128(_roll(dice, 3));
        w.duration = uint32(_amount(dice, 1, LONGEST, type(uint32).max));
        w.workload = keccak256("workload");
        w.challengeWindow = uint32(_amount(dice, 0, WIDEST, type(uint32).max));
        if (x.kind == Kind.Job && !_once(dice, 4)) (w.class, w.mediatorSet) = (Class.Exact, x.mediatorSet);
        // Mostly one that opens.
        if (w.class == Class.Exact && w.duration > MAX_EXACT && !_once(dice, 8)) w.duration = uint32(MAX_EXACT);
        _limit(dice, x, w);
        if (_once(dice, 4)) w.provider = x.provider;
        if (_once(dice, 4)) w.solver = _who[SOLVER];
        w.solverFee = uint128(_amount(dice, 0, 1e6, type(uint96).max));
        w.validUntil = type(uint64).max;
        w.nonce = _nonce++;
    }

    /// What the renter bears of the offer's terms: just this, or more. For a job, two of them say nothing.
    function _limit(Dice memory dice, Offer memory x, Order memory w) private pure {
        w.minPledgeBps = _once(dice, 2) ? x.pledgeBps : x.pledgeBps / 2;
        w.maxStartWithin = _once(dice, 2) || x.startWithin > LATEST ? x.startWithin : LATEST;
        if (x.kind == Kind.Lease) {
            w.minNotice = _once(dice, 2) ? x.notice : x.notice / 2;
            w.maxMinCharge = _once(dice, 2) ? x.minCharge : type(uint32).max;
        } else if (_once(dice, 2)) {
            w.minNotice = type(uint32).max;
        }
    }

    /// Signed by both, unless the flaw is in a signature; with an empty one when the order was placed.
    function _papers(Dice memory dice, Offer memory x, Order memory w, bool placed) internal returns (Papers memory p) {
        (p.offer, p.order, p.offerSigned, p.orderSigned) = (x, w, true, true);
        uint256 flaw = _once(dice, 5) ? _between(dice, 1, FLAWS) : 0;
        if (placed) flaw = 0;
        _spoil(p, dice, flaw);
        p.offerSignature = _sign(x.provider, sublet.hashOffer(x));
        // A signature beside a placed order takes nothing away from it.
        if (!placed || _once(dice, 3)) p.orderSignature = _sign(w.renter, sublet.hashOrder(w));
        if (flaw > 16 && flaw < 23) _missign(p, dice, flaw);
    }

    function _noteUsed(uint256 nonce) internal {
        _usedNonces.push(nonce);
    }

    /// Half of the time one that somebody used.
    function _someNonce(Dice memory dice) internal view returns (uint256) {
        bool used = _usedNonces.length != 0 && _once(dice, 2);
        return used ? _usedNonces[_roll(dice, _usedNonces.length)] : _roll(dice, 128);
    }

    function _spoil(Papers memory p, Dice memory dice, uint256 flaw) private view {
        (Offer memory x, Order memory w) = (p.offer, p.order);
        if (flaw == 1) x.validUntil = uint64(clock() - 1);
        if (flaw == 2) w.validUntil = uint64(clock() - 1);
        if (flaw == 3) w.maxPrice = x.price == 0 ? 0 : x.price - 1;
        if (flaw == 4) w.kind = Kind(1 - uint8(w.kind));
        if (flaw == 5) w.resources.vcpus = x.resources.vcpus + 1;
        if (flaw == 6) w.resources.traits = keccak256("other traits");
        if (flaw == 7) w.duration = 0;
        if (flaw == 8) x.minDuration = w.duration + (w.duration == type(uint32).max ? 0 : 1);
        if (flaw == 9) w.provider = _who[STRANGER];
        if (flaw == 10) w.solver = _who[STRANGER];
        if (flaw == 11) x.maxChallengeWindow = w.challengeWindow == 0 ? 0 : w.challengeWindow - 1;
        if (flaw == 12) w.mediatorSet = x.mediatorSet + 1;
        if (flaw == 13) (x.mediatorSet, w.mediatorSet) = (999, 999);
        if (flaw == 14) w.class = Class(1 - uint8(w.class));
        if (flaw == 15 && _once(dice, 2)) x.pledgeBps = 0;
        else if (flaw == 15) x.price = 0;
        if (flaw == 16) ++x.epoch;
        if (flaw == 17 && _usedNonces.length != 0) w.nonce = _usedNonces[_roll(dice, _usedNonces.length)];
        if (flaw == 23) w.minPledgeBps = x.pledgeBps + 1;
        if (flaw == 24 && x.startWithin != 0) w.maxStartWithin = x.startWithin - 1;
        if (flaw == 25 && x.notice != type(uint32).max) w.minNotice = x.notice + 1;
        if (flaw == 26 && x.minCharge != 0) w.maxMinCharge = x.minCharge - 1;
    }

    /// Signed by somebody else, for another contract or another chain, or not at all.
    function _missign(Papers memory p, Dice memory dice, uint256 flaw) private {
        bool order = _once(dice, 2);
        address signer = order ? p.order.renter : p.offer.provider;
        bytes memory signature;
        if (flaw == 17) return;
        if (flaw == 18) {
            signature = _sign(_who[STRANGER], order ? sublet.hashOrder(p.order) : sublet.hashOffer(p.offer));
        }
        if (flaw == 19) signature = _sign(signer, order ? _twin.hashOrder(p.order) : _twin.hashOffer(p.offer));
        if (flaw == 20) {
            vm.chainId(CHAIN + 1);
            bytes32 digest = order ? sublet.hashOrder(p.order) : sublet.hashOffer(p.offer);
            vm.chainId(CHAIN);
            signature = _sign(signer, digest);
        }
        if (flaw == 21) signature = new bytes(65);
        if (flaw == 22) signature = hex"";
        if (order) (p.orderSignature, p.orderSigned) = (signature, flaw == 18 && signer == _who[STRANGER]);
        else (p.offerSignature, p.offerSigned) = (signature, false);
    }

    /// Mostly one of the three renters; sometimes a provider, a mediator or a stranger.
    function _renter(Dice memory dice) private view returns (address) {
        return _once(dice, 6) ? _anybody(dice) : _who[_roll(dice, 3)];
    }
}
