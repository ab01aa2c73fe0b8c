// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Campaign} from "./Campaign.sol";

/// @notice Two calls in one block, in either order.
contract InvariantsOfPairsTest is Campaign {
    function setUp() external {
        _world(false);
        _everything();
        _often(handler.pair.selector, 12);
    }

    /// I4: each order obeys every rule and keeps the sums, an agreement ends at most once, and where both calls go through
    /// in both orders, both orders leave the same behind.
    function invariant_I4_any_two_calls_in_one_block() external view {
        _holds(4);
    }
}
