// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, JobEnd, JobState, Kind, Settlement} from "../Types.sol";
import {ISublet} from "../interfaces/ISublet.sol";
import {Agreements} from "./Agreements.sol";
import {Callbacks} from "./Callbacks.sol";
import {Documents} from "./Documents.sol";
import {Head, Result} from "./Record.sol";
import {Sums} from "./Sums.sol";
import {Terms} from "./Terms.sol";

/// @notice Runs paid once: Open -> Submitted -> Ended, with short cuts. `Rulings` has the way through the court.
abstract contract Jobs is ISublet, Agreements, Documents, Callbacks {
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
        _requireInTime(id, t.runBy());
        if (resultHash == 0) revert JobZeroResult(id);
        // Nobody is paid for more time than there was.
        uint256 most = block.timestamp - t.openedAt();
        if (usedSeconds > most) usedSeconds = uint32(most);
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
        if (state != JobState.Open && state != JobState.Submitted) revert JobWrongState(id, state);
        uint256 most = Sums.rent(h.price, t.duration());
        if (cost > most) revert JobCostTooHigh(id, cost, uint128(most));
        uint256 least = most;
        if (state == JobState.Submitted) {
            bytes32 submitted = _results[id].hash;
            if (resultHash != submitted) revert JobResultDiffers(id, submitted, resultHash);
            least = _declared(id, h, t);
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
        _requirePast(id, t.runBy());
        _endJob(id, h, t, JobEnd.Expired, 0, 0, msg.sender);
    }

    /// @inheritdoc ISublet
    function refuseJob(uint64 id) external {
        (Head storage h, Terms t) = _jobIn(id, JobState.Submitted);
        _requireParty(id, h.renter);
        _requireInTime(id, _challengeUntil(id, t));
        (,, Class class) = t.jobOwn();
        if (class != Class.None) revert JobNotRefusable(id, class);
        _endJob(id, h, t, JobEnd.Refused, _results[id].hash, _declared(id, h, t) / 2, msg.sender);
    }

    /// Pays `cost`, slashes a job that expired or was overturned, gives back the rest, and tells a renter that asked to
    /// be told. Only a result that stands pays the solver.
    function _endJob(
        uint64 id,
        Head storage h,
        Terms t,
        JobEnd reason,
        bytes32 resultHash,
        uint256 cost,
        address caller
    ) internal {
        Split memory s;
        s.paid = cost;
        s.refunded = Sums.rent(h.price, t.duration()) - cost;
        if (reason == JobEnd.Expired) s.slashed = _expiryPenalty(h, t);
        if (reason == JobEnd.Overturned) s.slashed = type(uint256).max;
        bool stands = reason == JobEnd.Settled || reason == JobEnd.Accepted || reason == JobEnd.Finalized
            || reason == JobEnd.Upheld;
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
        if (t.callback()) _callBack(id, h.renter, reason, resultHash);
    }

    function _jobIn(uint64 id, JobState state) internal view returns (Head storage h, Terms t) {
        h = _heads[id];
        t = h.terms.ifKind(Kind.Job);
        JobState actual = JobState(t.state());
        if (actual != state) revert JobWrongState(id, actual);
    }

    /// price * min(usedSeconds, duration): what the provider says is capped by what the renter signed.
    function _declared(uint64 id, Head storage h, Terms t) internal view returns (uint256) {
        uint32 used = _results[id].usedSeconds;
        return Sums.rent(h.price, used < t.duration() ? used : t.duration());
    }

    function _challengeUntil(uint64 id, Terms t) internal view returns (uint256) {
        (uint32 challengeWindow,,) = t.jobOwn();
        return uint256(_results[id].submittedAt) + challengeWindow;
    }
}
