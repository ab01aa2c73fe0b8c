// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Ghost} from "./Ghost.sol";

/// @notice Mediators' and gateways' bonds, and sets of mediators.
abstract contract BondRules is Ghost {
    function _bondRule(Call memory c) internal returns (Outcome memory o) {
        o = _outcome(9, 2);
        if (c.act == Act.RegisterMediator) _post(o, c, _mediators[c.by], address(court));
        else if (c.act == Act.RetireMediator) _retire(o, _mediators[c.by]);
        else if (c.act == Act.WithdrawMediatorBond) _leave(o, c.by, _mediators[c.by], address(court));
        else if (c.act == Act.RegisterGateway) _post(o, c, _gateways[c.by], address(gateways));
        else if (c.act == Act.RetireGateway) _retire(o, _gateways[c.by]);
        else if (c.act == Act.WithdrawGatewayBond) _leave(o, c.by, _gateways[c.by], address(gateways));
        else if (c.act == Act.GatewayBeat) o.may = _active(_gateways[c.by]);
        else if (c.act == Act.CreateMediatorSet) _create(o, c);
        else if (c.act == Act.JoinSet) _serve(o, c, true);
        else if (c.act == Act.LeaveSet) _serve(o, c, false);
    }

    function _active(Bonded storage b) private view returns (bool) {
        return b.bond != 0 && b.retiredAt == 0;
    }

    /// `word` is the key; a bond may grow by nothing, but not be nothing.
    function _post(Outcome memory o, Call memory c, Bonded storage b, address branch) private {
        uint256 total = b.bond + c.value;
        o.may = c.word != 0 && total != 0 && total <= type(uint96).max && sublet.freeOf(c.by) >= c.value;
        if (!o.may) return;
        (b.bond, b.retiredAt) = (total, 0);
        _take(o, c.by, c.value);
        _give(o, branch, c.value);
    }

    function _retire(Outcome memory o, Bonded storage b) private {
        o.may = _active(b);
        if (o.may) b.retiredAt = clock();
    }

    function _leave(Outcome memory o, address by, Bonded storage b, address branch) private {
        o.may = b.bond != 0 && b.retiredAt != 0 && clock() >= b.retiredAt + UNBONDING && b.atStake == 0;
        if (!o.may) return;
        _take(o, branch, b.bond);
        _give(o, by, b.bond);
        (b.bond, b.retiredAt) = (0, 0);
    }

    /// Odd panel, no larger than its members, who are ascending and few; a fee that is not zero.
    function _create(Outcome memory o, Call memory c) private {
        address[] memory members = abi.decode(c.more, (address[]));
        (uint256 size, uint256 fee) = (uint256(c.word), c.value);
        o.may = size % 2 == 1 && size <= members.length && size <= 15 && members.length <= 64 && fee != 0;
        for (uint256 i; i < members.length; ++i) {
            if (members[i] <= (i == 0 ? address(0) : members[i - 1])) o.may = false;
        }
        if (!o.may) return;
        Set storage set = _sets[++_setCount];
        (set.members, set.panelSize, set.fee) = (members, size, fee);
    }

    /// Only for a member, of the set in `value`; whatever its bond, and as often as it likes.
    function _serve(Outcome memory o, Call memory c, bool joined) private {
        Set storage set = _sets[uint64(c.value)];
        for (uint256 i; i < set.members.length; ++i) {
            if (set.members[i] == c.by) o.may = true;
        }
        if (o.may) set.joined[c.by] = joined;
    }
}
