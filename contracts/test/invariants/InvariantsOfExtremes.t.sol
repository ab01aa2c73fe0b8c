// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Campaign} from "./Campaign.sol";

/// @notice Sums and times of zero, one and all that fits, and a token of six decimals that refuses accounts at times.
contract InvariantsOfExtremesTest is Campaign {
    function setUp() external {
        _world(true);
        _everything();
    }

    /// I6: nothing overflows, nothing is refused without a reason, whom the token refuses gets out by another account, and
    /// the sums still add up.
    function invariant_I6_extremes() external view {
        for (uint256 i = 1; i <= 14; ++i) {
            string memory breach = handler.breaches(i);
            require(bytes(breach).length == 0, string.concat("I6: at an extreme, ", breach));
        }
        eq(handler.coin().balanceOf(address(handler.sublet())), handler.held(), "I6: held");
    }
}
