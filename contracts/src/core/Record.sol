// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Terms} from "./Terms.sol";

// What is stored of an agreement. Money held is derived from it, so that it cannot drift: no sum is stored twice.

/// @notice An offer's digest, shortened to fit beside an address. A second offer with the same 96 bits takes 2^96
/// tries; two such offers made by one party (2^48 tries) only share that party's own capacity.
type OfferKey is bytes12;

/// @notice Of both kinds; one slot a line.
// forgefmt: disable-next-item
struct Head {
    address renter; uint96 price;
    address provider; OfferKey offer;
    Terms terms;
}

/// @notice The solver's, while it is held.
struct Fee {
    address solver;
    uint96 amount;
}

/// @notice How far a lease got; one slot, first written at its start.
struct Progress {
    uint40 startedAt;
    /// U at the last settlement.
    uint40 settledUptime;
    uint40 noticeAt;
    uint32 paidSeconds;
}

/// @notice What the provider submitted for a job.
struct Result {
    bytes32 hash;
    uint40 submittedAt;
    uint32 usedSeconds;
}

/// @notice All of the above.
struct Record {
    Head head;
    Fee fee;
    Progress progress;
    Result result;
}
