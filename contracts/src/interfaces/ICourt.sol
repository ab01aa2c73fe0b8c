// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {DisputeStage, DisputeView, MediatorSetView, MediatorView, SeatStage, Verdict} from "../Types.sol";
import {IBonds} from "./IBonds.sol";

/// @title Court: bonded mediators re-run disputed jobs of class exact and vote on the result
/// @notice Armed -> Commit -> Reveal -> Over -> Resolved. Who may be drawn is fixed when the dispute is raised (block
/// B); who is drawn follows from the hash of block B + 2, which nobody knows then. A vote is the hash of the archive
/// that the re-run gave, or zero: the provider did not hand its archive over when asked. A majority is more than half
/// of the set's `panelSize`, however many could be drawn.
interface ICourt is IBonds {
    // Mediators

    /// @notice `mediator` is reached under this ed25519 link key from now on.
    event MediatorRegistered(address indexed mediator, bytes32 peerKey);
    /// @notice `members` may be drawn once they joined; a panel has `panelSize` seats, and each vote earns `fee`.
    event MediatorSetCreated(uint64 indexed mediatorSet, address[] members, uint8 panelSize, uint96 fee);
    /// @notice `mediator` may be drawn for disputes of this set from now on, while it is registered and its bond suffices.
    event MediatorJoined(uint64 indexed mediatorSet, address indexed mediator);
    /// @notice `mediator` is drawn for no later dispute of this set.
    event MediatorLeft(uint64 indexed mediatorSet, address indexed mediator);
    /// @notice `mediator` did not reveal; its bond is less by both amounts, which went to the parties of job `id`.
    event MediatorSlashed(uint64 indexed id, address indexed mediator, uint128 toRenter, uint128 toProvider);

    error MediatorZeroPeerKey();
    error SetTooLarge(uint256 members, uint256 max);
    /// @notice Members are strictly ascending and not zero, so that nobody is listed twice; `index` is the first that
    /// is not.
    error SetNotAscending(uint256 index);
    /// @notice A panel is odd, at most `MAX_PANEL`, and at most as many as there are members.
    error SetBadPanelSize(uint8 panelSize, uint256 members);
    error SetZeroFee();
    /// @notice Only a member joins or leaves; of a set that does not exist nobody is one.
    error SetOtherMembers(uint64 mediatorSet, address caller);

    /// @notice Registers the caller, or replaces its key and adds `bond` (which may then be zero); ends a retirement.
    function registerMediator(bytes32 peerKey, uint128 bond) external;
    /// @notice The caller is in no later electorate. It stays on its panels, and in electorates already fixed.
    function retireMediator() external;
    /// @notice Anybody may name a set; it never changes. `fee` is what each vote of a panel is paid, and what each
    /// missing vote costs. A member can be drawn once it joined, while it is registered with at least `fee` of its bond
    /// not at stake.
    function createMediatorSet(address[] calldata members, uint8 panelSize, uint96 fee)
        external
        returns (uint64 mediatorSet);
    /// @notice A member agrees to serve; again changes nothing. Nobody serves because others list it: a pair of strangers could
    /// otherwise name honest mediators in a set of their own, dispute jobs that cannot be run again, and share the lost fees.
    function joinSet(uint64 set) external;
    /// @notice The caller is in no later electorate of this set. It stays on its panels, and in electorates already fixed.
    function leaveSet(uint64 set) external;
    /// @notice Empty for an account that is no mediator.
    function mediatorOf(address mediator) external view returns (MediatorView memory);
    /// @notice Empty for a set that does not exist.
    function mediatorSet(uint64 set) external view returns (MediatorSetView memory);
    /// @notice Sets ever created; the newest has this id.
    function mediatorSetCount() external view returns (uint64);
    /// @notice fee * panelSize: what a dispute costs at most, and the least pledge of a class-exact job. Zero: no such
    /// set.
    function panelFees(uint64 set) external view returns (uint256);
    /// @notice Most members of a set.
    function MAX_MEMBERS() external view returns (uint256);
    /// @notice Most seats of a panel.
    function MAX_PANEL() external view returns (uint256);

    // Disputes

    /// @notice The renter locked `fees`, which pay the panel whatever its verdict. Overturned, the renter has the whole
    /// pledge for it.
    event DisputeRaised(
        uint64 indexed id,
        address indexed renter,
        address indexed provider,
        uint64 mediatorSet,
        bytes32 resultHash,
        uint128 fees
    );
    /// @notice Who may be drawn is fixed: bit i of `electorate` is member i of the set. The hash of block
    /// `armedAt + 2` decides. Again when nobody drew for 256 blocks.
    event DisputeArmed(uint64 indexed id, uint64 armedAt, uint64 electorate);
    /// @notice `panel` may commit until `commitBy`.
    event PanelDrawn(uint64 indexed id, address[] panel, uint64 commitBy);
    /// @notice `mediator` is bound to what `commitment` hides. See `commitmentOf`.
    event VoteCommitted(uint64 indexed id, address indexed mediator, bytes32 commitment);
    /// @notice The whole panel has committed: it may reveal from now until `revealBy`.
    event CommitsComplete(uint64 indexed id, uint64 revealBy);
    /// @notice `mediator` voted for `resultHash`; zero: the provider withheld its archive.
    event VoteRevealed(uint64 indexed id, address indexed mediator, bytes32 resultHash);
    /// @notice `resultHash` had `votes`, a majority unless inconclusive (then both are zero). Of the renter's fees,
    /// `paid` went to mediators (each of the majority, or without one each that revealed), and `back` to the renter.
    event DisputeResolved(
        uint64 indexed id, Verdict verdict, bytes32 resultHash, uint8 votes, uint128 paid, uint128 back
    );

    /// @notice A chain that remembers no block hashes cannot have this court, nor `Sublet`.
    error CourtWithoutBlockHashes();
    error DisputeWrongStage(uint64 id, DisputeStage stage);
    /// @notice The block that decides is not over yet.
    error DisputeTooEarly(uint64 id, uint256 fromBlock);
    error VoteNotSeated(uint64 id, address caller);
    error VoteWrongStage(uint64 id, address mediator, SeatStage stage);
    error VoteOtherThanCommitted(uint64 id, bytes32 committed, bytes32 revealed);

    /// @notice The renter of a submitted class-exact job, in the challenge window: locks `panelFees` and fixes the
    /// electorate (members that joined and are registered, no party, not retired, with `fee` of their bond free).
    function dispute(uint64 id) external;
    /// @notice Anyone, once block B + 2 is over: draws up to `panelSize` of the electorate. Fewer than a majority:
    /// inconclusive at once. More than 256 blocks late: arms again, with the electorate of now.
    function draw(uint64 id) external;
    /// @notice Panel, once, until `commitBy`. See `commitmentOf`.
    function commitVote(uint64 id, bytes32 commitment) external;
    /// @notice Panel, once, after the commit window or as soon as all have committed, until `revealBy`.
    function revealVote(uint64 id, bytes32 resultHash, bytes32 salt) external;
    /// @notice Anyone, after the reveal window, or once everybody who committed has revealed (and nobody may still
    /// commit). The majority, or without one whoever revealed, is paid `fee` each; the rest of the fees goes back to
    /// the renter. Whoever did not reveal loses `fee` (or what is left of its bond), half to each party, the odd unit
    /// to the renter.
    function resolve(uint64 id) external;
    /// @notice As of the current block.
    function disputeOf(uint64 id) external view returns (DisputeView memory);
    /// @notice keccak256(abi.encode(id, mediator, resultHash, salt)): nobody can repeat somebody else's vote unseen.
    function commitmentOf(uint64 id, address mediator, bytes32 resultHash, bytes32 salt) external pure returns (bytes32);
    /// @notice Seconds to commit, besides the job's duration: to notice, to fetch the archive and to start.
    function COMMIT_SLACK() external view returns (uint40);
    /// @notice Seconds to reveal.
    function REVEAL_WINDOW() external view returns (uint40);
}
