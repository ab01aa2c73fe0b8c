// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, Disputed, JobEnd, JobState, Verdict} from "../Types.sol";
import {ITrunk} from "../interfaces/ITrunk.sol";
import {Jobs} from "./Jobs.sol";
import {Head} from "./Record.sol";
import {Terms} from "./Terms.sol";

/// @notice What the court may do to a job: Submitted -> Disputed -> Ended.
abstract contract Rulings is Jobs {
    /// @inheritdoc ITrunk
    function disputeJob(uint64 id, address renter) external returns (Disputed memory) {
        _requireCourt();
        (Head storage h, Terms t) = _jobIn(id, JobState.Submitted);
        if (renter != h.renter) revert AgreementOtherParty(id, renter);
        _requireInTime(id, _challengeUntil(id, t));
        (, uint48 set, Class class) = t.jobOwn();
        if (class != Class.Exact) revert JobNotDisputable(id, class);
        h.terms = t.withState(uint8(JobState.Disputed));
        emit JobDisputed(id);
        return Disputed(h.provider, set, t.duration(), _results[id].hash);
    }

    /// @inheritdoc ITrunk
    function ruleJob(uint64 id, Verdict verdict) external {
        _requireCourt();
        (Head storage h, Terms t) = _jobIn(id, JobState.Disputed);
        (JobEnd reason, uint256 cost) = (JobEnd.Upheld, _declared(id, h, t));
        if (verdict == Verdict.Overturned) (reason, cost) = (JobEnd.Overturned, 0);
        if (verdict == Verdict.Inconclusive) (reason, cost) = (JobEnd.Inconclusive, cost / 2);
        _endJob(id, h, t, reason, _results[id].hash, cost, msg.sender);
    }
}
