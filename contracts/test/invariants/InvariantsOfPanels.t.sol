// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Campaign} from "./Campaign.sol";

/// @notice Sequences in which most jobs are disputed.
contract InvariantsOfPanelsTest is Campaign {
    function setUp() external {
        _world(false);
        _often(handler.open.selector, 4);
        _often(handler.job.selector, 3);
        _often(handler.court_.selector, 6);
        _often(handler.bonds.selector, 5);
        _often(handler.account.selector, 1);
        _often(handler.wait.selector, 1);
    }

    /// I10: what was done between the dispute and the draw changes nothing: the same electorate and the same hash draw the
    /// same panel, of members in good standing who are no party, none twice.
    function invariant_I10_nobody_steers_the_panel() external view {
        _holds(10);
    }
}
