// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, Kind} from "../../src/Types.sol";
import {World} from "./World.sol";

/// @notice What the rules say there must be: a second book, kept from the acts alone and never read from the contracts.
/// Constants are written out again on purpose, so that a changed one is noticed.
abstract contract Ghost is World {
    enum Act {
        None,
        // Accounts
        Deposit,
        DepositFor,
        DepositWithPermit,
        Withdraw,
        WithdrawTo,
        // Providers and documents
        RegisterProvider,
        SetOnline,
        Beat,
        BumpEpoch,
        CancelOffer,
        CancelOrder,
        PauseOpen,
        RenounceGuardian,
        PlaceOrder,
        Open,
        OpenMany,
        // Leases
        StartLease,
        RejectLease,
        CancelLease,
        ExpireLease,
        SettleLease,
        TopUpLease,
        GiveNotice,
        CloseLease,
        FaultLease,
        // Jobs
        RejectJob,
        SubmitJob,
        SettleJob,
        SettleJobs,
        AcceptJob,
        FinalizeJob,
        ExpireJob,
        RefuseJob,
        // Court
        Dispute,
        Draw,
        CommitVote,
        RevealVote,
        Resolve,
        RegisterMediator,
        RetireMediator,
        WithdrawMediatorBond,
        CreateMediatorSet,
        JoinSet,
        LeaveSet,
        // Gateways
        RegisterGateway,
        GatewayBeat,
        RetireGateway,
        WithdrawGatewayBond,
        // What only a branch or the court may do
        Trunk
    }

    /// One call of one account. `more` is what the rules need besides, and depends on the act.
    struct Call {
        Act act;
        address by;
        address to;
        uint64 id;
        uint256 value;
        bytes32 word;
        bytes data;
        bytes more;
    }

    /// What the rules say will come of a call: whether it goes through, who has more or less afterwards, and which
    /// invariant would be broken if the contract thought otherwise.
    struct Outcome {
        bool may;
        uint8 guards;
        uint8 moves;
        int256[] due;
    }

    enum Stage {
        None,
        Open,
        Active,
        Submitted,
        Disputed,
        Ended
    }

    struct Agreement {
        Kind kind;
        Class class;
        Stage stage;
        bool feeHeld;
        bool callback;
        uint8 reason;
        address renter;
        address provider;
        address solver;
        bytes32 offer;
        uint256 price;
        uint256 maxPrice;
        uint256 fee;
        uint256 pledgeBps;
        uint256 duration;
        uint256 openedAt;
        uint256 startWithin;
        /// What the renter signed as the most of that.
        uint256 maxStartWithin;
        // Leases
        uint256 maxDuration;
        uint256 notice;
        uint256 minCharge;
        uint256 startedAt;
        uint256 noticeAt;
        /// U up to which rent was counted, and the seconds it came to.
        uint256 countedTo;
        uint256 paidSeconds;
        // Jobs
        uint256 window;
        uint64 set;
        uint256 submittedAt;
        uint256 used;
        bytes32 result;
        // Sums so far
        uint256 paid;
        uint256 slashed;
    }

    struct Provider {
        uint256 uptime;
        uint256 lastBeat;
        bool online;
        uint256 epoch;
    }

    struct Bonded {
        uint256 bond;
        uint256 atStake;
        uint256 retiredAt;
    }

    struct Set {
        address[] members;
        uint256 panelSize;
        uint256 fee;
        /// Who agreed to serve, and did not take it back.
        mapping(address member => bool) joined;
    }

    enum Case {
        None,
        Armed,
        Drawn,
        Resolved
    }

    struct Dispute {
        Case stage;
        uint256 armedAt;
        /// Members that may be drawn, and the panel that the agreed hash draws from them.
        address[] electorate;
        address[] foreseen;
        address[] panel;
        uint256 commitBy;
        uint256 revealBy;
        uint256 committed;
        uint256 revealed;
    }

    struct Vote {
        bool seated;
        bool committed;
        bool revealed;
        /// What was committed, then what was revealed.
        bytes32 word;
    }

    uint256 internal constant MAX_GAP = 600;
    uint256 internal constant FAULT_AFTER = 3_600;
    uint256 internal constant MAX_EXACT = 604_800;
    uint256 internal constant COMMIT_SLACK = 3_600;
    uint256 internal constant REVEAL_WINDOW = 3_600;
    uint256 internal constant UNBONDING = 604_800;

    uint64 internal _count;
    bool internal _paused;
    address internal _guardian = GUARDIAN;
    uint256 public deposited;
    uint256 public withdrawn;
    mapping(uint64 id => Agreement) internal _agreements;
    mapping(address provider => Provider) internal _providers;
    mapping(bytes32 offer => uint256) internal _open;
    mapping(address provider => mapping(bytes32 offer => bool)) internal _cancelled;
    mapping(address renter => mapping(uint256 nonce => bool)) internal _used;
    mapping(bytes32 order => bool) internal _placed;
    mapping(bytes32 order => bool) internal _wantsCallback;
    mapping(address mediator => Bonded) internal _mediators;
    mapping(address gateway => Bonded) internal _gateways;
    uint64 internal _setCount;
    mapping(uint64 set => Set) internal _sets;
    mapping(uint64 id => Dispute) internal _disputes;
    mapping(uint64 id => mapping(address mediator => Vote)) internal _votes;

    function agreement(uint64 id) external view returns (Agreement memory) {
        return _agreements[id];
    }

    function count() external view returns (uint64) {
        return _count;
    }

    function _outcome(uint8 guards, uint8 moves) internal pure returns (Outcome memory o) {
        (o.guards, o.moves, o.due) = (guards, moves, new int256[](ACCOUNTS));
    }

    function _give(Outcome memory o, address to, uint256 amount) internal view {
        if (amount != 0) o.due[_place(to)] += int256(amount);
    }

    function _take(Outcome memory o, address from, uint256 amount) internal view {
        if (amount != 0) o.due[_place(from)] -= int256(amount);
    }

    /// What `account` has after what the call did so far.
    function _free(Outcome memory o, address account) internal view returns (uint256) {
        return uint256(int256(sublet.freeOf(account)) + o.due[_place(account)]);
    }

    function _pledge(Agreement storage g) internal view returns (uint256) {
        return g.price * g.duration * g.pledgeBps / 10_000;
    }

    /// U(now).
    function _uptime(address provider) internal view returns (uint256) {
        Provider storage p = _providers[provider];
        return p.uptime + min(clock() - p.lastBeat, MAX_GAP);
    }

    function _beats(address provider) internal {
        Provider storage p = _providers[provider];
        (p.uptime, p.lastBeat) = (_uptime(provider), clock());
    }

    /// Ends an agreement: `paid` to the provider, `refunded` to the renter, of the pledge `slashed` to the renter less a
    /// hundredth for a third party that called, and the solver's fee to whom it is due.
    function _finish(
        Outcome memory o,
        Agreement storage g,
        uint8 reason,
        address by,
        uint256 paid,
        uint256 refunded,
        uint256 slashed,
        bool earned
    ) internal {
        uint256 pledge = _pledge(g);
        slashed = min(slashed, pledge);
        uint256 reward = by == g.renter || by == g.provider || by == address(court) ? 0 : slashed / 100;
        _give(o, g.provider, paid + pledge - slashed);
        _give(o, g.renter, refunded + slashed - reward);
        if (reward != 0) _give(o, by, reward);
        if (g.feeHeld) _give(o, earned ? g.solver : g.renter, g.fee);
        (g.feeHeld, g.stage, g.reason) = (false, Stage.Ended, reason);
        g.paid += paid;
        g.slashed = slashed;
        --_open[g.offer];
        if (slashed != 0) o.moves = 8;
    }
}
