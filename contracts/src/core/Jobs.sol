// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, JobEnd, JobState, JobView, Offer, Order, Settlement} from "../Types.sol";
import {ISublet} from "../interfaces/ISublet.sol";
import {Agreements, OfferKey} from "./Agreements.sol";
import {Documents} from "./Documents.sol";

/// @notice Runs paid once: Open -> Submitted -> Ended, with short cuts.
abstract contract Jobs is ISublet, Agreements, Documents {
    /// One line, one slot; the last two are written by a submission only.
    // forgefmt: disable-next-item
    struct JobRecord {
        address renter; uint96 price;
        address provider; OfferKey offer;
        uint40 openedAt; uint32 duration; uint32 startWithin; uint32 challengeWindow; uint64 mediatorSet; uint24 pledgeBps; bool hasFee; Class class; JobState state; JobEnd reason;
        bytes32 resultHash;
        uint40 submittedAt; uint32 usedSeconds;
    }

    /// Most gas one row of a batch may take, so that a hostile signer contract cannot eat the others'.
    uint256 private constant ROW_GAS = 500_000;

    mapping(uint64 id => JobRecord) private _jobs;

    /// @inheritdoc ISublet
    function rejectJob(uint64 id) external {
        JobRecord storage j = _jobIn(id, JobState.Open);
        _requireParty(id, j.provider);
        _requireInTime(id, _rejectBy(j));
        _endJob(id, j, JobEnd.Rejected, 0, 0, 0, msg.sender);
    }

    /// @inheritdoc ISublet
    function submitJob(uint64 id, bytes32 resultHash, uint32 usedSeconds) external {
        JobRecord storage j = _jobIn(id, JobState.Open);
        _requireParty(id, j.provider);
        _requireInTime(id, _runBy(j));
        if (resultHash == 0) revert JobZeroResult(id);
        j.state = JobState.Submitted;
        j.resultHash = resultHash;
        j.submittedAt = uint40(block.timestamp);
        j.usedSeconds = usedSeconds;
        emit JobSubmitted(id, resultHash, usedSeconds, _declared(j), uint64(_challengeUntil(j)));
    }

    /// @inheritdoc ISublet
    function settleJob(uint64 id, bytes32 resultHash, uint128 cost, bytes calldata acceptance) external nonReentrant {
        _settleJob(id, resultHash, cost, acceptance, msg.sender);
    }

    /// @inheritdoc ISublet
    function settleJobs(Settlement[] calldata settlements) external nonReentrant returns (bool[] memory settled) {
        settled = new bool[](settlements.length);
        for (uint256 i; i < settlements.length; ++i) {
            try this.settleRow{gas: ROW_GAS}(settlements[i], msg.sender) {
                settled[i] = true;
            } catch (bytes memory reason) {
                emit SettleRefused(i, settlements[i].id, reason);
            }
        }
    }

    /// @notice One row of `settleJobs`; only this contract calls it.
    function settleRow(Settlement calldata s, address caller) external {
        if (msg.sender != address(this)) revert SelfOnly(msg.sender);
        _settleJob(s.id, s.resultHash, s.cost, s.acceptance, caller);
    }

    /// @inheritdoc ISublet
    function acceptJob(uint64 id) external {
        JobRecord storage j = _jobIn(id, JobState.Submitted);
        _requireParty(id, j.renter);
        _endJob(id, j, JobEnd.Accepted, j.resultHash, _declared(j), 0, msg.sender);
    }

    /// @inheritdoc ISublet
    function finalizeJob(uint64 id) external {
        JobRecord storage j = _jobIn(id, JobState.Submitted);
        _requirePast(id, _challengeUntil(j));
        _endJob(id, j, JobEnd.Finalized, j.resultHash, _declared(j), 0, msg.sender);
    }

    /// @inheritdoc ISublet
    function expireJob(uint64 id) external {
        JobRecord storage j = _jobIn(id, JobState.Open);
        _requirePast(id, _runBy(j));
        uint256 penalty = uint256(_pledge(j.price, j.duration, j.pledgeBps)) * EXPIRY_PENALTY_BPS / WHOLE_BPS;
        _endJob(id, j, JobEnd.Expired, 0, 0, uint128(penalty), msg.sender);
    }

    /// @inheritdoc ISublet
    function refuseJob(uint64 id) external {
        JobRecord storage j = _jobIn(id, JobState.Submitted);
        _requireParty(id, j.renter);
        _requireInTime(id, _challengeUntil(j));
        if (j.class != Class.None) revert JobNotRefusable(id, j.class);
        _endJob(id, j, JobEnd.Refused, j.resultHash, _declared(j) / 2, 0, msg.sender);
    }

    /// @inheritdoc ISublet
    function job(uint64 id) external view returns (JobView memory v) {
        JobRecord storage j = _jobs[id];
        v.state = j.state;
        v.reason = j.reason;
        v.class = j.class;
        v.renter = j.renter;
        v.provider = j.provider;
        v.price = j.price;
        v.pledgeBps = j.pledgeBps;
        v.duration = j.duration;
        v.challengeWindow = j.challengeWindow;
        v.mediatorSet = j.mediatorSet;
        v.openedAt = j.openedAt;
        v.startBy = uint64(_rejectBy(j));
        v.runBy = uint64(_runBy(j));
        v.submittedAt = j.submittedAt;
        v.usedSeconds = j.usedSeconds;
        v.resultHash = j.resultHash;
        if (j.state != JobState.None && j.state != JobState.Ended) {
            v.escrow = _sum(j.price, j.duration);
            v.pledge = _pledge(j.price, j.duration, j.pledgeBps);
        }
        if (j.hasFee) (v.solver, v.solverFee) = (_feeOf(id).solver, _feeOf(id).amount);
    }

    /// Writes an opened job; the money is already locked.
    function _createJob(uint64 id, OfferKey key, Offer calldata offer, Order calldata order)
        internal
        returns (uint64 startBy, uint64 runBy)
    {
        JobRecord storage j = _jobs[id];
        j.renter = order.renter;
        j.price = uint96(offer.price);
        j.provider = offer.provider;
        j.offer = key;
        j.openedAt = uint40(block.timestamp);
        j.duration = order.duration;
        j.startWithin = offer.startWithin;
        j.challengeWindow = order.challengeWindow;
        j.mediatorSet = order.mediatorSet;
        j.pledgeBps = uint24(offer.pledgeBps);
        j.hasFee = order.solverFee != 0;
        j.class = order.class;
        j.state = JobState.Open;
        return (uint64(_rejectBy(j)), uint64(_runBy(j)));
    }

    function _settleJob(uint64 id, bytes32 resultHash, uint128 cost, bytes calldata acceptance, address caller)
        private
    {
        JobRecord storage j = _jobs[id];
        JobState state = j.state;
        uint128 least = _sum(j.price, j.duration);
        if (cost > least) revert JobCostTooHigh(id, cost, least);
        if (state == JobState.Submitted) {
            if (resultHash != j.resultHash) revert JobResultDiffers(id, j.resultHash, resultHash);
            least = _declared(j);
        } else if (state != JobState.Open) {
            revert JobWrongState(id, state);
        }
        // A renter could sign a cost of nothing for good work and send it itself.
        if (cost < least && caller != j.provider) revert JobCostTooLow(id, cost, least);
        if (!_isSignedBy(j.renter, _hashAcceptance(id, resultHash, cost), acceptance)) {
            revert AcceptanceBadSignature(j.renter, id);
        }
        _endJob(id, j, JobEnd.Settled, resultHash, cost, 0, caller);
    }

    /// Pays `cost`, slashes `penalty`, and gives back the rest. The solver is paid for a result, refused ones aside.
    function _endJob(
        uint64 id,
        JobRecord storage j,
        JobEnd reason,
        bytes32 resultHash,
        uint128 cost,
        uint128 penalty,
        address caller
    ) private {
        Split memory split;
        split.paid = cost;
        split.refunded = _sum(j.price, j.duration) - cost;
        split.slashed = penalty;
        split.pledgeBack = _pledge(j.price, j.duration, j.pledgeBps) - penalty;
        j.state = JobState.Ended;
        j.reason = reason;
        if (j.hasFee) {
            j.hasFee = false;
            if (reason == JobEnd.Settled || reason == JobEnd.Accepted || reason == JobEnd.Finalized) _paySolver(id);
            else split.refunded += _reclaimFee(id);
        }
        _vacate(j.offer);
        _release(j.renter, j.provider, caller, split);
        emit JobEnded(
            id, reason, resultHash, split.paid, split.refunded, split.pledgeBack, split.slashed, caller, split.reward
        );
    }

    function _jobIn(uint64 id, JobState state) private view returns (JobRecord storage j) {
        j = _jobs[id];
        if (j.state != state) revert JobWrongState(id, j.state);
    }

    /// price * min(usedSeconds, duration): what the provider says is capped by what the renter signed.
    function _declared(JobRecord storage j) private view returns (uint128) {
        return _sum(j.price, j.usedSeconds < j.duration ? j.usedSeconds : j.duration);
    }

    function _rejectBy(JobRecord storage j) private view returns (uint256) {
        return uint256(j.openedAt) + j.startWithin;
    }

    function _runBy(JobRecord storage j) private view returns (uint256) {
        return _rejectBy(j) + j.duration;
    }

    function _challengeUntil(JobRecord storage j) private view returns (uint256) {
        return uint256(j.submittedAt) + j.challengeWindow;
    }
}
