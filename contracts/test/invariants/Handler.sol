// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Lens} from "../../src/Lens.sol";
import {Sublet} from "../../src/Sublet.sol";
import {SubletToken} from "../../src/SubletToken.sol";
import {Class, JobState, JobView, Kind, LeaseState, LeaseView, Offer, Order, Resources} from "../../src/Types.sol";
import {Assertions} from "../base/Assertions.sol";
import {Vm} from "../base/Vm.sol";
import {Ledger} from "./Ledger.sol";

/// @notice Random but plausible acts of four accounts, each of which is renter, provider, solver and stranger in turn.
/// After each act the ledger is rebuilt from the logs alone, and what may not have happened is looked for.
contract Handler is Assertions {
    Sublet public immutable sublet;
    Lens public immutable lens;
    SubletToken public immutable token;
    Ledger public immutable ledger;
    address public immutable guardian;

    uint256 private constant ACTORS = 4;
    uint256 private constant KEY = 0x1000;
    uint128 private constant FUNDS = 1e15;

    uint256 public acts;
    mapping(bytes4 call => uint256) public done;
    /// First breach of a rule that is checked at the act, if any.
    string public breach;

    /// Provider of the lease that is acted on: a top-up locks more of its pledge.
    address private _pledging;
    Offer[] private _offers;
    uint256 private _nonce;
    mapping(uint64 id => uint256 offer) private _offerOf;
    mapping(uint64 id => bytes32) private _endedAs;

    constructor(Sublet sublet_, SubletToken token_, address guardian_) {
        (sublet, token, guardian) = (sublet_, token_, guardian_);
        lens = Lens(sublet.lens());
        ledger = new Ledger(sublet_);
        vm.recordLogs();
        for (uint256 i; i < ACTORS; ++i) {
            address who = actor(i);
            token.mint(who, FUNDS);
            vm.startPrank(who);
            token.approve(address(sublet), type(uint256).max);
            sublet.deposit(FUNDS);
            sublet.registerProvider(keccak256(abi.encode(i)), "{}");
            sublet.setOnline(true);
            vm.stopPrank();
            _offers.push(_newOffer(i, uint256(keccak256(abi.encode(i)))));
        }
        ledger.read(vm.getRecordedLogs());
    }

    function actor(uint256 seed) public pure returns (address) {
        return vm.addr(KEY + seed % ACTORS);
    }

    function actors() external pure returns (address[] memory all) {
        all = new address[](ACTORS);
        for (uint256 i; i < ACTORS; ++i) {
            all[i] = actor(i);
        }
    }

    function offers() external view returns (Offer[] memory) {
        return _offers;
    }

    // Acts

    function deposit(uint256 who, uint128 amount) external {
        amount = uint128(bound(amount, 1, 1e15));
        token.mint(actor(who), amount);
        _act(actor(who), abi.encodeCall(sublet.deposit, (amount)));
    }

    function withdraw(uint256 who, uint256 to, uint128 amount) external {
        uint256 free = sublet.freeOf(actor(who));
        if (free == 0) return;
        _act(actor(who), abi.encodeCall(sublet.withdrawTo, (actor(to), uint128(bound(amount, 1, free)))));
    }

    function offer(uint256 who, uint256 seed) external {
        if (_offers.length < 24) _offers.push(_newOffer(who % ACTORS, seed));
    }

    function open(uint256 who, uint256 renter, uint256 which, uint256 seed) external {
        uint256 index = which % _offers.length;
        Offer memory o = _offers[index];
        uint256 key = _keyOf(o.provider);
        Order memory w = _newOrder(renter % ACTORS, o, seed);
        bytes memory a = _sign(key, sublet.hashOffer(o));
        bytes memory b = _sign(KEY + renter % ACTORS, sublet.hashOrder(w));
        vm.prank(o.provider);
        sublet.beat();
        uint64 count = sublet.agreementCount();
        if (_act(actor(who), abi.encodeCall(sublet.open, (o, a, w, b)))) {
            _offerOf[count + 1] = index;
            _note(sublet.agreementCount() == count + 1, "I11: one open, one agreement");
            _note(!_try(actor(who), abi.encodeCall(sublet.open, (o, a, w, b))), "I11: an order filled twice");
        }
    }

    function beat(uint256 who) external {
        _act(actor(who), abi.encodeCall(sublet.beat, ()));
    }

    function wait(uint256 seconds_) external {
        vm.warp(clock() + bound(seconds_, 1, seconds_ % 4 == 0 ? 8_000 : 600));
    }

    function pauseOpen(uint256 seed) external {
        _act(guardian, abi.encodeCall(sublet.pauseOpen, (seed % 8 == 0)));
    }

    /// Any lease call by any actor on any agreement.
    function lease(uint256 who, uint64 id, uint256 call_, uint32 seconds_) external {
        id = _pick(id, Kind.Lease);
        _pledging = lens.lease(id).provider;
        LeaseView memory l = lens.lease(id);
        bytes[9] memory calls = [
            abi.encodeCall(sublet.startLease, (id)),
            abi.encodeCall(sublet.rejectLease, (id)),
            abi.encodeCall(sublet.cancelLease, (id)),
            abi.encodeCall(sublet.expireLease, (id)),
            abi.encodeCall(sublet.settleLease, (id)),
            abi.encodeCall(sublet.topUpLease, (id, uint32(bound(seconds_, 1, 500)))),
            abi.encodeCall(sublet.giveNotice, (id)),
            abi.encodeCall(sublet.closeLease, (id)),
            abi.encodeCall(sublet.faultLease, (id))
        ];
        uint256 which = call_ % 9;
        if (call_ % 7 != 0 && l.state == LeaseState.Open) which = call_ % 6 < 4 ? call_ % 4 : 0;
        if (call_ % 7 != 0 && l.state == LeaseState.Active) which = 4 + call_ % 5;
        _onAgreement(_likely(who, id, l.renter, l.provider), id, calls[which]);
    }

    /// Any job call by any actor on any agreement.
    function job(uint256 who, uint64 id, uint256 call_, uint32 used, uint128 cost) external {
        id = _pick(id, Kind.Job);
        JobView memory j = lens.job(id);
        bytes32 result = keccak256(abi.encode(id));
        cost = uint128(bound(cost, 0, uint256(j.price) * j.duration));
        uint256 key = j.renter == address(0) ? KEY : _keyOf(j.renter);
        bytes memory sig = _sign(key, sublet.hashAcceptance(id, result, cost));
        bytes[7] memory calls = [
            abi.encodeCall(sublet.submitJob, (id, result, uint32(bound(used, 0, 4_000)))),
            abi.encodeCall(sublet.rejectJob, (id)),
            abi.encodeCall(sublet.expireJob, (id)),
            abi.encodeCall(sublet.settleJob, (id, result, cost, sig)),
            abi.encodeCall(sublet.acceptJob, (id)),
            abi.encodeCall(sublet.finalizeJob, (id)),
            abi.encodeCall(sublet.refuseJob, (id))
        ];
        uint256 which = call_ % 7;
        if (call_ % 11 != 0 && j.state == JobState.Open) which = call_ % 6 < 4 ? call_ % 4 : 0;
        if (call_ % 11 != 0 && j.state == JobState.Submitted) which = 3 + call_ % 4;
        _onAgreement(_likely(who, id, j.renter, j.provider), id, calls[which]);
    }

    // Checks at each act

    function _onAgreement(address by, uint64 id, bytes memory data) private {
        bytes32 ended = _endedAs[id];
        bool ok = _act(by, data);
        _note(!ok || ended == 0, "I5: a call on an ended agreement went through");
        if (ended != 0) _note(_shape(id) == ended, "I5: an ended agreement changed");
        else if (_isEnded(id)) _endedAs[id] = _shape(id);
    }

    function _act(address by, bytes memory data) private returns (bool ok) {
        uint256[ACTORS] memory before;
        for (uint256 i; i < ACTORS; ++i) {
            before[i] = sublet.freeOf(actor(i));
        }
        vm.recordLogs();
        ok = _try(by, data);
        // forge also records the logs of calls that revert; a chain does not have them.
        Vm.Log[] memory logs = vm.getRecordedLogs();
        if (ok) ledger.read(logs);
        ++acts;
        bytes4 selector = bytes4(data);
        if (ok) ++done[selector];
        bool signed = selector == sublet.open.selector;
        for (uint256 i; i < ACTORS; ++i) {
            bool less = sublet.freeOf(actor(i)) < before[i];
            bool pledges = selector == sublet.topUpLease.selector && actor(i) == _pledging;
            _note(!less || signed || pledges || actor(i) == by, "I13: somebody else lowered a balance");
        }
    }

    function _try(address by, bytes memory data) private returns (bool ok) {
        vm.prank(by);
        (ok,) = address(sublet).call(data);
    }

    function _note(bool condition, string memory what) private {
        if (!condition && bytes(breach).length == 0) breach = what;
    }

    function _isEnded(uint64 id) private view returns (bool) {
        return lens.lease(id).state == LeaseState.Ended || lens.job(id).state == JobState.Ended;
    }

    function _shape(uint64 id) private view returns (bytes32) {
        return keccak256(abi.encode(lens.lease(id), lens.job(id)));
    }

    // Documents

    function _newOffer(uint256 who, uint256 seed) private view returns (Offer memory o) {
        o.provider = actor(who);
        o.kind = Kind(seed % 2);
        o.price = uint128(bound(seed >> 8, 1, 1e9));
        o.pledgeBps = uint32(bound(seed >> 16, 1, 25_000));
        o.capacity = uint32(bound(seed >> 24, 1, 3));
        o.maxDuration = 4_000;
        o.startWithin = uint32(bound(seed >> 32, 0, 2_000));
        o.notice = uint32(bound(seed >> 40, 0, 2_000));
        o.minCharge = uint32(bound(seed >> 48, 0, 2_000));
        o.maxChallengeWindow = 3_000;
        // Different for every offer, so that none is counted twice.
        o.validUntil = type(uint64).max - uint64(_offers.length);
    }

    function _newOrder(uint256 who, Offer memory o, uint256 seed) private returns (Order memory w) {
        w.renter = actor(who);
        w.kind = o.kind;
        w.maxPrice = o.price;
        w.duration = uint32(bound(seed >> 8, 1, 4_000));
        w.class = o.kind == Kind.Job ? Class(seed % 2) : Class.None;
        w.challengeWindow = uint32(bound(seed >> 16, 0, 3_000));
        w.solverFee = uint128(bound(seed >> 24, 0, 1e9));
        w.validUntil = type(uint64).max;
        w.nonce = _nonce++;
    }

    /// Half of the time the renter, a quarter the provider, else anybody: so that most calls get past their first check.
    function _likely(uint256 who, uint64 id, address renter, address provider) private pure returns (address) {
        uint256 dice = uint256(keccak256(abi.encode(who, id))) % 4;
        if (renter == address(0) || dice == 3) return actor(who);
        return dice == 0 ? renter : provider;
    }

    /// Seven times of eight a running agreement of the kind, if there is one; else any.
    function _pick(uint64 seed, Kind kind) private view returns (uint64 id) {
        uint64 count = sublet.agreementCount();
        if (count == 0) return 1;
        id = 1 + seed % count;
        if (seed % 8 == 0) return id;
        for (uint64 i; i < count; ++i) {
            uint64 next = 1 + (id + i) % count;
            uint256 state = kind == Kind.Lease ? uint256(lens.lease(next).state) : uint256(lens.job(next).state);
            if (state != 0 && !_isEnded(next)) return next;
        }
    }

    function _keyOf(address who) private pure returns (uint256) {
        for (uint256 i; i < ACTORS; ++i) {
            if (actor(i) == who) return KEY + i;
        }
        revert("not an actor");
    }

    function _sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }
}
