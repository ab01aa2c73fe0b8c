// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, Kind, Offer, Order} from "../../src/Types.sol";
import {Ghost} from "./Ghost.sol";

/// @notice When a pair of documents opens, and what that locks.
abstract contract OpenRules is Ghost {
    /// A pair as it is sent, and whether its signatures are what they should be.
    struct Papers {
        Offer offer;
        bytes offerSignature;
        Order order;
        bytes orderSignature;
        bool offerSigned;
        bool orderSigned;
    }

    function _openRule(Call memory c) internal returns (Outcome memory o) {
        o = _outcome(11, 12);
        Papers memory p = abi.decode(c.more, (Papers));
        if (p.offer.price > p.order.maxPrice) o.guards = 12;
        o.may = _openRow(o, p, c.by);
    }

    /// One pair, alone or in a batch.
    function _openRow(Outcome memory o, Papers memory p, address by) internal returns (bool) {
        (Offer memory x, Order memory w) = (p.offer, p.order);
        if (_paused || !_goodOffer(p) || !_goodOrder(p, by) || !_match(x, w)) return false;
        uint256 escrow = uint256(x.price) * w.duration;
        uint256 pledge = escrow * x.pledgeBps / 10_000;
        if (pledge == 0 || pledge > type(uint128).max) return false;
        if (w.class == Class.Exact && !_paysPanel(w.mediatorSet, pledge)) return false;
        bool shared = w.renter == x.provider;
        uint256 fromRenter = escrow + w.solverFee;
        if (_free(o, w.renter) < fromRenter) return false;
        if (_free(o, x.provider) < pledge + (shared ? fromRenter : 0)) return false;
        _take(o, w.renter, fromRenter);
        _take(o, x.provider, pledge);
        _used[w.renter][w.nonce] = true;
        _write(p, by);
        return true;
    }

    function _goodOffer(Papers memory p) private view returns (bool) {
        Offer memory x = p.offer;
        Provider storage u = _providers[x.provider];
        if (clock() > x.validUntil || x.price == 0 || x.price > type(uint96).max) return false;
        if (x.pledgeBps > type(uint24).max || !p.offerSigned) return false;
        if (u.lastBeat == 0 || !u.online || clock() - u.lastBeat > MAX_GAP || u.epoch != x.epoch) return false;
        bytes32 digest = sublet.hashOffer(x);
        return !_cancelled[x.provider][digest] && _open[digest] < x.capacity;
    }

    function _goodOrder(Papers memory p, address by) private view returns (bool) {
        Order memory w = p.order;
        if (clock() > w.validUntil || w.solverFee > type(uint96).max || _used[w.renter][w.nonce]) return false;
        if (w.solver != address(0) && by != w.solver && by != w.renter) return false;
        if (_lookedUp(p) && _placed[sublet.hashOrder(w)]) return true;
        return p.orderSigned && p.orderSignature.length != 0;
    }

    /// An order that comes without a signature, or whose renter is a contract, may have been placed.
    function _lookedUp(Papers memory p) private view returns (bool) {
        return p.orderSignature.length == 0 || p.order.renter.code.length != 0;
    }

    function _match(Offer memory x, Order memory w) private pure returns (bool) {
        if (w.provider != address(0) && w.provider != x.provider) return false;
        if (x.kind != w.kind || x.price > w.maxPrice) return false;
        if (w.duration == 0 || w.duration < x.minDuration || w.duration > x.maxDuration) return false;
        if (x.resources.vcpus < w.resources.vcpus || x.resources.memoryMiB < w.resources.memoryMiB) return false;
        if (x.resources.diskGiB < w.resources.diskGiB || x.resources.gpus < w.resources.gpus) return false;
        if (w.resources.traits != 0 && w.resources.traits != x.resources.traits) return false;
        if (x.pledgeBps < w.minPledgeBps || x.startWithin > w.maxStartWithin) return false;
        if (w.kind == Kind.Lease) {
            return w.class == Class.None && x.notice >= w.minNotice && x.minCharge <= w.maxMinCharge;
        }
        if (w.challengeWindow > x.maxChallengeWindow) return false;
        return w.class == Class.None || (w.mediatorSet == x.mediatorSet && w.duration <= MAX_EXACT);
    }

    /// Whoever overturns the result is paid by the pledge.
    function _paysPanel(uint64 set, uint256 pledge) private view returns (bool) {
        uint256 fees = _sets[set].fee * _sets[set].panelSize;
        return fees != 0 && fees <= pledge;
    }

    function _write(Papers memory p, address by) private {
        (Offer memory x, Order memory w) = (p.offer, p.order);
        Agreement storage g = _agreements[++_count];
        (g.kind, g.class, g.stage, g.feeHeld) = (w.kind, w.class, Stage.Open, w.solverFee != 0);
        (g.renter, g.provider, g.solver) = (w.renter, x.provider, by);
        (g.price, g.maxPrice, g.fee, g.pledgeBps) = (x.price, w.maxPrice, w.solverFee, x.pledgeBps);
        (g.duration, g.openedAt, g.startWithin) = (w.duration, clock(), x.startWithin);
        (g.maxDuration, g.notice, g.minCharge) = (x.maxDuration, x.notice, x.minCharge);
        (g.window, g.set) = (w.challengeWindow, w.mediatorSet);
        g.offer = sublet.hashOffer(x);
        g.maxStartWithin = w.maxStartWithin;
        if (_lookedUp(p)) g.callback = _wantsCallback[sublet.hashOrder(w)];
        ++_open[g.offer];
    }
}
