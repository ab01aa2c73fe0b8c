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
    /// Least pledge, as a share of the escrow.
    uint32 minPledgeBps;
    /// Longest time the provider may take to start (lease), or may keep the right to reject (job).
    uint32 maxStartWithin;
    /// Least warning before the provider ends a lease without penalty. Means nothing for a job.
    uint32 minNotice;
    /// Most seconds that a lease may cost at least. Means nothing for a job.
    uint32 maxMinCharge;
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
}

/// @notice What `Lens.lease` reports, as of the current block.
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
    /// Who gets the fee; zero once none is held.
    address solver;
}

/// @notice What `Lens.job` reports.
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
    /// Who gets the fee; zero once none is held.
    address solver;
    /// The renter is called back at the end.
    bool callback;
}

/// @notice How a dispute ended: the submitted result has the majority, something else has it, or nothing has.
enum Verdict {
    Upheld,
    Overturned,
    Inconclusive
}

/// @notice What the court has to know of a job to hear it.
struct Disputed {
    address provider;
    uint64 mediatorSet;
    uint32 duration;
    bytes32 resultHash;
}

/// @notice Where a dispute is, as of the current block.
enum DisputeStage {
    None,
    /// Waits for `draw`.
    Armed,
    Commit,
    Reveal,
    /// Waits for `resolve`.
    Over,
    Resolved
}

/// @notice How far a member of a panel got.
enum SeatStage {
    Drawn,
    Committed,
    Revealed
}

/// @notice What `Court.mediatorOf` reports.
struct MediatorView {
    /// ed25519 link key; zero: not registered.
    bytes32 peerKey;
    uint128 bond;
    /// What its seats on panels may cost it.
    uint128 atStake;
    /// Zero: not retired.
    uint64 retiredAt;
}

/// @notice What `Court.mediatorSet` reports.
struct MediatorSetView {
    address[] members;
    /// Who of them serves: bit i is member i.
    uint64 joined;
    uint8 panelSize;
    /// What a vote earns and a missing vote costs.
    uint96 fee;
}

struct SeatView {
    address mediator;
    SeatStage stage;
    /// Zero before `commitVote`.
    bytes32 commitment;
    /// What was revealed; zero also means: the provider withheld its archive.
    bytes32 vote;
}

/// @notice What `Court.disputeOf` reports.
struct DisputeView {
    DisputeStage stage;
    address renter;
    address provider;
    uint64 mediatorSet;
    /// What the provider submitted.
    bytes32 resultHash;
    /// The job's longest run: part of the time to commit.
    uint32 duration;
    /// Members that could be drawn.
    uint8 electorate;
    /// First block in which `draw` draws.
    uint64 drawFrom;
    /// Last block in which `draw` draws; later it arms again.
    uint64 drawUntil;
    /// Last second to commit; zero before the draw.
    uint64 commitBy;
    /// Last second to reveal; earlier once all have committed. Zero before the draw.
    uint64 revealBy;
    SeatView[] panel;
}

/// @notice What `Gateways.gatewayOf` reports.
struct GatewayView {
    address gateway;
    /// ed25519 link key; zero: not registered.
    bytes32 peerKey;
    /// Never trusted by the contract.
    string url;
    string region;
    uint128 bond;
    uint64 lastBeat;
    /// Zero: not retired.
    uint64 retiredAt;
    /// Not retired, and its last beat is fresh.
    bool online;
}
