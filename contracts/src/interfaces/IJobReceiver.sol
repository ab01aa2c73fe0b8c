// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobEnd} from "../Types.sol";

/// @title A contract that is told when its job ends
interface IJobReceiver {
    /// @notice Called by `Sublet` last of all, with `CALLBACK_GAS`, when a job placed with `callback` ended. Must check
    /// its caller. Reverting changes nothing, and it is not called again. `resultHash` is zero when there was no
    /// result; whether one stands is for `reason` to say (Settled, Accepted, Finalized, Upheld).
    function onJobEnded(uint64 id, JobEnd reason, bytes32 resultHash) external;
}
