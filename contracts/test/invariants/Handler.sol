// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {DisputeView, Kind} from "../../src/Types.sol";
import {Buyer} from "../mocks/Buyer.sol";
import {Exits} from "./Exits.sol";
import {World} from "./World.sol";

/// @notice What the fuzzer calls: one function a kind of act, each of which makes one random call, or a few.
contract Handler is Exits {
    uint256 private constant FUNDS = 1e15;

    /// How a call of a pair went, what its caller has and has lost afterwards, and lost in these two calls.
    struct Side {
        bool ok;
        uint256 has;
        uint256 slashed;
        uint256 slashedNow;
    }

    struct Tale {
        bool broke;
        string what;
        Side first;
        Side second;
        bytes32 state;
    }

    error Tried(Tale tale);

    /// `extreme` is for sums and times at their ends; everything else is as in any world.
    constructor(bool extreme_) World(extreme_) {
        Dice memory dice = Dice(uint256(keccak256("setup")));
        for (uint256 i; i < ACTORS; ++i) {
            vm.prank(_who[i]);
            coin.approve(address(sublet), type(uint256).max);
            Call memory c;
            (c.act, c.by, c.to, c.word) = (Act.Deposit, _who[i], address(sublet), bytes32(uint256(uint160(_who[i]))));
            c.value = extreme ? type(uint128).max : FUNDS;
            coin.mint(c.by, c.value);
            c.data = abi.encodeCall(sublet.deposit, (uint128(c.value)));
            _do(c);
        }
        for (uint256 i; i < 5; ++i) {
            _do(_bondOf(_who[MEDIATORS + i], 50_000 * (i + 1)));
        }
        for (uint256 i; i < 4; ++i) {
            _do(_setOf(i));
            address[] memory members = _sets[_setCount].members;
            for (uint256 j; j < members.length; ++j) {
                _do(_joinOf(members[j], _setCount));
            }
        }
        for (uint256 i; i < 3; ++i) {
            _enter(_who[PROVIDERS + i]);
        }
        for (uint256 i; i < 8; ++i) {
            _addOffer(dice);
        }
    }

    // Acts

    function account(uint256 seed) external {
        Dice memory dice = Dice(seed);
        _block(dice);
        _do(_accountCall(dice));
    }

    function provider(uint256 seed) external {
        Dice memory dice = Dice(seed);
        if (_once(dice, 3)) _addOffer(dice);
        _do(_providerCall(dice));
    }

    function guardian(uint256 seed) external {
        _do(_guardianCall(Dice(seed)));
    }

    function open(uint256 seed) external {
        _do(_openCall(Dice(seed)));
    }

    function lease(uint256 seed) external {
        _do(_leaseCall(Dice(seed)));
    }

    function job(uint256 seed) external {
        Dice memory dice = Dice(seed);
        if (_once(dice, 6)) buyer.setMood(Buyer.Mood(_roll(dice, 5)));
        _do(_jobCall(dice));
    }

    /// Several steps, or most sequences would end before a verdict.
    function court_(uint256 seed) external {
        Dice memory dice = Dice(seed);
        for (uint256 i; i < 4; ++i) {
            _do(_courtCall(dice));
            if (_once(dice, 3)) vm.roll(height() + 1 + _roll(dice, 4));
        }
    }

    function bonds(uint256 seed) external {
        _do(_bondCall(Dice(seed)));
    }

    /// Any two calls by anybody, in both orders.
    function pair(uint256 seed) external {
        Dice memory dice = Dice(seed);
        uint64 id = _once(dice, 4) ? 0 : _anyId(dice);
        _bothOrders(_anyCall(dice, id), _anyCall(dice, id));
    }

    /// Some blocks and seconds; half of the time to the last second of some deadline, or the one before or after.
    function wait(uint256 seed) external {
        Dice memory dice = Dice(seed);
        vm.roll(height() + 1 + (_once(dice, 8) ? 250 + _roll(dice, 12) : _roll(dice, 3)));
        uint256 deadline = _once(dice, 2) ? _deadline(dice) : 0;
        if (deadline > clock() + 1 && deadline < clock() + 2 * UNBONDING) {
            vm.warp(deadline - 1 + _roll(dice, 3));
        } else {
            vm.warp(
                clock() + (_once(dice, 16) ? _roll(dice, 2 * UNBONDING) : _roll(dice, _once(dice, 3) ? 6_000 : 400))
            );
        }
        // Or nothing would ever open again after a long wait; now and then they all stay silent.
        if (_once(dice, 4)) return;
        for (uint256 i; i < 3 && !broken; ++i) {
            if (_once(dice, 2)) _do(_beatOf(_who[PROVIDERS + i]));
        }
    }

    // Two calls in one block

    /// Tries both orders on states that are then forgotten. Whatever goes through in both orders must leave the same
    /// behind; and whoever's call goes through in either order must not be worse off for the other's having come first.
    /// (Batches always go through; their rows are calls like these.)
    function _bothOrders(Call memory a, Call memory b) private {
        if (broken) return;
        Tale memory ab = _try(a, b);
        Tale memory ba = _try(b, a);
        bool batch =
            a.act == Act.OpenMany || b.act == Act.OpenMany || a.act == Act.SettleJobs || b.act == Act.SettleJobs;
        if (broken || batch) return;
        if (ab.first.ok && ab.second.ok && ba.first.ok && ba.second.ok) {
            string memory act = vm.toString(uint256(b.act));
            return _note(ab.state == ba.state, 4, string.concat("depends on its order with act ", act), a);
        }
        if (ab.first.ok) _noWorse(a, b, ab.second, ba.first);
        if (ba.first.ok) _noWorse(b, a, ba.second, ab.first);
    }

    /// `early` is what came of the call of `second` when it was first.
    function _noWorse(Call memory first, Call memory second, Side memory late, Side memory early) private {
        if (first.by == second.by || !late.ok || !early.ok || _mayCost(first, second, late)) return;
        bool fine = late.has >= early.has && late.slashed <= early.slashed;
        string memory act = vm.toString(uint256(first.act));
        _note(fine, 4, string.concat("costs its caller more after act ", act), second);
    }

    /// Where coming second is meant to cost: silence was long enough to be faulted, so that the next beat is late; rent
    /// settled beyond the last beat is not taken back by a fault; and a provider that closes bears what it said it would,
    /// if a top-up came first.
    function _mayCost(Call memory first, Call memory second, Side memory late) private pure returns (bool) {
        bool beats = second.act == Act.Beat || second.act == Act.SetOnline || second.act == Act.StartLease;
        bool lateBeat = first.act == Act.FaultLease && beats;
        bool settledBefore = first.act == Act.SettleLease && second.act == Act.FaultLease;
        bool closesAtACost = first.act == Act.TopUpLease && second.act == Act.CloseLease;
        return lateBeat || settledBefore || (closesAtACost && late.slashedNow <= second.value);
    }

    function _try(Call memory a, Call memory b) private returns (Tale memory tale) {
        try this.inOrder(a, b) {}
        catch (bytes memory answer) {
            if (bytes4(answer) != Tried.selector) {
                _note(false, 4, "and another call broke the test", a);
                return tale;
            }
            tale = abi.decode(_tail(answer), (Tale));
            if (tale.broke) (broken, breaches[4]) = (true, string.concat("I4: in this order, ", tale.what));
        }
    }

    /// Always reverts, with what came of it. Each call is held against the rules as any other.
    function inOrder(Call memory a, Call memory b) external {
        Tale memory t;
        (t.first.slashedNow, t.second.slashedNow) = (_slashed(a.by), _slashed(b.by));
        t.first.ok = _do(a);
        t.second.ok = _do(b);
        for (uint256 i = 1; i <= 14; ++i) {
            if (bytes(breaches[i]).length != 0) t.what = breaches[i];
        }
        t.broke = broken;
        if (!broken && held() != coin.balanceOf(address(sublet))) {
            (t.broke, t.what) = (true, "the money does not add up");
        }
        _weigh(t.first, a.by);
        _weigh(t.second, b.by);
        // The lower number first, whichever call was.
        (uint64 low, uint64 high) = a.id < b.id ? (a.id, b.id) : (b.id, a.id);
        t.state = keccak256(abi.encode(_balances(), _shape(low), _shape(high), sublet.agreementCount()));
        revert Tried(t);
    }

    function _weigh(Side memory side, address who) private view {
        side.has = sublet.freeOf(who) + _claims(who);
        side.slashed = _slashed(who);
        side.slashedNow = side.slashed - side.slashedNow;
    }

    /// What is held for `who` in agreements and disputes.
    function _claims(address who) private view returns (uint256 sum) {
        for (uint64 id = 1; id <= _count; ++id) {
            Agreement storage g = _agreements[id];
            if (g.stage == Stage.Ended) continue;
            if (g.provider == who) sum += _pledge(g);
            if (g.renter != who) continue;
            sum += g.price * (g.duration - g.paidSeconds) + (g.feeHeld ? g.fee : 0);
            if (g.stage == Stage.Disputed) sum += _sets[g.set].fee * _sets[g.set].panelSize;
        }
    }

    /// What `who` ever lost of its pledges.
    function _slashed(address who) private view returns (uint256 sum) {
        for (uint64 id = 1; id <= _count; ++id) {
            if (_agreements[id].provider == who) sum += _agreements[id].slashed;
        }
    }

    /// All of an agreement but the number of those who may be drawn, which depends on what they did just before.
    function _shape(uint64 id) private view returns (bytes32) {
        DisputeView memory d = court.disputeOf(id);
        d.electorate = 0;
        return keccak256(abi.encode(lens.lease(id), lens.job(id), d));
    }

    /// Everything the contract owes.
    function held() public view returns (uint256 sum) {
        uint256[ACCOUNTS] memory all = _balances();
        for (uint256 i; i < ACCOUNTS; ++i) {
            sum += all[i];
        }
        for (uint64 id = 1; id <= _count; ++id) {
            sum += heldBy(id);
        }
    }

    function heldBy(uint64 id) public view returns (uint256) {
        (uint256 l, uint256 p, uint256 f) = (lens.lease(id).escrow, lens.lease(id).pledge, lens.lease(id).solverFee);
        if (l + p + f != 0) return l + p + f;
        return uint256(lens.job(id).escrow) + lens.job(id).pledge + lens.job(id).solverFee;
    }

    // Choices

    function _anyCall(Dice memory dice, uint64 id) private returns (Call memory c) {
        uint256 kind = _roll(dice, 12);
        if (id != 0 && kind < 9) return _callOn(dice, id);
        if (kind < 3) return _openCall(dice);
        if (kind < 5) return _accountCall(dice);
        if (kind < 7) return _providerCall(dice);
        if (kind < 9) return _bondCall(dice);
        if (kind == 9) return _guardianCall(dice);
        return kind == 10 ? _leaseCall(dice) : _courtCall(dice);
    }

    /// A call of the right kind, on this agreement.
    function _callOn(Dice memory dice, uint64 id) private view returns (Call memory c) {
        for (uint256 i; i < 12; ++i) {
            Stage stage = _agreements[id].stage;
            if (_agreements[id].kind == Kind.Lease) {
                c = _leaseCall(dice);
            } else {
                c = stage == Stage.Disputed || (stage == Stage.Submitted && i % 3 == 0)
                    ? _courtCall(dice)
                    : _jobCall(dice);
            }
            if (c.id == id) return c;
        }
    }

    /// Some deadline of some agreement, or of a bond.
    function _deadline(Dice memory dice) private view returns (uint256) {
        uint64 id = _pick(dice, Kind(_roll(dice, 2)));
        Agreement storage g = _agreements[id];
        uint256 startBy = g.openedAt + g.startWithin;
        if (_once(dice, 16)) return _mediators[_who[MEDIATORS + _roll(dice, 5)]].retiredAt + UNBONDING;
        if (g.stage == Stage.Open) return g.kind == Kind.Lease ? startBy : startBy + _roll(dice, 2) * g.duration;
        if (g.stage == Stage.Submitted) return g.submittedAt + g.window;
        if (g.stage == Stage.Disputed) return _once(dice, 2) ? _disputes[id].commitBy : _disputes[id].revealBy;
        if (g.stage != Stage.Active) return 0;
        uint256 kind = _roll(dice, 3);
        if (kind == 0) return _providers[g.provider].lastBeat + FAULT_AFTER;
        if (kind == 1) return g.noticeAt + g.notice;
        return clock() + g.duration - g.paidSeconds;
    }

    /// In an extreme world the token now and then refuses somebody, or no longer does.
    function _block(Dice memory dice) private {
        if (!extreme || !_once(dice, 4)) return;
        address who = _anybody(dice);
        coin.setBlocked(who, !coin.blocked(who));
    }

    // Setting up

    function _bondOf(address who, uint256 bond) private view returns (Call memory c) {
        (c.act, c.by, c.to, c.value, c.word) = (Act.RegisterMediator, who, address(court), bond, keccak256("key"));
        c.data = abi.encodeCall(court.registerMediator, (c.word, uint128(bond)));
    }

    /// Three of three; three of five; one of one; three of five of which two may be parties.
    function _setOf(uint256 kind) private view returns (Call memory c) {
        address[] memory members = new address[](kind == 0 ? 3 : kind == 2 ? 1 : 5);
        for (uint256 i; i < members.length; ++i) {
            members[i] = _who[kind == 3 && i < 2 ? i * PROVIDERS : MEDIATORS + i];
        }
        _sort(members);
        uint256 size = kind == 2 ? 1 : 3;
        uint256 fee = 1_001 * (kind + 1);
        (c.act, c.by, c.to, c.value) = (Act.CreateMediatorSet, _who[STRANGER], address(court), fee);
        (c.word, c.more) = (bytes32(size), abi.encode(members));
        c.data = abi.encodeCall(court.createMediatorSet, (members, uint8(size), uint96(fee)));
    }

    function _joinOf(address who, uint64 set) private view returns (Call memory c) {
        (c.act, c.by, c.to, c.value) = (Act.JoinSet, who, address(court), set);
        c.data = abi.encodeCall(court.joinSet, (set));
    }

    function _enter(address who) private {
        Call memory c;
        (c.act, c.by, c.to, c.word) = (Act.RegisterProvider, who, address(sublet), keccak256("provider key"));
        c.data = abi.encodeCall(sublet.registerProvider, (c.word, "{}"));
        _do(c);
        (c.act, c.value, c.data) = (Act.SetOnline, 1, abi.encodeCall(sublet.setOnline, (true)));
        _do(c);
    }
}
