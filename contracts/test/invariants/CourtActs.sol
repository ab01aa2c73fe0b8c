// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class} from "../../src/Types.sol";
import {Acts} from "./Acts.sol";

/// @notice Thinks up calls to the court and to the gateways.
abstract contract CourtActs is Acts {
    bytes32 private constant WRONG = keccak256("wrong result");

    /// The next step of a dispute, or the first one of a submitted job.
    function _courtCall(Dice memory dice) internal view returns (Call memory c) {
        c.id = _pickDisputable(dice);
        if (c.id == 0) return _jobCall(dice);
        (c.to, c.by) = (address(court), _anybody(dice));
        Dispute storage d = _disputes[c.id];
        uint256 kind = 5;
        if (d.stage == Case.None) kind = 0;
        if (d.stage == Case.Armed) kind = 1;
        if (d.stage == Case.Drawn) kind = _mayCommit(d) ? 2 : _mayReveal(d) ? 3 : 4;
        if (_once(dice, 8)) kind = _roll(dice, 5);
        if (kind == 0) {
            c.by = _mostly(dice, _agreements[c.id].renter);
            (c.act, c.data) = (Act.Dispute, abi.encodeCall(court.dispute, (c.id)));
        } else if (kind == 1) {
            (c.act, c.data) = (Act.Draw, abi.encodeCall(court.draw, (c.id)));
        } else if (kind == 2) {
            c.by = _mostly(dice, _seated(dice, d));
            c.word = _commitment(c.id, c.by, _opinion(dice, c.id));
            (c.act, c.data) = (Act.CommitVote, abi.encodeCall(court.commitVote, (c.id, c.word)));
        } else if (kind == 3) {
            c.by = _mostly(dice, _seated(dice, d));
            _reveal(dice, c);
        } else {
            (c.act, c.data) = (Act.Resolve, abi.encodeCall(court.resolve, (c.id)));
        }
    }

    /// The salt is the mediator's own and always the same; what was committed can be found again by trying.
    function _reveal(Dice memory dice, Call memory c) private view {
        bytes32 committed = _votes[c.id][c.by].word;
        bytes32 opinion = _opinion(dice, c.id);
        for (uint256 i; i < 3 && !_once(dice, 12); ++i) {
            bytes32 tried = i == 0 ? bytes32(0) : i == 1 ? WRONG : _agreements[c.id].result;
            if (_commitment(c.id, c.by, tried) == committed) opinion = tried;
        }
        (c.act, c.word, c.more) = (Act.RevealVote, opinion, abi.encode(_commitment(c.id, c.by, opinion)));
        c.data = abi.encodeCall(court.revealVote, (c.id, opinion, _salt(c.id, c.by)));
    }

    function _commitment(uint64 id, address mediator, bytes32 opinion) internal pure returns (bytes32) {
        return keccak256(abi.encode(id, mediator, opinion, _salt(id, mediator)));
    }

    function _salt(uint64 id, address mediator) private pure returns (bytes32) {
        return keccak256(abi.encode("salt", id, mediator));
    }

    /// Mediators mostly agree: on the result in one dispute, against it in another.
    function _opinion(Dice memory dice, uint64 id) private view returns (bytes32) {
        uint256 truth = _once(dice, 6) ? _roll(dice, 3) : uint256(keccak256(abi.encode("truth", id))) % 4;
        if (truth == 0) return WRONG;
        return truth == 1 ? bytes32(0) : _agreements[id].result;
    }

    function _seated(Dice memory dice, Dispute storage d) private view returns (address) {
        return d.panel.length == 0 ? address(0) : d.panel[_roll(dice, d.panel.length)];
    }

    /// A dispute that runs, or a job that could be disputed; zero: there is none.
    function _pickDisputable(Dice memory dice) private view returns (uint64 id) {
        uint64 from = _anyId(dice);
        if (_once(dice, 10)) return from;
        bool fresh = _once(dice, 3);
        for (uint64 i; i < _count; ++i) {
            uint64 next = 1 + (from + i) % _count;
            Agreement storage g = _agreements[next];
            if (g.stage == Stage.Submitted && g.class == Class.Exact) id = next;
            if (g.stage == Stage.Disputed) id = next;
            if (id == next && fresh == (g.stage == Stage.Submitted)) return id;
        }
    }

    // Bonds

    function _bondCall(Dice memory dice) internal view returns (Call memory c) {
        if (_once(dice, 3)) return _gatewayCall(dice);
        (c.by, c.to) = (_mostly(dice, _who[MEDIATORS + _roll(dice, 5)]), address(court));
        uint256 kind = _roll(dice, 12);
        if (kind < 4) {
            c.word = _once(dice, 16) ? bytes32(0) : keccak256("mediator key");
            c.value = _once(dice, 8) ? 0 : _amount(dice, 1, 1e6, type(uint96).max);
            c.act = Act.RegisterMediator;
            c.data = abi.encodeCall(court.registerMediator, (c.word, uint128(c.value)));
        } else if (kind < 6) {
            (c.act, c.data) = (Act.RetireMediator, abi.encodeCall(court.retireMediator, ()));
        } else if (kind < 8) {
            (c.act, c.data) = (Act.WithdrawMediatorBond, abi.encodeCall(court.withdrawBond, ()));
        } else if (kind < 10) {
            _setCall(dice, c);
        } else {
            _serveCall(dice, c);
        }
    }

    /// Mostly a member of one of the sets that offers name; joining is likelier, or nobody would be left to draw.
    function _serveCall(Dice memory dice, Call memory c) private view {
        uint64 set = uint64(_once(dice, 4) ? _roll(dice, uint256(_setCount) + 2) : 1 + _roll(dice, 4));
        address[] storage members = _sets[set].members;
        if (members.length != 0) c.by = _mostly(dice, members[_roll(dice, members.length)]);
        c.value = set;
        if (_once(dice, 3)) (c.act, c.data) = (Act.LeaveSet, abi.encodeCall(court.leaveSet, (set)));
        else (c.act, c.data) = (Act.JoinSet, abi.encodeCall(court.joinSet, (set)));
    }

    function _setCall(Dice memory dice, Call memory c) internal view {
        address[] memory members = new address[](_roll(dice, 6));
        for (uint256 i; i < members.length; ++i) {
            members[i] = _who[_once(dice, 4) ? _roll(dice, ACTORS) : MEDIATORS + i % 5];
        }
        if (!_once(dice, 4)) _sort(members);
        uint256 size = _once(dice, 4) ? _roll(dice, 8) : 1 + 2 * _roll(dice, (members.length + 1) / 2 + 1);
        c.value = _once(dice, 16) ? 0 : _amount(dice, 1, 50_000, type(uint96).max);
        (c.act, c.word, c.more) = (Act.CreateMediatorSet, bytes32(size), abi.encode(members));
        c.data = abi.encodeCall(court.createMediatorSet, (members, uint8(size), uint96(c.value)));
    }

    function _gatewayCall(Dice memory dice) private view returns (Call memory c) {
        (c.by, c.to) = (_mostly(dice, _who[STRANGER]), address(gateways));
        uint256 kind = _roll(dice, 8);
        if (kind < 3) {
            c.word = _once(dice, 16) ? bytes32(0) : keccak256("gateway key");
            c.value = _once(dice, 8) ? 0 : _amount(dice, 1, 1e6, type(uint96).max);
            c.act = Act.RegisterGateway;
            c.data = abi.encodeCall(gateways.registerGateway, (c.word, "http://relay", "here", uint128(c.value)));
        } else if (kind == 3) {
            (c.act, c.data) = (Act.GatewayBeat, abi.encodeCall(gateways.beat, ()));
        } else if (kind < 6) {
            (c.act, c.data) = (Act.RetireGateway, abi.encodeCall(gateways.retireGateway, ()));
        } else {
            (c.act, c.data) = (Act.WithdrawGatewayBond, abi.encodeCall(gateways.withdrawBond, ()));
        }
    }

    function _sort(address[] memory all) internal pure {
        for (uint256 i = 1; i < all.length; ++i) {
            for (uint256 j = i; j > 0 && all[j] < all[j - 1]; --j) {
                (all[j], all[j - 1]) = (all[j - 1], all[j]);
            }
        }
    }
}
