// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, JobEnd, Kind} from "../../src/Types.sol";
import {Ghost} from "./Ghost.sol";

/// @notice SETTLEMENT's table of jobs, as far as it needs no court.
abstract contract JobRules is Ghost {
    function _jobRule(Call memory c) internal returns (Outcome memory o) {
        o = _outcome(9, 2);
        Agreement storage g = _agreements[c.id];
        bool job = g.kind == Kind.Job;
        if (g.stage == Stage.Ended) o.guards = 5;
        if (job && g.stage == Stage.Open) _onOpenJob(o, g, c);
        else if (job && g.stage == Stage.Submitted) _onSubmitted(o, g, c);
    }

    /// One row of `settleJobs`, which does what it may and leaves the rest.
    function _settleRow(Outcome memory o, Call memory row) internal returns (bool) {
        Agreement storage g = _agreements[row.id];
        if (g.kind != Kind.Job || (g.stage != Stage.Open && g.stage != Stage.Submitted)) return false;
        return _settle(o, g, row);
    }

    function _onOpenJob(Outcome memory o, Agreement storage g, Call memory c) private {
        uint256 startBy = g.openedAt + g.startWithin;
        uint256 runBy = startBy + g.duration;
        uint256 escrow = g.price * g.duration;
        if (c.act == Act.RejectJob) {
            o.may = c.by == g.provider && clock() <= startBy;
            if (o.may) _finish(o, g, uint8(JobEnd.Rejected), c.by, 0, escrow, 0, false);
        } else if (c.act == Act.SubmitJob) {
            o.may = c.by == g.provider && clock() <= runBy && c.word != 0;
            if (!o.may) return;
            (g.stage, g.result, g.used, g.submittedAt) = (Stage.Submitted, c.word, _counted(g, c.value), clock());
        } else if (c.act == Act.SettleJob) {
            o.may = _settle(o, g, c);
        } else if (c.act == Act.ExpireJob) {
            o.may = clock() > runBy;
            if (o.may) _finish(o, g, uint8(JobEnd.Expired), c.by, 0, escrow, _pledge(g) / 10, false);
        }
    }

    function _onSubmitted(Outcome memory o, Agreement storage g, Call memory c) private {
        bool inWindow = clock() <= g.submittedAt + g.window;
        uint256 escrow = g.price * g.duration;
        uint256 cost = _declared(g);
        if (c.act == Act.SettleJob) {
            o.may = _settle(o, g, c);
        } else if (c.act == Act.AcceptJob) {
            o.may = c.by == g.renter;
            if (o.may) _finish(o, g, uint8(JobEnd.Accepted), c.by, cost, escrow - cost, 0, true);
        } else if (c.act == Act.FinalizeJob) {
            o.may = !inWindow;
            if (o.may) _finish(o, g, uint8(JobEnd.Finalized), c.by, cost, escrow - cost, 0, true);
        } else if (c.act == Act.RefuseJob) {
            o.may = c.by == g.renter && inWindow && g.class == Class.None;
            if (o.may) _finish(o, g, uint8(JobEnd.Refused), c.by, cost / 2, escrow - cost / 2, 0, false);
        }
    }

    /// By the renter's signature over exactly this result and cost (`more` says whether there is one). Below what was
    /// declared, or what can be at most before that, the provider itself has to send it.
    function _settle(Outcome memory o, Agreement storage g, Call memory c) private returns (bool) {
        uint256 most = g.price * g.duration;
        uint256 least = g.stage == Stage.Submitted ? _declared(g) : most;
        if (!abi.decode(c.more, (bool)) || c.value > most) return false;
        if (g.stage == Stage.Submitted && c.word != g.result) return false;
        if (c.value < least && c.by != g.provider) return false;
        if (g.stage == Stage.Open) g.result = c.word;
        _finish(o, g, uint8(JobEnd.Settled), c.by, c.value, most - c.value, 0, true);
        return true;
    }

    /// What the provider says, but no more than the time there was.
    function _counted(Agreement storage g, uint256 said) private view returns (uint256) {
        return min(said, clock() - g.openedAt);
    }

    function _declared(Agreement storage g) internal view returns (uint256) {
        return g.price * min(g.used, g.duration);
    }
}
