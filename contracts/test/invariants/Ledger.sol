// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Sublet} from "../../src/Sublet.sol";
import {ISublet} from "../../src/interfaces/ISublet.sol";
import {ITrunk} from "../../src/interfaces/ITrunk.sol";
import {Vm} from "../base/Vm.sol";

/// @notice An indexer: rebuilds every balance and every agreement's account from the market's logs, and nothing else.
contract Ledger {
    struct Account {
        address renter;
        address provider;
        uint256 locked;
        uint256 paid;
        uint256 refunded;
        uint256 slashed;
        uint256 pledgeBack;
        uint256 toSolver;
        uint256 ends;
    }

    Sublet private immutable _sublet;
    uint256 public deposited;
    uint256 public withdrawn;
    mapping(address account => uint256) public free;
    mapping(uint64 id => Account) private _accounts;

    constructor(Sublet sublet) {
        _sublet = sublet;
    }

    function account(uint64 id) external view returns (Account memory) {
        return _accounts[id];
    }

    /// Wraps below zero, as `free` does: a comparison then says what differs, where a panic would not.
    function heldBy(uint64 id) external view returns (uint256) {
        Account storage a = _accounts[id];
        unchecked {
            return a.locked - a.paid - a.refunded - a.slashed - a.pledgeBack - a.toSolver;
        }
    }

    function read(Vm.Log[] memory logs) external {
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].emitter == address(_sublet)) _read(logs[i].topics, logs[i].data);
        }
    }

    function _read(bytes32[] memory topics, bytes memory data) private {
        bytes32 kind = topics[0];
        if (kind == ISublet.Deposited.selector) {
            uint128 amount = abi.decode(data, (uint128));
            _move(_address(topics[1]), amount, 0);
            deposited += amount;
        } else if (kind == ISublet.Withdrawn.selector) {
            uint128 amount = abi.decode(data, (uint128));
            _move(_address(topics[1]), 0, amount);
            withdrawn += amount;
        } else if (kind == ITrunk.Taken.selector || kind == ITrunk.Given.selector) {
            uint128 amount = abi.decode(data, (uint128));
            (address branch, address account_) = (_address(topics[1]), _address(topics[2]));
            bool taken = kind == ITrunk.Taken.selector;
            _move(taken ? account_ : branch, 0, amount);
            _move(taken ? branch : account_, amount, 0);
        } else if (kind == ISublet.LeaseOpened.selector) {
            _opened(topics, data, 6);
        } else if (kind == ISublet.JobOpened.selector) {
            _opened(topics, data, 7);
        } else if (kind == ISublet.SolverPaid.selector) {
            uint128 amount = abi.decode(data, (uint128));
            _move(_address(topics[2]), amount, 0);
            _accounts[_id(topics)].toSolver += amount;
        } else if (kind == ISublet.LeaseSettled.selector) {
            Account storage a = _accounts[_id(topics)];
            (, uint128 paid) = abi.decode(data, (uint32, uint128));
            a.paid += paid;
            _move(a.provider, paid, 0);
        } else if (kind == ISublet.LeaseToppedUp.selector) {
            Account storage a = _accounts[_id(topics)];
            (, uint128 escrow, uint128 pledge) = abi.decode(data, (uint32, uint128, uint128));
            a.locked += escrow + pledge;
            _move(_address(topics[2]), 0, escrow);
            _move(a.provider, 0, pledge);
        } else if (kind == ISublet.LeaseEnded.selector) {
            _ended(topics, data, 1);
        } else if (kind == ISublet.JobEnded.selector) {
            _ended(topics, data, 2);
        }
    }

    /// `escrow` says at which word of the data it is; pledge and fee follow.
    function _opened(bytes32[] memory topics, bytes memory data, uint256 escrow) private {
        Account storage a = _accounts[_id(topics)];
        (a.renter, a.provider) = (_address(topics[2]), _address(topics[3]));
        uint256 fromRenter = _word(data, escrow) + _word(data, escrow + 2);
        uint256 pledge = _word(data, escrow + 1);
        a.locked = fromRenter + pledge;
        _move(a.renter, 0, fromRenter);
        _move(a.provider, 0, pledge);
    }

    /// `first` is the word at which paid, refunded, pledgeBack, slashed, caller and reward begin.
    function _ended(bytes32[] memory topics, bytes memory data, uint256 first) private {
        Account storage a = _accounts[_id(topics)];
        (uint256 paid, uint256 refunded) = (_word(data, first), _word(data, first + 1));
        (uint256 pledgeBack, uint256 slashed) = (_word(data, first + 2), _word(data, first + 3));
        uint256 reward = _word(data, first + 5);
        a.paid += paid;
        a.refunded += refunded;
        a.pledgeBack += pledgeBack;
        a.slashed += slashed;
        ++a.ends;
        _move(a.provider, paid + pledgeBack, 0);
        _move(a.renter, refunded + slashed, reward);
        _move(_address(bytes32(_word(data, first + 4))), reward, 0);
    }

    function _move(address account_, uint256 in_, uint256 out) private {
        unchecked {
            free[account_] = free[account_] + in_ - out;
        }
    }

    function _id(bytes32[] memory topics) private pure returns (uint64) {
        return uint64(uint256(topics[1]));
    }

    function _address(bytes32 topic) private pure returns (address) {
        return address(uint160(uint256(topic)));
    }

    function _word(bytes memory data, uint256 index) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 0x20), mul(index, 0x20)))
        }
    }
}
