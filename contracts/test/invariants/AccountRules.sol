// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, Order} from "../../src/Types.sol";
import {Ghost} from "./Ghost.sol";

/// @notice Who may do what with balances, beats, documents and the pause; and that a branch's powers are a branch's only.
abstract contract AccountRules is Ghost {
    function _accountRule(Call memory c) internal returns (Outcome memory o) {
        o = _outcome(13, 1);
        if (c.act == Act.Withdraw || c.act == Act.WithdrawTo) {
            (address to, uint256 amount) = (address(uint160(uint256(c.word))), c.value);
            o.may = amount != 0 && sublet.freeOf(c.by) >= amount && _somebody(to) && !coin.blocked(to);
            if (coin.blocked(c.by)) o.guards = 6;
            if (!o.may) return o;
            _take(o, c.by, amount);
            withdrawn += amount;
        } else {
            _depositRule(o, c);
        }
    }

    /// The handler has approved and minted what it deposits.
    function _depositRule(Outcome memory o, Call memory c) private {
        address to = address(uint160(uint256(c.word)));
        o.may = c.value != 0 && _somebody(to) && !coin.blocked(c.by);
        if (!o.may) return;
        _give(o, to, c.value);
        deposited += c.value;
    }

    /// Whose money it can be: not nobody's, nor the contract's own.
    function _somebody(address to) private view returns (bool) {
        return to != address(0) && to != address(sublet);
    }

    function _providerRule(Call memory c) internal returns (Outcome memory o) {
        o = _outcome(13, 13);
        Provider storage p = _providers[c.by];
        bool known = p.lastBeat != 0;
        if (c.act == Act.RegisterProvider) {
            o.may = c.word != 0;
            if (o.may && !known) p.lastBeat = clock();
        } else if (c.act == Act.SetOnline || c.act == Act.Beat) {
            o.may = known;
            if (!known) return o;
            _beats(c.by);
            if (c.act == Act.SetOnline) p.online = c.value != 0;
        } else if (c.act == Act.BumpEpoch) {
            o.may = known;
            if (known) ++p.epoch;
        }
    }

    function _documentRule(Call memory c) internal returns (Outcome memory o) {
        o = _outcome(11, 13);
        if (c.act == Act.CancelOffer) {
            o.may = true;
            _cancelled[c.by][c.word] = true;
        } else if (c.act == Act.CancelOrder) {
            o.may = !_used[c.by][c.value];
            _used[c.by][c.value] = true;
        } else if (c.act == Act.PlaceOrder) {
            (Order memory order, bytes memory workload, bool callback) = abi.decode(c.more, (Order, bytes, bool));
            bool fits = workload.length == 0 || keccak256(workload) == order.workload;
            o.may = c.by == order.renter && fits && (!callback || order.kind == Kind.Job);
            if (!o.may) return o;
            (_placed[c.word], _wantsCallback[c.word]) = (true, callback);
        }
    }

    function _guardianRule(Call memory c) internal returns (Outcome memory o) {
        o = _outcome(14, 13);
        o.may = c.by == _guardian;
        if (!o.may) return o;
        _paused = c.act == Act.PauseOpen && c.value != 0;
        if (c.act == Act.RenounceGuardian) _guardian = address(0);
    }

    /// `take`, `give`, `disputeJob`, `ruleJob`: from anybody who is no branch.
    function _trunkRule() internal pure returns (Outcome memory o) {
        o = _outcome(13, 13);
    }
}
