// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobEnd, JobState, JobView, Kind, LeaseEnd, LeaseState, LeaseView} from "./Types.sol";
import {Progress, Record} from "./core/Record.sol";
import {Sums} from "./core/Sums.sol";
import {Terms} from "./core/Terms.sol";
import {ILens} from "./interfaces/ILens.sol";
import {ISublet} from "./interfaces/ISublet.sol";

/// @title Lens
/// @notice The branch that reads; see `ILens`.
contract Lens is ILens {
    ISublet private immutable _sublet;

    constructor(ISublet sublet) {
        _sublet = sublet;
    }

    /// @inheritdoc ILens
    function lease(uint64 id) external view returns (LeaseView memory v) {
        Record memory r = _sublet.recordOf(id);
        Terms t = r.head.terms.ifKind(Kind.Lease);
        v.state = LeaseState(t.state());
        if (v.state == LeaseState.None) return v;
        Progress memory p = r.progress;
        (v.reason, v.renter, v.provider) = (LeaseEnd(t.reason()), r.head.renter, r.head.provider);
        (v.price, v.pledgeBps, v.duration) = (r.head.price, t.pledgeBps(), t.duration());
        (v.maxDuration, v.notice, v.minCharge) = t.leaseOwn();
        (v.openedAt, v.startBy) = (uint64(t.openedAt()), uint64(t.startBy()));
        (v.startedAt, v.noticeAt, v.paidSeconds) = (p.startedAt, p.noticeAt, p.paidSeconds);
        if (v.state == LeaseState.Active) v.owedSeconds = Sums.owed(t, p, uint40(_sublet.uptimeOf(v.provider)));
        if (v.state != LeaseState.Ended) {
            v.escrow = uint128(Sums.rent(v.price, v.duration - p.paidSeconds));
            v.pledge = uint128(Sums.pledge(v.price, v.duration, v.pledgeBps));
        }
        (v.solver, v.solverFee) = (r.fee.solver, r.fee.amount);
    }

    /// @inheritdoc ILens
    function job(uint64 id) external view returns (JobView memory v) {
        Record memory r = _sublet.recordOf(id);
        Terms t = r.head.terms.ifKind(Kind.Job);
        v.state = JobState(t.state());
        if (v.state == JobState.None) return v;
        (v.reason, v.renter, v.provider) = (JobEnd(t.reason()), r.head.renter, r.head.provider);
        (v.price, v.pledgeBps, v.duration) = (r.head.price, t.pledgeBps(), t.duration());
        (v.challengeWindow, v.mediatorSet, v.class) = t.jobOwn();
        (v.openedAt, v.startBy, v.runBy) = (uint64(t.openedAt()), uint64(t.startBy()), uint64(t.runBy()));
        (v.submittedAt, v.usedSeconds, v.resultHash) = (r.result.submittedAt, r.result.usedSeconds, r.result.hash);
        if (v.state != JobState.Ended) {
            v.escrow = uint128(Sums.rent(v.price, v.duration));
            v.pledge = uint128(Sums.pledge(v.price, v.duration, v.pledgeBps));
        }
        (v.solver, v.solverFee, v.callback) = (r.fee.solver, r.fee.amount, t.callback());
    }
}
