// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

// The words both sides sign, and the shapes the contract reports. Amounts are token units, times are seconds.

/// @notice What an agreement is about.
enum Kind {
    Lease,
    Job
}

/// @notice How a job's result can be checked: not at all, or byte for byte by a re-run.
enum Class {
    None,
    Exact
}

/// @notice What a machine has (in an offer) or must at least have (in an order).
struct Resources {
    uint32 vcpus;
    uint32 memoryMiB;
    uint32 diskGiB;
    uint32 gpus;
    /// Hash of required properties (region, gpu model, …). Zero in an order: nothing asked.
    bytes32 traits;
}

/// @notice A provider's signed, reusable promise.
struct Offer {
    address provider;
    Kind kind;
    Resources resources;
    /// Token units a second; at least 1, below 2^96.
    uint128 price;
    /// Pledge as a share of the escrow, 10 000 = 1:1; below 2^24.
    uint32 pledgeBps;
    /// Agreements of this offer that may be open at once.
    uint32 capacity;
    uint32 minDuration;
    uint32 maxDuration;
    /// Seconds from opening within which the provider starts (lease) or may still reject (job).
    uint32 startWithin;
    /// Seconds of warning before the provider ends a lease without penalty.
    uint32 notice;
    /// Seconds a lease costs at least, once it is opened.
    uint32 minCharge;
    /// Mediators of class-exact jobs.
    uint64 mediatorSet;
    /// Longest challenge window the provider accepts.
    uint32 maxChallengeWindow;
    /// Last second at which the offer may be opened.
    uint64 validUntil;
    /// Must equal the provider's epoch; `bumpEpoch` ends all older offers.
    uint64 epoch;
}

/// @notice A renter's signed wish; fills at most once.
struct Order {
    address renter;
    Kind kind;
    Resources resources;
    uint128 maxPrice;
    /// Seconds of rent to escrow, or the longest run of a job.
    uint32 duration;
    /// keccak256 of the machine request's or the job's canonical JSON.
    bytes32 workload;
    /// The renter's ed25519 link key.
    bytes32 peerKey;
    Class class;
    uint64 mediatorSet;
    /// Seconds after a submitted result in which the renter may object.
    uint32 challengeWindow;
    /// The only provider allowed; zero: any.
    address provider;
    /// The only account besides the renter that may open; zero: anyone.
    address solver;
    /// Reward of whoever opens, paid at a lease's start or a job's success; below 2^96.
    uint128 solverFee;
    uint64 validUntil;
    /// Any unused number; cancelled or filled once.
    uint256 nonce;
}

/// @notice A renter's signed approval of one result at one cost.
struct Acceptance {
    uint64 job;
    bytes32 resultHash;
    uint128 cost;
}

/// @notice One pair for `openMany`.
struct Pair {
    Offer offer;
    bytes offerSignature;
    Order order;
    bytes orderSignature;
}

/// @notice One signed acceptance for `settleJobs`.
struct Settlement {
    uint64 id;
    bytes32 resultHash;
    uint128 cost;
    bytes acceptance;
}

enum LeaseState {
    None,
    Open,
    Active,
    Ended
}

enum LeaseEnd {
    None,
    Rejected,
    Cancelled,
    Expired,
    ClosedByRenter,
    ClosedByProvider,
    RanOut,
    Faulted
}

enum JobState {
    None,
    Open,
    Submitted,
    Disputed,
    Ended
}

enum JobEnd {
    None,
    Rejected,
    Expired,
    /// By the renter's signature.
    Settled,
    /// By the renter's own call.
    Accepted,
    /// By the renter's silence.
    Finalized,
    Refused,
    Upheld,
    Overturned,
    Inconclusive
}

/// @notice What `providerOf` reports.
struct ProviderView {
    /// ed25519 link key; zero: not registered.
    bytes32 peerKey;
    /// Takes new agreements.
    bool online;
    uint64 registeredAt;
    uint64 lastBeat;
    /// U(now): credited seconds of uptime, counted by beats.
    uint64 uptime;
    uint64 epoch;
    /// JSON object, at most `MAX_INFO` bytes; never trusted by the contract.
    string info;
}

/// @notice What `lease` reports, as of the current block.
struct LeaseView {
    LeaseState state;
    LeaseEnd reason;
    address renter;
    address provider;
    uint128 price;
    uint32 pledgeBps;
    /// Seconds bought in total, top-ups included.
    uint32 duration;
    uint32 maxDuration;
    uint32 notice;
    uint32 minCharge;
    uint64 openedAt;
    /// Last second at which the provider may start.
    uint64 startBy;
    /// Zero: never started.
    uint64 startedAt;
    /// Zero: no notice given.
    uint64 noticeAt;
    /// Seconds already paid to the provider.
    uint32 paidSeconds;
    /// Seconds that a `settleLease` now would pay.
    uint32 owedSeconds;
    /// Rent still held.
    uint128 escrow;
    /// Pledge still held.
    uint128 pledge;
    /// Solver fee still held.
    uint128 solverFee;
    address solver;
}

/// @notice What `job` reports.
struct JobView {
    JobState state;
    JobEnd reason;
    Class class;
    address renter;
    address provider;
    uint128 price;
    uint32 pledgeBps;
    uint32 duration;
    uint32 challengeWindow;
    uint64 mediatorSet;
    uint64 openedAt;
    /// Last second at which the provider may reject.
    uint64 startBy;
    /// Last second at which the provider may submit.
    uint64 runBy;
    /// Zero: nothing submitted.
    uint64 submittedAt;
    uint32 usedSeconds;
    bytes32 resultHash;
    /// Payment still held.
    uint128 escrow;
    /// Pledge still held.
    uint128 pledge;
    /// Solver fee still held.
    uint128 solverFee;
    address solver;
}
