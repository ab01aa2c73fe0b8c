// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ISublet} from "../interfaces/ISublet.sol";

/// @notice One account that may stop new agreements, and nothing else, until it renounces.
abstract contract Guardian is ISublet {
    address private _guardian;
    bool private _paused;
    /// Here because `open` reads the pause and writes this: one storage slot for both.
    uint64 private _agreements;

    constructor(address guardian_) {
        _guardian = guardian_;
    }

    /// @inheritdoc ISublet
    function pauseOpen(bool paused) external {
        if (msg.sender != _guardian) revert GuardianOnly(msg.sender);
        _paused = paused;
        emit OpenPaused(paused);
    }

    /// @inheritdoc ISublet
    function renounceGuardian() external {
        if (msg.sender != _guardian) revert GuardianOnly(msg.sender);
        _guardian = address(0);
        if (_paused) {
            _paused = false;
            emit OpenPaused(false);
        }
        emit GuardianRenounced(msg.sender);
    }

    /// @inheritdoc ISublet
    function guardian() external view returns (address) {
        return _guardian;
    }

    /// @inheritdoc ISublet
    function openPaused() external view returns (bool) {
        return _paused;
    }

    /// @inheritdoc ISublet
    function agreementCount() external view returns (uint64) {
        return _agreements;
    }

    /// The number of a new agreement, from 1; refused while paused.
    function _nextAgreement() internal returns (uint64 id) {
        if (_paused) revert OpenIsPaused();
        id = _agreements + 1;
        _agreements = id;
    }
}
