// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Disputed, Verdict} from "../Types.sol";

/// @title What `Sublet` does for its branches, and for nobody else
/// @notice A branch is a contract that `Sublet`'s constructor deployed. It keeps money (bonds, fees) as its own free
/// balance inside `Sublet`, never as tokens, and touches agreements only by the two calls of the court.
interface ITrunk {
    /// @notice `amount` went from the free balance of `account` to that of `branch`, because `account` called the
    /// branch.
    event Taken(address indexed branch, address indexed account, uint128 amount);
    /// @notice `amount` went from the free balance of `branch` to that of `account`.
    event Given(address indexed branch, address indexed account, uint128 amount);

    error BranchOnly(address caller);

    /// @notice Moves `amount` from `account` to the calling branch; a branch only ever names its own caller.
    function take(address account, uint128 amount) external;
    /// @notice Moves `amount` from the calling branch to `account`.
    function give(address account, uint128 amount) external;
    /// @notice Court only: stops the clock of a submitted job whose challenge window runs, because `renter` asked for
    /// it.
    function disputeJob(uint64 id, address renter) external returns (Disputed memory);
    /// @notice Court only: ends a disputed job. Upheld: as `settleJob` at the declared cost. Overturned: escrow, solver
    /// fee and the whole pledge to the renter, which the court charges with the panel's fees. Inconclusive: the
    /// declared cost is split evenly, the pledge goes back.
    function ruleJob(uint64 id, Verdict verdict) external;
}
