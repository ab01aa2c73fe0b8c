// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, LeaseEnd} from "../../src/Types.sol";
import {Ghost} from "./Ghost.sol";

/// @notice SETTLEMENT's table of leases: who may call what and when, and where the money goes.
abstract contract LeaseRules is Ghost {
    function _leaseRule(Call memory c) internal returns (Outcome memory o) {
        o = _outcome(9, 2);
        Agreement storage g = _agreements[c.id];
        bool lease = g.kind == Kind.Lease;
        if (g.stage == Stage.Ended) o.guards = 5;
        if (lease && g.stage == Stage.Open) _onOpen(o, g, c);
        else if (lease && g.stage == Stage.Active) _onActive(o, g, c);
    }

    function _onOpen(Outcome memory o, Agreement storage g, Call memory c) private {
        uint256 escrow = g.price * g.duration;
        bool inTime = clock() <= g.openedAt + g.startWithin;
        if (c.act == Act.StartLease) {
            o.may = c.by == g.provider && inTime;
            if (!o.may) return;
            _beats(g.provider);
            (g.stage, g.startedAt, g.countedTo) = (Stage.Active, clock(), _uptime(g.provider));
            if (g.feeHeld) _give(o, g.solver, g.fee);
            g.feeHeld = false;
        } else if (c.act == Act.RejectLease) {
            o.may = c.by == g.provider && inTime;
            if (o.may) _finish(o, g, uint8(LeaseEnd.Rejected), c.by, 0, escrow, 0, false);
        } else if (c.act == Act.CancelLease) {
            o.may = c.by == g.renter;
            if (!o.may) return;
            g.paidSeconds = min(g.minCharge, g.duration);
            uint256 charge = g.price * g.paidSeconds;
            _finish(o, g, uint8(LeaseEnd.Cancelled), c.by, charge, escrow - charge, 0, false);
        } else if (c.act == Act.ExpireLease) {
            o.may = !inTime;
            if (o.may) _finish(o, g, uint8(LeaseEnd.Expired), c.by, 0, escrow, _pledge(g) / 10, false);
        }
    }

    function _onActive(Outcome memory o, Agreement storage g, Call memory c) private {
        if (c.act == Act.SettleLease) {
            (o.may, o.moves) = (true, 7);
            _pay(o, g, _accrue(g, _uptime(g.provider)));
        } else if (c.act == Act.TopUpLease) {
            (o.guards, o.moves) = (7, 7);
            _topUp(o, g, c);
        } else if (c.act == Act.GiveNotice) {
            o.may = c.by == g.provider && g.noticeAt == 0;
            if (o.may) g.noticeAt = clock();
        } else if (c.act == Act.CloseLease) {
            o.may = (c.by == g.renter || c.by == g.provider) && _penalty(g, c.by) <= c.value;
            if (o.may) _close(o, g, c.by);
        } else if (c.act == Act.FaultLease) {
            Provider storage p = _providers[g.provider];
            o.may = clock() > p.lastBeat + FAULT_AFTER;
            if (!o.may) return;
            uint256 paid = _accrue(g, p.uptime) * g.price;
            uint256 rest = g.price * (g.duration - g.paidSeconds);
            _finish(o, g, uint8(LeaseEnd.Faulted), c.by, paid, rest, rest, false);
        }
    }

    /// Settles, so that what was not covered is not billed, then lengthens.
    function _topUp(Outcome memory o, Agreement storage g, Call memory c) private {
        uint256 owed = _owed(g, _uptime(g.provider));
        uint256 before = _pledge(g);
        uint256 longer = g.duration + c.value;
        uint256 more = g.price * longer * g.pledgeBps / 10_000 - before;
        uint256 escrow = g.price * c.value;
        _give(o, g.provider, owed * g.price);
        if (clock() > _providers[g.provider].lastBeat + MAX_GAP) return _forget(o);
        if (c.value == 0 || longer > g.maxDuration || before + more > type(uint128).max) return _forget(o);
        if (_free(o, c.by) < escrow) return _forget(o);
        _take(o, c.by, escrow);
        if (_free(o, g.provider) < more) return _forget(o);
        _take(o, g.provider, more);
        o.may = true;
        g.paid += _accrue(g, _uptime(g.provider)) * g.price;
        g.duration = longer;
    }

    function _close(Outcome memory o, Agreement storage g, address by) private {
        uint256 penalty = _penalty(g, by);
        uint256 accrued = _accrue(g, _uptime(g.provider));
        LeaseEnd reason = LeaseEnd.RanOut;
        if (g.paidSeconds < g.duration && by == g.renter) {
            reason = LeaseEnd.ClosedByRenter;
            uint256 least = min(g.minCharge, g.duration);
            if (g.paidSeconds < least) {
                accrued += least - g.paidSeconds;
                g.paidSeconds = least;
            }
        } else if (g.paidSeconds < g.duration) {
            reason = LeaseEnd.ClosedByProvider;
        }
        uint256 rest = g.price * (g.duration - g.paidSeconds);
        _finish(o, g, uint8(reason), by, accrued * g.price, rest, penalty, false);
    }

    /// What closing costs: a provider the notice it has not given, unless the rent ran out; at most its pledge.
    function _penalty(Agreement storage g, address by) private view returns (uint256) {
        bool ranOut = g.paidSeconds + _owed(g, _uptime(g.provider)) >= g.duration;
        if (by == g.renter || ranOut) return 0;
        uint256 given = g.noticeAt == 0 ? 0 : clock() - g.noticeAt;
        return min(g.price * (g.notice - min(given, g.notice)), _pledge(g));
    }

    function _owed(Agreement storage g, uint256 uptime) internal view returns (uint256) {
        return uptime <= g.countedTo ? 0 : min(uptime - g.countedTo, g.duration - g.paidSeconds);
    }

    /// Seconds up to `uptime` not yet paid; beyond what was bought, time is lost to the provider.
    function _accrue(Agreement storage g, uint256 uptime) private returns (uint256 seconds_) {
        seconds_ = _owed(g, uptime);
        g.paidSeconds += seconds_;
        if (uptime > g.countedTo) g.countedTo = uptime;
    }

    function _pay(Outcome memory o, Agreement storage g, uint256 seconds_) private {
        uint256 sum = seconds_ * g.price;
        g.paid += sum;
        _give(o, g.provider, sum);
    }

    /// Refused after all: nothing moves.
    function _forget(Outcome memory o) private pure {
        o.due = new int256[](ACCOUNTS);
    }
}
