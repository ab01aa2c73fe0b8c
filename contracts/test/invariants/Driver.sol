// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobView, Kind, LeaseView} from "../../src/Types.sol";
import {Vm} from "../base/Vm.sol";
import {Buyer} from "../mocks/Buyer.sol";
import {AccountRules} from "./AccountRules.sol";
import {BondRules} from "./BondRules.sol";
import {CourtRules} from "./CourtRules.sol";
import {LeaseRules} from "./LeaseRules.sol";
import {Ledger} from "./Ledger.sol";
import {Paperwork} from "./Paperwork.sol";
import {Refusals} from "./Refusals.sol";

/// @notice Makes a call, and compares what came of it with what the rules said: whether it went through, every balance to
/// the unit, and the agreement itself. The first difference ends the sequence; it is noted under the invariant it breaks.
abstract contract Driver is AccountRules, LeaseRules, CourtRules, BondRules, Paperwork, Refusals {
    Ledger public immutable ledger;
    /// First breach of each invariant; empty: none.
    mapping(uint256 invariant => string) public breaches;
    bool public broken;
    /// Calls that went through, and those rightly refused.
    mapping(Act act => uint256) public done;
    mapping(Act act => uint256) public refused;
    mapping(Kind => mapping(uint8 reason => uint256)) public ended;
    uint256 public rearmed;
    uint256 public calledBack;

    error Foreseen(address[] panel);

    constructor() {
        ledger = new Ledger(sublet);
    }

    function _do(Call memory c) internal returns (bool ok) {
        if (broken) return false;
        if (c.act == Act.Draw) _agreeOnHash(c.id);
        Outcome memory o = _rule(c);
        uint256[ACCOUNTS] memory before = _balances();
        vm.recordLogs();
        vm.prank(c.by);
        bytes memory answer;
        (ok, answer) = c.to.call(c.data);
        // forge also records the logs of calls that revert; a chain does not have them.
        Vm.Log[] memory logs = vm.getRecordedLogs();
        if (ok) ledger.read(logs);
        ++(ok ? done : refused)[c.act];
        _note(ok == o.may, o.guards, ok ? "went through against the rules" : "was refused against the rules", c);
        if (!ok) _note(_typed(answer), 6, "was refused without a reason", c);
        if (broken) return ok;
        _compare(c, o, before);
        if (ok) _after(c, answer);
    }

    function _rule(Call memory c) private returns (Outcome memory) {
        if (c.act <= Act.WithdrawTo) return _accountRule(c);
        if (c.act <= Act.BumpEpoch) return _providerRule(c);
        if (c.act <= Act.CancelOrder || c.act == Act.PlaceOrder) return _documentRule(c);
        if (c.act <= Act.RenounceGuardian) return _guardianRule(c);
        if (c.act == Act.Open) return _openRule(c);
        if (c.act == Act.OpenMany) return _openManyRule(c);
        if (c.act <= Act.FaultLease) return _leaseRule(c);
        if (c.act == Act.SettleJobs) return _settleJobsRule(c);
        if (c.act <= Act.RefuseJob) return _jobRule(c);
        if (c.act <= Act.Resolve) return _courtRule(c);
        if (c.act <= Act.WithdrawGatewayBond) return _bondRule(c);
        return _trunkRule();
    }

    function _openManyRule(Call memory c) private returns (Outcome memory o) {
        o = _outcome(11, 12);
        o.may = true;
        Papers[] memory rows = abi.decode(c.more, (Papers[]));
        for (uint256 i; i < rows.length; ++i) {
            _openRow(o, rows[i], c.by);
        }
    }

    function _settleJobsRule(Call memory c) private returns (Outcome memory o) {
        o = _outcome(9, 2);
        o.may = true;
        Call[] memory rows = abi.decode(c.more, (Call[]));
        for (uint256 i; i < rows.length; ++i) {
            _settleRow(o, rows[i]);
        }
    }

    function _compare(Call memory c, Outcome memory o, uint256[ACCOUNTS] memory before) private {
        uint256[ACCOUNTS] memory now_ = _balances();
        for (uint256 i; i < ACCOUNTS; ++i) {
            int256 moved = int256(now_[i]) - int256(before[i]);
            if (moved == o.due[i]) continue;
            bool robbed = moved < 0 && o.due[i] == 0 && _who[i] != c.by;
            _note(false, robbed ? 13 : o.moves, string.concat("moved money of actor ", vm.toString(i)), c);
        }
        _note(sublet.agreementCount() == _count, 11, "opened another number of agreements", c);
        _check(c.id, c);
        if (c.act == Act.SettleJobs) {
            Call[] memory rows = abi.decode(c.more, (Call[]));
            for (uint256 i; i < rows.length; ++i) {
                _check(rows[i].id, c);
            }
        }
        if (c.act == Act.Open || c.act == Act.OpenMany) _check(_count, c);
    }

    /// The agreement as the contract has it and as the rules have it.
    function _check(uint64 id, Call memory c) private {
        if (id == 0 || id > _count) return;
        Agreement storage g = _agreements[id];
        if (g.kind == Kind.Lease) {
            LeaseView memory l = lens.lease(id);
            uint256 state = g.stage == Stage.Ended ? 3 : uint256(g.stage);
            _note(uint256(l.state) == state && uint8(l.reason) == g.reason, 5, "left another state", c);
            _note(l.price == g.price, 12, "is at another price", c);
            _note(l.paidSeconds == g.paidSeconds && l.duration == g.duration, 7, "counted other seconds", c);
        } else {
            JobView memory j = lens.job(id);
            uint256 state = g.stage == Stage.Open ? 1 : uint256(g.stage) - 1;
            _note(uint256(j.state) == state && uint8(j.reason) == g.reason, 5, "left another state", c);
            _note(j.price == g.price, 12, "is at another price", c);
            _note(j.usedSeconds == g.used, 2, "counted other seconds", c);
        }
        Ledger.Account memory a = ledger.account(id);
        _note(a.paid == g.paid, 2, "says it paid something else", c);
        _note(a.slashed == g.slashed, 8, "says it slashed something else", c);
    }

    function _after(Call memory c, bytes memory answer) private {
        if (c.act == Act.Open) {
            _note(abi.decode(answer, (uint64)) == _count, 11, "gave another number", c);
            _noteUsed(abi.decode(c.more, (Papers)).order.nonce);
        }
        bool rearms = c.act == Act.Draw && _disputes[c.id].stage == Case.Armed;
        if (rearms) ++rearmed;
        if (rearms || c.act == Act.Dispute) {
            uint256 may = _disputes[c.id].electorate.length;
            _note(court.disputeOf(c.id).electorate == may, 10, "lets others be drawn than agreed to serve", c);
            _foresee(c.id);
        } else if (c.act == Act.Draw) {
            _checkPanel(c);
        }
        Agreement storage g = _agreements[c.id];
        if (g.stage != Stage.Ended) return;
        ++ended[g.kind][g.reason];
        if (g.callback && g.renter == address(buyer)) _checkCallback(c, g);
    }

    /// A contract that listens is told once, the truth; whatever it does then changes nothing.
    function _checkCallback(Call memory c, Agreement storage g) private {
        _note(!buyer.reentered(), 5, "let a callback end a job again", c);
        if (buyer.mood() != Buyer.Mood.Notes) return;
        ++calledBack;
        _note(buyer.told(c.id) == 1, 5, "did not tell the renter once", c);
        bytes32 told = keccak256(abi.encode(g.reason, g.result));
        _note(buyer.toldOf(c.id) == told, 5, "told the renter something else", c);
    }

    // What invariants ask for

    /// Bonds and fees of the court, bonds of gateways.
    function branchesHold() external view returns (uint256 ofCourt, uint256 ofGateways) {
        for (uint256 i; i < ACTORS; ++i) {
            ofCourt += _mediators[_who[i]].bond;
            ofGateways += _gateways[_who[i]].bond;
        }
        for (uint64 id = 1; id <= _count; ++id) {
            if (_agreements[id].stage != Stage.Disputed) continue;
            Set storage set = _sets[_agreements[id].set];
            ofCourt += set.fee * set.panelSize;
        }
    }

    function bondOf(address who, bool mediator) external view returns (uint256) {
        return mediator ? _mediators[who].bond : _gateways[who].bond;
    }

    function owedSeconds(uint64 id) external view returns (uint256) {
        return _owed(_agreements[id], _uptime(_agreements[id].provider));
    }

    function openOf(bytes32 offer) external view returns (uint256) {
        return _open[offer];
    }

    // Panels

    /// What anybody would get who drew in the first block possible, with nothing done in between: whatever is done until
    /// the real draw, with the same hash it has to give the same panel.
    function _foresee(uint64 id) private {
        (uint256 block_, Dispute storage d) = (height(), _disputes[id]);
        try this.drawNow(id) {}
        catch (bytes memory answer) {
            if (bytes4(answer) == Foreseen.selector) d.foreseen = abi.decode(_tail(answer), (address[]));
            else _note(false, 10, "cannot be drawn", _callOf(id));
        }
        vm.roll(block_);
    }

    /// Always reverts, with the panel.
    function drawNow(uint64 id) external {
        vm.roll(_disputes[id].armedAt + DECIDES + 1);
        _agreeOnHash(id);
        court.draw(id);
        uint256 size = court.disputeOf(id).panel.length;
        address[] memory panel = new address[](size);
        for (uint256 i; i < size; ++i) {
            panel[i] = court.disputeOf(id).panel[i].mediator;
        }
        revert Foreseen(panel);
    }

    function _agreeOnHash(uint64 id) private {
        uint256 decides = _disputes[id].armedAt + DECIDES;
        bool known = _disputes[id].stage == Case.Armed && height() > decides && height() <= decides + REMEMBERED;
        if (known) vm.setBlockhash(decides, keccak256(abi.encode("block", id, decides)));
    }

    function _checkPanel(Call memory c) private {
        Dispute storage d = _disputes[c.id];
        address[] memory panel = new address[](court.disputeOf(c.id).panel.length);
        for (uint256 i; i < panel.length; ++i) {
            panel[i] = court.disputeOf(c.id).panel[i].mediator;
            bool listed;
            for (uint256 j; j < d.electorate.length; ++j) {
                if (panel[i] == d.electorate[j]) listed = true;
            }
            for (uint256 j; j < i; ++j) {
                if (panel[i] == panel[j]) listed = false;
            }
            _note(listed, 10, "seated somebody who may not sit", c);
        }
        bool same = keccak256(abi.encode(panel)) == keccak256(abi.encode(d.foreseen));
        _note(same, 10, "drew another panel than the block's hash says", c);
    }

    // Helpers

    function _balances() internal view returns (uint256[ACCOUNTS] memory all) {
        for (uint256 i; i < ACCOUNTS; ++i) {
            all[i] = sublet.freeOf(_who[i]);
        }
    }

    /// An error of ours: not a panic, not a text, not nothing, nor some library's.
    function _typed(bytes memory answer) private view returns (bool) {
        return answer.length >= 4 && _isOurs[bytes4(answer)];
    }

    function _note(bool fine, uint256 invariant_, string memory what, Call memory c) internal {
        if (fine) return;
        broken = true;
        if (bytes(breaches[invariant_]).length != 0) return;
        string memory act = string.concat("act ", vm.toString(uint256(c.act)), " on ", vm.toString(uint256(c.id)));
        breaches[invariant_] = string.concat("I", vm.toString(invariant_), ": ", act, " ", what);
    }

    function _callOf(uint64 id) internal pure returns (Call memory c) {
        c.id = id;
    }

    function _tail(bytes memory data) internal pure returns (bytes memory tail) {
        tail = new bytes(data.length - 4);
        for (uint256 i; i < tail.length; ++i) {
            tail[i] = data[i + 4];
        }
    }
}
