// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, JobEnd, JobState, JobView, Kind, Order, Settlement} from "../Types.sol";
import {ISublet} from "../interfaces/ISublet.sol";
import {Agreements} from "./Agreements.sol";
import {Documents} from "./Documents.sol";
import {Terms} from "./Terms.sol";

/// @notice Runs paid once: Open -> Submitted -> Ended, with short cuts.
abstract contract Jobs is ISublet, Agreements, Documents {
    /// What the provider submitted.
    struct Result {
        bytes32 hash;
        uint40 submittedAt;
        uint32 usedSeconds;
    }

    mapping(uint64 id => Result) private _results;

    /// @inheritdoc ISublet
    function rejectJob(uint64 id) external {
        (Head storage h, Terms t) = _jobIn(id, JobState.Open);
        _requireParty(id, h.provider);
        _requireInTime(id, t.startBy());
        _endJob(id, h, t, JobEnd.Rejected, 0, 0, msg.sender);
    }

    /// @inheritdoc ISublet
    function submitJob(uint64 id, bytes32 resultHash, uint32 usedSeconds) external {
        (Head storage h, Terms t) = _jobIn(id, JobState.Open);
        _requireParty(id, h.provider);
        _requireInTime(id, _runBy(t));
        if (resultHash == 0) revert JobZeroResult(id);
        h.terms = t.withState(uint8(JobState.Submitted));
        _results[id] = Result(resultHash, uint40(block.timestamp), usedSeconds);
        (uint256 cost, uint256 until) = (_declared(id, h, t), _challengeUntil(id, t));
        emit JobSubmitted(id, resultHash, usedSeconds, uint128(cost), uint64(until));
    }

    /// @inheritdoc ISublet
    function settleJob(uint64 id, bytes32 resultHash, uint128 cost, bytes calldata acceptance) external {
        Head storage h = _heads[id];
        Terms t = h.terms.ifKind(Kind.Job);
        address caller = _caller();
        JobState state = JobState(t.state());
        uint256 least = _sum(h.price, t.duration());
        if (cost > least) revert JobCostTooHigh(id, cost, uint128(least));
        if (state == JobState.Submitted) {
            bytes32 submitted = _results[id].hash;
            if (resultHash != submitted) revert JobResultDiffers(id, submitted, resultHash);
            least = _declared(id, h, t);
        } else if (state != JobState.Open) {
            revert JobWrongState(id, state);
        }
        // A renter could sign a cost of nothing for good work, and send it itself.
        if (cost < least && caller != h.provider) revert JobCostTooLow(id, cost, uint128(least));
        if (!_isSignedBy(h.renter, hashAcceptance(id, resultHash, cost), acceptance)) {
            revert AcceptanceBadSignature(h.renter, id);
        }
        _endJob(id, h, t, JobEnd.Settled, resultHash, cost, caller);
    }

    /// @inheritdoc ISublet
    function settleJobs(Settlement[] calldata settlements) external {
        for (uint256 i; i < settlements.length; ++i) {
            Settlement calldata row = settlements[i];
            uint256 start;
            assembly ("memory-safe") {
                start := row
            }
            (bool ok, bytes memory answer) = _callSelf(this.settleJob.selector, start, row.acceptance);
            if (!ok) emit SettleRefused(i, row.id, answer);
        }
    }

    /// @inheritdoc ISublet
    function acceptJob(uint64 id) external {
        (Head storage h, Terms t) = _jobIn(id, JobState.Submitted);
        _requireParty(id, h.renter);
        _endJob(id, h, t, JobEnd.Accepted, _results[id].hash, _declared(id, h, t), msg.sender);
    }

    /// @inheritdoc ISublet
    function finalizeJob(uint64 id) external {
        (Head storage h, Terms t) = _jobIn(id, JobState.Submitted);
        _requirePast(id, _challengeUntil(id, t));
        _endJob(id, h, t, JobEnd.Finalized, _results[id].hash, _declared(id, h, t), msg.sender);
    }

    /// @inheritdoc ISublet
    function expireJob(uint64 id) external {
        (Head storage h, Terms t) = _jobIn(id, JobState.Open);
        _requirePast(id, _runBy(t));
        _endJob(id, h, t, JobEnd.Expired, 0, 0, msg.sender);
    }

    /// @inheritdoc ISublet
    function refuseJob(uint64 id) external {
        (Head storage h, Terms t) = _jobIn(id, JobState.Submitted);
        _requireParty(id, h.renter);
        _requireInTime(id, _challengeUntil(id, t));
        (,, Class class) = _jobTerms(t);
        if (class != Class.None) revert JobNotRefusable(id, class);
        _endJob(id, h, t, JobEnd.Refused, _results[id].hash, _declared(id, h, t) / 2, msg.sender);
    }

    /// @inheritdoc ISublet
    function job(uint64 id) external view returns (JobView memory v) {
        Head storage h = _heads[id];
        Terms t = h.terms.ifKind(Kind.Job);
        v.state = JobState(t.state());
        if (v.state == JobState.None) return v;
        Result storage r = _results[id];
        v.reason = JobEnd(t.reason());
        (v.challengeWindow, v.mediatorSet, v.class) = _jobTerms(t);
        v.renter = h.renter;
        v.provider = h.provider;
        v.price = h.price;
        v.pledgeBps = t.pledgeBps();
        v.duration = t.duration();
        v.openedAt = uint64(t.openedAt());
        v.startBy = uint64(t.startBy());
        v.runBy = uint64(_runBy(t));
        v.submittedAt = r.submittedAt;
        v.usedSeconds = r.usedSeconds;
        v.resultHash = r.hash;
        if (v.state != JobState.Ended) {
            v.escrow = uint128(_sum(v.price, v.duration));
            v.pledge = uint128(_pledge(v.price, v.duration, v.pledgeBps));
        }
        (v.solver, v.solverFee) = _feeOf(id);
    }

    /// The terms only a job has, to be kept in `Terms.own`. A set that nobody can call is not kept.
    function _ownTerms(Order memory order) internal pure returns (uint96) {
        uint256 set = order.class == Class.Exact ? order.mediatorSet : 0;
        if (set > type(uint48).max) revert MatchOutOfRange("mediatorSet", set, type(uint48).max);
        return uint96(order.challengeWindow | set << 32 | uint256(order.class) << 80);
    }

    function _jobTerms(Terms t) private pure returns (uint32 challengeWindow, uint48 mediatorSet, Class class) {
        uint96 own = t.own();
        return (uint32(own), uint48(own >> 32), Class(uint8(own >> 80)));
    }

    /// Last second at which the provider may submit.
    function _runBy(Terms t) internal pure returns (uint256) {
        return t.startBy() + t.duration();
    }

    /// Pays `cost`, slashes a job that expired, and gives back the rest. Only a result that stands pays the solver.
    function _endJob(
        uint64 id,
        Head storage h,
        Terms t,
        JobEnd reason,
        bytes32 resultHash,
        uint256 cost,
        address caller
    ) private {
        Split memory s;
        s.paid = cost;
        s.refunded = _sum(h.price, t.duration()) - cost;
        if (reason == JobEnd.Expired) s.slashed = _expiryPenalty(h, t);
        bool stands = reason == JobEnd.Settled || reason == JobEnd.Accepted || reason == JobEnd.Finalized;
        _end(id, h, t.withState(uint8(JobState.Ended)).withReason(uint8(reason)), caller, s, stands);
        emit JobEnded(
            id,
            reason,
            resultHash,
            uint128(s.paid),
            uint128(s.refunded),
            uint128(s.pledgeBack),
            uint128(s.slashed),
            caller,
            uint128(s.reward)
        );
    }

    function _jobIn(uint64 id, JobState state) private view returns (Head storage h, Terms t) {
        h = _heads[id];
        t = h.terms.ifKind(Kind.Job);
        JobState actual = JobState(t.state());
        if (actual != state) revert JobWrongState(id, actual);
    }

    /// price * min(usedSeconds, duration): what the provider says is capped by what the renter signed.
    function _declared(uint64 id, Head storage h, Terms t) private view returns (uint256) {
        uint32 used = _results[id].usedSeconds;
        return _sum(h.price, used < t.duration() ? used : t.duration());
    }

    function _challengeUntil(uint64 id, Terms t) private view returns (uint256) {
        (uint32 challengeWindow,,) = _jobTerms(t);
        return uint256(_results[id].submittedAt) + challengeWindow;
    }
}
