// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {JobEnd, Kind, Order} from "../Types.sol";
import {IJobReceiver} from "../interfaces/IJobReceiver.sol";
import {IOrders} from "../interfaces/IOrders.sol";
import {ISublet} from "../interfaces/ISublet.sol";
import {Tar} from "./Tar.sol";

/// @title A contract that orders jobs and hears back
/// @notice Three steps: its owner asks; `Sublet` calls back with the hash of the result; anybody who has the result
/// hands it in, and what the job printed is in the log. Whoever hands it in is not trusted: an archive with another hash is refused. The
/// provider is, because nobody looks at the result and refuses or disputes it before its window is over.
contract OnChainCowsay is IJobReceiver {
    using SafeERC20 for IERC20;

    struct Answer {
        JobEnd reason;
        bytes32 resultHash;
    }

    /// @notice The pledge covers the price: a provider that never submits pays for it.
    uint32 public constant MIN_PLEDGE_BPS = 10_000;
    /// @notice For how long a provider may keep the money without working.
    uint32 public constant MAX_START_WITHIN = 1 hours;

    ISublet public immutable sublet;
    address public immutable owner;
    /// @notice Orders placed so far; the next one's nonce.
    uint256 public asked;
    /// @notice How each job ended; reason None: not yet, or not ours.
    mapping(uint64 job => Answer) public answers;

    event Asked(bytes32 indexed orderHash, uint256 nonce);
    event Answered(uint64 indexed job, JobEnd reason, bytes32 resultHash);
    /// @notice What the job printed.
    event Said(uint64 indexed job, string text);

    error OwnerOnly(address caller);
    error SubletOnly(address caller);
    error NotAJob();
    error NoResult(uint64 job, JobEnd reason);
    error OtherArchive(uint64 job, bytes32 given, bytes32 resultHash);

    modifier onlyOwner() {
        if (msg.sender != owner) revert OwnerOnly(msg.sender);
        _;
    }

    constructor(ISublet sublet_) {
        (sublet, owner) = (sublet_, msg.sender);
    }

    /// @notice Pulls `amount` (approved before) from the caller and deposits it. `Sublet.depositFor` does as well.
    function fund(uint128 amount) external {
        IERC20 token = IERC20(sublet.token());
        token.safeTransferFrom(msg.sender, address(this), amount);
        token.forceApprove(address(sublet), amount);
        sublet.deposit(amount);
    }

    /// @notice Orders a job. Renter, nonce, workload hash, pledge and time to start of `order` are filled in here; its peer
    /// key is that of whoever will fetch the result. `workload` is the job's canonical JSON.
    function ask(Order memory order, bytes calldata workload) external onlyOwner returns (bytes32 orderHash) {
        if (order.kind != Kind.Job) revert NotAJob();
        (order.renter, order.nonce, order.workload) = (address(this), asked++, keccak256(workload));
        (order.minPledgeBps, order.maxStartWithin) = (MIN_PLEDGE_BPS, MAX_START_WITHIN);
        orderHash = IOrders(sublet.orders()).placeOrder(order, workload, true);
        emit Asked(orderHash, order.nonce);
    }

    /// @notice Takes back an order that is not filled yet.
    function cancel(uint256 nonce) external onlyOwner {
        sublet.cancelOrder(nonce);
    }

    /// @inheritdoc IJobReceiver
    function onJobEnded(uint64 id, JobEnd reason, bytes32 resultHash) external {
        if (msg.sender != address(sublet)) revert SubletOnly(msg.sender);
        answers[id] = Answer(reason, resultHash);
        emit Answered(id, reason, resultHash);
    }

    /// @notice Anyone hands in the archive of a result that stands; its `stdout` goes to the log.
    function deliver(uint64 id, bytes calldata archive) external {
        Answer memory a = answers[id];
        bool stands = a.reason == JobEnd.Settled || a.reason == JobEnd.Accepted || a.reason == JobEnd.Finalized
            || a.reason == JobEnd.Upheld;
        if (!stands) revert NoResult(id, a.reason);
        bytes32 given = keccak256(archive);
        if (given != a.resultHash) revert OtherArchive(id, given, a.resultHash);
        emit Said(id, string(Tar.entry(archive, "stdout")));
    }

    /// @notice Sends what is free to the owner.
    function withdraw(uint128 amount) external onlyOwner {
        sublet.withdrawTo(owner, amount);
    }
}
