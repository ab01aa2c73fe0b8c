// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Offer, Order, Pair, Settlement} from "../../src/Types.sol";
import {Kind, Verdict} from "../../src/Types.sol";
import {Driver} from "./Driver.sol";

/// @notice Thinks up calls of accounts, providers and agreements: mostly what the caller might well do next, now and then
/// anything by anybody.
abstract contract Acts is Driver {
    // Accounts

    function _accountCall(Dice memory dice) internal returns (Call memory c) {
        (c.by, c.to) = (_anybody(dice), address(sublet));
        uint256 kind = _roll(dice, 9);
        c.word = bytes32(uint256(uint160(c.by)));
        if (kind < 4) {
            c.value = kind == 3 || _once(dice, 16) ? 0 : _amount(dice, 1, 1e12, type(uint128).max);
            if (!coin.blocked(c.by)) coin.mint(c.by, c.value);
        } else {
            c.value = kind == 8 || _once(dice, 16) ? 0 : 1 + _roll(dice, sublet.freeOf(c.by) / 8 + 2);
            if (c.value > type(uint128).max) c.value = type(uint128).max;
        }
        uint128 amount = uint128(c.value);
        if (kind == 0 || kind == 3) {
            (c.act, c.data) = (Act.Deposit, abi.encodeCall(sublet.deposit, (amount)));
        } else if (kind == 1) {
            address to = _payee(dice);
            c.word = bytes32(uint256(uint160(to)));
            (c.act, c.data) = (Act.DepositFor, abi.encodeCall(sublet.depositFor, (to, amount)));
        } else if (kind == 2) {
            // The token knows no permits; the allowance is there, as if somebody had sent it first.
            c.act = Act.DepositWithPermit;
            c.data = abi.encodeCall(sublet.depositWithPermit, (amount, 0, 0, 0, 0));
        } else if (kind == 4 || kind == 8) {
            (c.act, c.data) = (Act.Withdraw, abi.encodeCall(sublet.withdraw, (amount)));
        } else if (kind < 7) {
            address to = _payee(dice);
            c.word = bytes32(uint256(uint160(to)));
            (c.act, c.data) = (Act.WithdrawTo, abi.encodeCall(sublet.withdrawTo, (to, amount)));
        } else {
            _trunkCall(dice, c);
        }
    }

    /// Anybody, now and then the contract itself, whose money would be nobody's.
    function _payee(Dice memory dice) private view returns (address) {
        return _once(dice, 16) ? address(sublet) : _anybody(dice);
    }

    /// What only a branch may do, by somebody who is none.
    function _trunkCall(Dice memory dice, Call memory c) private view {
        (c.act, c.id) = (Act.Trunk, _anyId(dice));
        uint256 kind = _roll(dice, 4);
        if (kind == 0) c.data = abi.encodeCall(sublet.take, (_anybody(dice), 1));
        if (kind == 1) c.data = abi.encodeCall(sublet.give, (_anybody(dice), 1));
        if (kind == 2) c.data = abi.encodeCall(sublet.disputeJob, (c.id, c.by));
        if (kind == 3) c.data = abi.encodeCall(sublet.ruleJob, (c.id, Verdict(_roll(dice, 3))));
    }

    function _guardianCall(Dice memory dice) internal view returns (Call memory c) {
        (c.by, c.to) = (_once(dice, 4) ? _anybody(dice) : GUARDIAN, address(sublet));
        if (_once(dice, 16)) {
            (c.act, c.data) = (Act.RenounceGuardian, abi.encodeCall(sublet.renounceGuardian, ()));
        } else {
            c.value = _paused || !_once(dice, 3) ? 0 : 1;
            (c.act, c.data) = (Act.PauseOpen, abi.encodeCall(sublet.pauseOpen, (c.value != 0)));
        }
    }

    // Providers and documents

    function _providerCall(Dice memory dice) internal returns (Call memory c) {
        (c.by, c.to) = (_mostly(dice, _who[PROVIDERS + _roll(dice, 3)]), address(sublet));
        uint256 kind = _roll(dice, 16);
        if (kind < 8) {
            return _beatOf(c.by);
        } else if (kind < 10) {
            return _onlineCall(c.by, !_once(dice, 3));
        } else if (kind == 10) {
            c.word = _once(dice, 4) ? bytes32(0) : keccak256("new key");
            (c.act, c.data) = (Act.RegisterProvider, abi.encodeCall(sublet.registerProvider, (c.word, "{}")));
        } else if (kind == 11) {
            (c.act, c.data) = (Act.BumpEpoch, abi.encodeCall(sublet.bumpEpoch, ()));
        } else if (kind == 12) {
            c.word = sublet.hashOffer(_offers[_roll(dice, _offers.length)]);
            (c.act, c.data) = (Act.CancelOffer, abi.encodeCall(sublet.cancelOffer, (c.word)));
        } else if (kind == 13) {
            (c.by, c.act, c.value) = (_mostly(dice, _who[_roll(dice, 3)]), Act.CancelOrder, _someNonce(dice));
            c.data = abi.encodeCall(sublet.cancelOrder, (c.value));
        } else {
            Order memory w = _newOrder(dice, _offers[_roll(dice, _offers.length)]);
            c = _placeCall(dice, w);
        }
    }

    function _beatOf(address provider) internal view returns (Call memory c) {
        (c.act, c.by, c.to) = (Act.Beat, provider, address(sublet));
        c.data = abi.encodeCall(sublet.beat, ());
    }

    function _onlineCall(address provider, bool online) internal view returns (Call memory c) {
        (c.act, c.by, c.to, c.value) = (Act.SetOnline, provider, address(sublet), online ? 1 : 0);
        c.data = abi.encodeCall(sublet.setOnline, (online));
    }

    function _placeCall(Dice memory dice, Order memory w) internal view returns (Call memory c) {
        (c.act, c.by, c.to) = (Act.PlaceOrder, _mostly(dice, w.renter), address(orders));
        bool callback = w.renter == address(buyer) && (w.kind == Kind.Job || _once(dice, 8));
        bytes memory workload = _once(dice, 8) ? bytes("other") : _once(dice, 2) ? bytes("workload") : bytes("");
        c.word = sublet.hashOrder(w);
        c.more = abi.encode(w, workload, callback);
        c.data = abi.encodeCall(orders.placeOrder, (w, workload, callback));
    }

    /// One pair, or several at once.
    function _openCall(Dice memory dice) internal returns (Call memory c) {
        c.to = address(sublet);
        if (_once(dice, 6)) {
            c.by = _mostly(dice, _who[SOLVER]);
            Papers[] memory rows = new Papers[](2 + _roll(dice, 2));
            Pair[] memory pairs = new Pair[](rows.length);
            for (uint256 i; i < rows.length; ++i) {
                rows[i] = _pair(dice);
                pairs[i] = Pair(rows[i].offer, rows[i].offerSignature, rows[i].order, rows[i].orderSignature);
            }
            (c.act, c.more) = (Act.OpenMany, abi.encode(rows));
            c.data = abi.encodeCall(sublet.openMany, (pairs));
            return c;
        }
        Papers memory p = _pair(dice);
        c.by = _mostly(dice, _once(dice, 3) ? p.order.renter : _who[SOLVER]);
        (c.act, c.more) = (Act.Open, abi.encode(p));
        c.data = abi.encodeCall(sublet.open, (p.offer, p.offerSignature, p.order, p.orderSignature));
    }

    function _pair(Dice memory dice) private returns (Papers memory p) {
        Offer memory x = _someOffer(dice);
        Order memory w = _newOrder(dice, x);
        bool place = _once(dice, w.renter == address(buyer) ? 2 : 8);
        if (place) place = _do(_placeCall(dice, w));
        if (!_once(dice, 12)) _do(_providers[x.provider].online ? _beatOf(x.provider) : _onlineCall(x.provider, true));
        return _papers(dice, x, w, place);
    }

    // Agreements

    /// What either side might do to a lease in this state; now and then what nobody may do.
    function _leaseCall(Dice memory dice) internal view returns (Call memory c) {
        c.id = _pick(dice, Kind.Lease);
        Agreement storage g = _agreements[c.id];
        c.to = address(sublet);
        bool wild = _once(dice, 8);
        uint256 kind = g.stage == Stage.Open && !wild ? _roll(dice, 6) : 4 + _roll(dice, 8);
        if (wild) kind = 2 + _roll(dice, 10);
        bool silent = g.stage == Stage.Active && clock() > _providers[g.provider].lastBeat + FAULT_AFTER;
        if (silent && _once(dice, 2)) kind = 11;
        address by = g.provider;
        if (kind < 3) (c.act, c.data) = (Act.StartLease, abi.encodeCall(sublet.startLease, (c.id)));
        if (kind == 3) (c.act, c.data) = (Act.RejectLease, abi.encodeCall(sublet.rejectLease, (c.id)));
        if (kind == 4) (c.act, c.data) = (Act.ExpireLease, abi.encodeCall(sublet.expireLease, (c.id)));
        if (kind == 5) (c.act, c.data) = (Act.CancelLease, abi.encodeCall(sublet.cancelLease, (c.id)));
        if (kind == 6 || kind == 7) (c.act, c.data) = (Act.SettleLease, abi.encodeCall(sublet.settleLease, (c.id)));
        if (kind == 8) {
            c.value = _once(dice, 16) ? 0 : _amount(dice, 1, 900, type(uint32).max);
            (c.act, c.data) = (Act.TopUpLease, abi.encodeCall(sublet.topUpLease, (c.id, uint32(c.value))));
        }
        if (kind == 9) (c.act, c.data) = (Act.GiveNotice, abi.encodeCall(sublet.giveNotice, (c.id)));
        if (kind == 10) {
            c.value = _once(dice, 3) ? 0 : _once(dice, 2) ? type(uint128).max : _roll(dice, 1e9);
            (c.act, c.data) = (Act.CloseLease, abi.encodeCall(sublet.closeLease, (c.id, uint128(c.value))));
        }
        if (kind == 11) (c.act, c.data) = (Act.FaultLease, abi.encodeCall(sublet.faultLease, (c.id)));
        if (kind == 5 || kind == 8 || (kind == 10 && _once(dice, 2))) by = g.renter;
        if (kind == 4 || kind == 11) by = address(0);
        c.by = _mostly(dice, by);
    }

    function _jobCall(Dice memory dice) internal view returns (Call memory c) {
        if (_once(dice, 12)) return _settleJobsCall(dice);
        c.id = _pick(dice, Kind.Job);
        Agreement storage g = _agreements[c.id];
        c.to = address(sublet);
        bool wild = _once(dice, 8);
        uint256 kind = g.stage == Stage.Open && !wild ? _roll(dice, 12) : 8 + _roll(dice, 6);
        if (wild) kind = 7 + _roll(dice, 7);
        address by = g.provider;
        if (kind < 8) {
            (c.act, c.word, c.value) = (Act.SubmitJob, _result(c.id), _amount(dice, 0, 4_500, type(uint32).max));
            if (_once(dice, 16)) c.word = 0;
            c.data = abi.encodeCall(sublet.submitJob, (c.id, c.word, uint32(c.value)));
        }
        if (kind == 8 || kind == 9) return _settleCall(dice, c.id);
        if (kind == 10) (c.act, c.data) = (Act.ExpireJob, abi.encodeCall(sublet.expireJob, (c.id)));
        if (kind == 11) (c.act, c.data) = (Act.FinalizeJob, abi.encodeCall(sublet.finalizeJob, (c.id)));
        if (kind == 12) (c.act, c.data) = (Act.AcceptJob, abi.encodeCall(sublet.acceptJob, (c.id)));
        if (kind == 13) (c.act, c.data) = (Act.RefuseJob, abi.encodeCall(sublet.refuseJob, (c.id)));
        if (g.stage == Stage.Open && !wild && kind == 11) {
            (c.act, c.data) = (Act.RejectJob, abi.encodeCall(sublet.rejectJob, (c.id)));
        }
        if (kind > 11) by = g.renter;
        if (kind == 10) by = address(0);
        c.by = _mostly(dice, by);
    }

    /// The renter's signature over what was submitted, or over something else, or somebody else's.
    function _settleCall(Dice memory dice, uint64 id) private view returns (Call memory c) {
        Agreement storage g = _agreements[id];
        (c.act, c.id, c.to, c.by) = (Act.SettleJob, id, address(sublet), _mostly(dice, g.provider));
        c.word = g.stage == Stage.Submitted && !_once(dice, 8) ? g.result : _result(id);
        c.value = _once(dice, 2) ? _declared(g) : _roll(dice, g.price * g.duration + 2);
        bool signed = !_once(dice, 6) && g.renter != address(0);
        address signer = signed ? g.renter : _who[STRANGER];
        if (g.renter == signer) signed = true;
        bytes memory signature = _sign(signer, sublet.hashAcceptance(id, c.word, uint128(c.value)));
        c.more = abi.encode(signed);
        c.data = abi.encodeCall(sublet.settleJob, (id, c.word, uint128(c.value), signature));
    }

    function _settleJobsCall(Dice memory dice) private view returns (Call memory c) {
        Call[] memory rows = new Call[](2);
        Settlement[] memory sent = new Settlement[](2);
        (c.act, c.to, c.by) = (Act.SettleJobs, address(sublet), _mostly(dice, _who[PROVIDERS + _roll(dice, 3)]));
        for (uint256 i; i < 2; ++i) {
            rows[i] = _settleCall(dice, _pick(dice, Kind.Job));
            rows[i].by = c.by;
            (,,, bytes memory signature) = abi.decode(_tail(rows[i].data), (uint64, bytes32, uint128, bytes));
            sent[i] = Settlement(rows[i].id, rows[i].word, uint128(rows[i].value), signature);
        }
        c.more = abi.encode(rows);
        c.data = abi.encodeCall(sublet.settleJobs, (sent));
    }

    function _result(uint64 id) internal pure returns (bytes32) {
        return keccak256(abi.encode("result", id));
    }

    function _anyId(Dice memory dice) internal view returns (uint64) {
        return uint64(_roll(dice, uint256(_count) + 2));
    }

    /// Seven times of eight a running agreement of the kind, if there is one; else any number.
    function _pick(Dice memory dice, Kind kind) internal view returns (uint64 id) {
        id = _anyId(dice);
        if (_once(dice, 8)) return id;
        for (uint64 i; i < _count; ++i) {
            uint64 next = 1 + (id + i) % _count;
            if (_agreements[next].kind == kind && _agreements[next].stage != Stage.Ended) return next;
        }
    }
}
