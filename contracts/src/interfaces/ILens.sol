// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobView, LeaseView} from "../Types.sol";

/// @title Lens: agreements as people read them
/// @notice Decodes what `Sublet.recordOf` has, as of the current block. Holds nothing and can do nothing.
interface ILens {
    /// @notice Empty (state None) for a number that is no lease.
    function lease(uint64 id) external view returns (LeaseView memory);
    /// @notice Empty (state None) for a number that is no job.
    function job(uint64 id) external view returns (JobView memory);
}
