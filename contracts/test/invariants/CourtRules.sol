// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, JobEnd, Kind} from "../../src/Types.sol";
import {JobRules} from "./JobRules.sol";

/// @notice Disputes, from `dispute` to `resolve`: whose turn it is, by which clock, and what the verdict costs whom.
abstract contract CourtRules is JobRules {
    /// Blocks after the one that fixed the electorate until its draw is known, and for how many it stays known.
    uint256 internal constant DECIDES = 2;
    uint256 internal constant REMEMBERED = 256;

    function _courtRule(Call memory c) internal returns (Outcome memory o) {
        o = _outcome(9, 2);
        if (c.act == Act.Dispute) return _disputeRule(o, c);
        Dispute storage d = _disputes[c.id];
        if (d.stage == Case.Resolved) o.guards = 5;
        if (c.act == Act.Draw) {
            o.may = d.stage == Case.Armed && height() > d.armedAt + DECIDES;
            if (o.may) _draw(o, c.id, d);
        } else if (c.act == Act.CommitVote) {
            Vote storage v = _votes[c.id][c.by];
            o.may = _mayCommit(d) && v.seated && !v.committed;
            if (!o.may) return o;
            (v.committed, v.word) = (true, c.word);
            if (++d.committed == d.panel.length) d.revealBy = clock() + REVEAL_WINDOW;
        } else if (c.act == Act.RevealVote) {
            Vote storage v = _votes[c.id][c.by];
            o.may = _mayReveal(d) && v.committed && !v.revealed && v.word == abi.decode(c.more, (bytes32));
            if (!o.may) return o;
            (v.revealed, v.word) = (true, c.word);
            ++d.revealed;
        } else if (c.act == Act.Resolve) {
            o.may = d.stage == Case.Drawn && !_mayCommit(d) && !_mayReveal(d);
            if (o.may) _conclude(o, c.id, d);
        }
    }

    function _mayCommit(Dispute storage d) internal view returns (bool) {
        return d.stage == Case.Drawn && d.committed < d.panel.length && clock() <= d.commitBy;
    }

    function _mayReveal(Dispute storage d) internal view returns (bool) {
        return d.stage == Case.Drawn && !_mayCommit(d) && d.revealed < d.committed && clock() <= d.revealBy;
    }

    function _disputeRule(Outcome memory o, Call memory c) private returns (Outcome memory) {
        Agreement storage g = _agreements[c.id];
        if (g.stage == Stage.Ended) o.guards = 5;
        bool open = g.kind == Kind.Job && g.stage == Stage.Submitted && clock() <= g.submittedAt + g.window;
        if (!open || c.by != g.renter || g.class != Class.Exact) return o;
        Set storage set = _sets[g.set];
        uint256 fees = set.fee * set.panelSize;
        if (sublet.freeOf(c.by) < fees) return o;
        o.may = true;
        _take(o, c.by, fees);
        _give(o, address(court), fees);
        g.stage = Stage.Disputed;
        _arm(g, _disputes[c.id]);
        return o;
    }

    /// Fixes who may be drawn: members that joined, in good standing, that are no party, with a fee of their bond to lose.
    function _arm(Agreement storage g, Dispute storage d) private {
        (d.stage, d.armedAt) = (Case.Armed, height());
        delete d.electorate;
        delete d.foreseen;
        Set storage set = _sets[g.set];
        for (uint256 i; i < set.members.length; ++i) {
            address member = set.members[i];
            Bonded storage b = _mediators[member];
            bool solid = b.retiredAt == 0 && b.bond >= b.atStake + set.fee;
            bool party = member == g.renter || member == g.provider;
            if (set.joined[member] && solid && !party) d.electorate.push(member);
        }
    }

    /// The panel itself is `foreseen`, from a draw of this electorate that was made in a state nobody had touched yet.
    function _draw(Outcome memory o, uint64 id, Dispute storage d) private {
        Agreement storage g = _agreements[id];
        if (height() > d.armedAt + DECIDES + REMEMBERED) return _arm(g, d);
        uint256 size = min(_sets[g.set].panelSize, d.electorate.length);
        if (size < _sets[g.set].panelSize / 2 + 1) return _conclude(o, id, d);
        d.stage = Case.Drawn;
        d.panel = d.foreseen;
        (d.commitBy, d.revealBy) = (clock() + g.duration + COMMIT_SLACK, clock() + g.duration + COMMIT_SLACK);
        d.revealBy += REVEAL_WINDOW;
        for (uint256 i; i < d.panel.length; ++i) {
            _votes[id][d.panel[i]].seated = true;
            _mediators[d.panel[i]].atStake += _sets[g.set].fee;
        }
    }

    function _conclude(Outcome memory o, uint64 id, Dispute storage d) private {
        Agreement storage g = _agreements[id];
        Set storage set = _sets[g.set];
        d.stage = Case.Resolved;
        (bool decided, bytes32 winner) = _majority(id, d, set.panelSize / 2 + 1);
        uint256 back = set.fee * set.panelSize;
        _take(o, address(court), back);
        for (uint256 i; i < d.panel.length; ++i) {
            address member = d.panel[i];
            Vote storage v = _votes[id][member];
            _mediators[member].atStake -= set.fee;
            if (!v.revealed) {
                uint256 lost = min(set.fee, _mediators[member].bond);
                _mediators[member].bond -= lost;
                _take(o, address(court), lost);
                _give(o, g.provider, lost / 2);
                _give(o, g.renter, lost - lost / 2);
            } else if (!decided || v.word == winner) {
                _give(o, member, set.fee);
                back -= set.fee;
            }
        }
        _give(o, g.renter, back);
        uint256 cost = _declared(g);
        (JobEnd reason, uint256 slashed) = (JobEnd.Upheld, 0);
        if (!decided) (reason, cost) = (JobEnd.Inconclusive, cost / 2);
        else if (winner != g.result) (reason, cost, slashed) = (JobEnd.Overturned, 0, _pledge(g));
        _finish(
            o, g, uint8(reason), address(court), cost, g.price * g.duration - cost, slashed, reason == JobEnd.Upheld
        );
    }

    /// What at least `needed` of the panel revealed.
    function _majority(uint64 id, Dispute storage d, uint256 needed) private view returns (bool, bytes32) {
        for (uint256 i; i < d.panel.length; ++i) {
            Vote storage v = _votes[id][d.panel[i]];
            uint256 votes;
            for (uint256 j; v.revealed && j < d.panel.length; ++j) {
                Vote storage w = _votes[id][d.panel[j]];
                if (w.revealed && w.word == v.word) ++votes;
            }
            if (votes >= needed) return (true, v.word);
        }
        return (false, 0);
    }
}
