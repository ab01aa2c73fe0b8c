// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Bonds} from "../Bonds.sol";
import {MediatorSetView, MediatorView} from "../Types.sol";
import {ICourt} from "../interfaces/ICourt.sol";

/// @notice Who re-runs disputed jobs, and the sets that offers and orders name.
abstract contract Mediators is ICourt, Bonds {
    /// @inheritdoc ICourt
    uint256 public constant MAX_MEMBERS = 64;
    /// @inheritdoc ICourt
    uint256 public constant MAX_PANEL = 15;

    /// Only `joined` changes: bit i is set while member i serves. `members` is ascending.
    struct MediatorSet {
        uint96 fee;
        uint8 panelSize;
        uint64 joined;
        address[] members;
    }

    /// @inheritdoc ICourt
    uint64 public mediatorSetCount;
    mapping(uint64 set => MediatorSet) internal _sets;
    mapping(address mediator => bytes32 peerKey) private _peerKeys;

    /// @inheritdoc ICourt
    function registerMediator(bytes32 peerKey, uint128 bond) external {
        if (peerKey == 0) revert MediatorZeroPeerKey();
        _peerKeys[msg.sender] = peerKey;
        emit MediatorRegistered(msg.sender, peerKey);
        _post(bond);
    }

    /// @inheritdoc ICourt
    function retireMediator() external {
        _retire();
    }

    /// @inheritdoc ICourt
    function createMediatorSet(address[] calldata members, uint8 panelSize, uint96 fee) external returns (uint64 set) {
        if (members.length > MAX_MEMBERS) revert SetTooLarge(members.length, MAX_MEMBERS);
        if (panelSize % 2 == 0 || panelSize > MAX_PANEL || panelSize > members.length) {
            revert SetBadPanelSize(panelSize, members.length);
        }
        if (fee == 0) revert SetZeroFee();
        address last;
        for (uint256 i; i < members.length; ++i) {
            if (members[i] <= last) revert SetNotAscending(i);
            last = members[i];
        }
        set = ++mediatorSetCount;
        _sets[set] = MediatorSet(fee, panelSize, 0, members);
        emit MediatorSetCreated(set, members, panelSize, fee);
    }

    /// @inheritdoc ICourt
    function joinSet(uint64 set) external {
        _sets[set].joined |= _member(set);
        emit MediatorJoined(set, msg.sender);
    }

    /// @inheritdoc ICourt
    function leaveSet(uint64 set) external {
        _sets[set].joined &= ~_member(set);
        emit MediatorLeft(set, msg.sender);
    }

    /// @inheritdoc ICourt
    function mediatorOf(address mediator) external view returns (MediatorView memory) {
        Bond storage b = _bonds[mediator];
        return MediatorView(_peerKeys[mediator], b.amount, b.atStake, b.retiredAt);
    }

    /// @inheritdoc ICourt
    function mediatorSet(uint64 set) external view returns (MediatorSetView memory) {
        MediatorSet storage s = _sets[set];
        return MediatorSetView(s.members, s.joined, s.panelSize, s.fee);
    }

    /// @inheritdoc ICourt
    function panelFees(uint64 set) public view returns (uint256) {
        MediatorSet storage s = _sets[set];
        return uint256(s.fee) * s.panelSize;
    }

    /// The caller's bit in a set.
    function _member(uint64 set) private view returns (uint64) {
        address[] storage members = _sets[set].members;
        uint256 count = members.length;
        for (uint256 i; i < count; ++i) {
            if (members[i] == msg.sender) return uint64(1 << i);
        }
        revert SetOtherMembers(set, msg.sender);
    }

    function _forget(address account) internal override {
        delete _peerKeys[account];
    }
}
