// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {DisputeStage, DisputeView, Disputed, SeatStage, SeatView} from "../Types.sol";
import {ICourt} from "../interfaces/ICourt.sol";
import {Verdicts} from "./Verdicts.sol";

/// @notice A dispute from `dispute` to `resolve`: Armed -> Commit -> Reveal -> Over -> Resolved. Each stage has a clock
/// of its own, which the end of the one before starts.
abstract contract Disputes is Verdicts {
    /// @inheritdoc ICourt
    uint40 public constant COMMIT_SLACK = 1 hours;
    /// @inheritdoc ICourt
    uint40 public constant REVEAL_WINDOW = 1 hours;
    /// Blocks from fixing the electorate to the one whose hash draws from it.
    uint256 private constant DRAW_AFTER = 2;
    /// Blocks for which the chain remembers a hash.
    uint256 private constant HASHES = 256;

    /// @inheritdoc ICourt
    function dispute(uint64 id) external {
        Disputed memory j = _trunk.disputeJob(id, msg.sender);
        Dispute storage d = _disputes[id];
        (d.renter, d.mediatorSet) = (msg.sender, j.mediatorSet);
        (d.provider, d.duration, d.resultHash) = (j.provider, j.duration, j.resultHash);
        uint128 fees = uint128(panelFees(j.mediatorSet));
        _trunk.take(msg.sender, fees);
        emit DisputeRaised(id, msg.sender, j.provider, j.mediatorSet, j.resultHash, fees);
        _arm(id, d);
    }

    /// @inheritdoc ICourt
    function draw(uint64 id) external {
        Dispute storage d = _in(id, DisputeStage.Armed);
        uint256 decides = d.armedAt + DRAW_AFTER;
        if (block.number <= decides) revert DisputeTooEarly(id, decides + 1);
        bytes32 hash = blockhash(decides);
        if (hash == 0) return _arm(id, d);
        MediatorSet storage set = _sets[d.mediatorSet];
        uint256[] memory picked = _pick(d.electorate, set.panelSize, keccak256(abi.encode(hash, id)));
        if (picked.length < _majority(set.panelSize)) return _conclude(id, d);
        d.stage = DisputeStage.Commit;
        d.seats = uint8(picked.length);
        d.commitBy = uint40(block.timestamp) + d.duration + COMMIT_SLACK;
        d.revealBy = d.commitBy + REVEAL_WINDOW;
        address[] memory panel = new address[](picked.length);
        for (uint256 i; i < picked.length; ++i) {
            panel[i] = set.members[picked[i]];
            _panels[id].push(Seat(panel[i], SeatStage.Drawn, 0));
            _bonds[panel[i]].atStake += set.fee;
        }
        emit PanelDrawn(id, panel, d.commitBy);
    }

    /// @inheritdoc ICourt
    function commitVote(uint64 id, bytes32 commitment) external {
        Dispute storage d = _in(id, DisputeStage.Commit);
        Seat storage s = _seat(id, SeatStage.Drawn);
        (s.stage, s.word) = (SeatStage.Committed, commitment);
        emit VoteCommitted(id, msg.sender, commitment);
        if (++d.committed < d.seats) return;
        d.revealBy = uint40(block.timestamp) + REVEAL_WINDOW;
        emit CommitsComplete(id, d.revealBy);
    }

    /// @inheritdoc ICourt
    function revealVote(uint64 id, bytes32 resultHash, bytes32 salt) external {
        Dispute storage d = _in(id, DisputeStage.Reveal);
        Seat storage s = _seat(id, SeatStage.Committed);
        bytes32 commitment = commitmentOf(id, msg.sender, resultHash, salt);
        if (commitment != s.word) revert VoteOtherThanCommitted(id, s.word, commitment);
        (s.stage, s.word) = (SeatStage.Revealed, resultHash);
        ++d.revealed;
        emit VoteRevealed(id, msg.sender, resultHash);
    }

    /// @inheritdoc ICourt
    function resolve(uint64 id) external {
        _conclude(id, _in(id, DisputeStage.Over));
    }

    /// @inheritdoc ICourt
    function disputeOf(uint64 id) external view returns (DisputeView memory v) {
        Dispute storage d = _disputes[id];
        v.stage = _stage(d);
        (v.renter, v.provider, v.mediatorSet) = (d.renter, d.provider, d.mediatorSet);
        (v.resultHash, v.duration, v.electorate) = (d.resultHash, d.duration, _count(d.electorate));
        if (v.stage != DisputeStage.None) {
            v.drawFrom = uint64(d.armedAt + DRAW_AFTER + 1);
            v.drawUntil = uint64(d.armedAt + DRAW_AFTER + HASHES);
        }
        (v.commitBy, v.revealBy) = (d.commitBy, d.revealBy);
        Seat[] memory panel = _panels[id];
        v.panel = new SeatView[](panel.length);
        for (uint256 i; i < panel.length; ++i) {
            SeatView memory s = v.panel[i];
            (s.mediator, s.stage) = (panel[i].mediator, panel[i].stage);
            if (s.stage == SeatStage.Revealed) s.vote = panel[i].word;
            else s.commitment = panel[i].word;
        }
    }

    /// @inheritdoc ICourt
    function commitmentOf(uint64 id, address mediator, bytes32 resultHash, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(id, mediator, resultHash, salt));
    }

    /// Fixes who can be drawn, before anybody can know who will be.
    function _arm(uint64 id, Dispute storage d) private {
        uint64 electorate = _electorate(d.mediatorSet, d.renter, d.provider);
        (d.stage, d.armedAt, d.electorate) = (DisputeStage.Armed, uint40(block.number), electorate);
        emit DisputeArmed(id, uint64(block.number), electorate);
    }

    function _in(uint64 id, DisputeStage stage) private view returns (Dispute storage d) {
        d = _disputes[id];
        DisputeStage actual = _stage(d);
        if (actual != stage) revert DisputeWrongStage(id, actual);
    }

    /// Stored is what calls did (`Commit`: drawn); the rest is for the clocks to say.
    function _stage(Dispute storage d) private view returns (DisputeStage stage) {
        stage = d.stage;
        if (stage != DisputeStage.Commit) return stage;
        if (d.committed < d.seats && block.timestamp <= d.commitBy) return DisputeStage.Commit;
        if (d.revealed < d.committed && block.timestamp <= d.revealBy) return DisputeStage.Reveal;
        return DisputeStage.Over;
    }

    function _seat(uint64 id, SeatStage stage) private view returns (Seat storage s) {
        Seat[] storage panel = _panels[id];
        uint256 count = panel.length;
        for (uint256 i; i < count; ++i) {
            s = panel[i];
            if (s.mediator != msg.sender) continue;
            if (s.stage != stage) revert VoteWrongStage(id, msg.sender, s.stage);
            return s;
        }
        revert VoteNotSeated(id, msg.sender);
    }
}
