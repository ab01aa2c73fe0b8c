// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ISublet} from "../interfaces/ISublet.sol";
import {Progress} from "./Record.sol";
import {Terms} from "./Terms.sol";

/// @notice What an agreement holds, from its terms.
library Sums {
    uint256 internal constant WHOLE_BPS = 10_000;

    /// price * seconds; below 2^128 because a price is below 2^96.
    function rent(uint256 price, uint256 seconds_) internal pure returns (uint256) {
        return price * seconds_;
    }

    /// price * duration * bps / 10 000, rounded down; refused above 2^128.
    function pledge(uint256 price, uint256 duration, uint256 bps) internal pure returns (uint256 sum) {
        sum = price * duration * bps / WHOLE_BPS;
        if (sum > type(uint128).max) revert ISublet.MatchOutOfRange("pledge", sum, type(uint128).max);
    }

    /// Seconds of a running lease not paid yet at uptime `u`: at most what is left of what was bought.
    function owed(Terms t, Progress memory p, uint40 u) internal pure returns (uint32) {
        uint256 elapsed = u > p.settledUptime ? u - p.settledUptime : 0;
        uint32 left = t.duration() - p.paidSeconds;
        return elapsed < left ? uint32(elapsed) : left;
    }
}
