// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {DisputeStage, SeatStage, Verdict} from "../Types.sol";
import {Panels} from "./Panels.sol";

/// @notice The end of a dispute: who has the majority, who is paid, and who pays.
abstract contract Verdicts is Panels {
    /// What the job is about, who can be drawn, and where the dispute is; one slot a line, the last on two.
    // forgefmt: disable-next-item
    struct Dispute {
        address renter; uint64 mediatorSet;
        address provider; uint32 duration;
        bytes32 resultHash;
        uint64 electorate; uint40 armedAt; uint40 commitBy; uint40 revealBy;
            uint8 seats; uint8 committed; uint8 revealed; DisputeStage stage;
    }

    /// `word` is what was committed, then what was revealed.
    struct Seat {
        address mediator;
        SeatStage stage;
        bytes32 word;
    }

    mapping(uint64 id => Dispute) internal _disputes;
    mapping(uint64 id => Seat[]) internal _panels;

    /// Pays and slashes the panel, gives back what is left, and has the job ended. The renter's fees pay the majority
    /// also when the result is overturned: it then gets the whole pledge, which is at least as much.
    function _conclude(uint64 id, Dispute storage d) internal {
        d.stage = DisputeStage.Resolved;
        MediatorSet storage set = _sets[d.mediatorSet];
        Seat[] memory panel = _panels[id];
        (bytes32 winner, uint8 votes) = _winner(panel, _majority(set.panelSize));
        Verdict verdict = Verdict.Inconclusive;
        if (votes != 0) verdict = winner == d.resultHash ? Verdict.Upheld : Verdict.Overturned;
        (uint96 fee, uint128 paid, uint128 toRenter, uint128 toProvider) = (set.fee, 0, 0, 0);
        for (uint256 i; i < panel.length; ++i) {
            Seat memory s = panel[i];
            _bonds[s.mediator].atStake -= fee;
            if (s.stage != SeatStage.Revealed) {
                (uint128 a, uint128 b) = _slash(id, s.mediator, fee);
                (toRenter, toProvider) = (toRenter + a, toProvider + b);
            } else if (votes == 0 || s.word == winner) {
                paid += fee;
                _trunk.give(s.mediator, fee);
            }
        }
        uint128 back = uint128(panelFees(d.mediatorSet)) - paid;
        emit DisputeResolved(id, verdict, winner, votes, paid, back);
        _give(d.renter, back + toRenter);
        _give(d.provider, toProvider);
        // Last, because it may call the renter.
        _trunk.ruleJob(id, verdict);
    }

    /// Votes of a whole panel that decide, however many of it could be drawn.
    function _majority(uint8 panelSize) internal pure returns (uint256) {
        return panelSize / 2 + 1;
    }

    /// What at least `majority` of the panel revealed, and how many did; nothing and zero if there is no such thing.
    function _winner(Seat[] memory panel, uint256 majority) private pure returns (bytes32, uint8) {
        for (uint256 i; i < panel.length; ++i) {
            uint8 votes;
            for (uint256 j; j < panel.length; ++j) {
                bool revealed = panel[i].stage == SeatStage.Revealed && panel[j].stage == SeatStage.Revealed;
                if (revealed && panel[i].word == panel[j].word) ++votes;
            }
            if (votes >= majority) return (panel[i].word, votes);
        }
        return (0, 0);
    }

    /// A missing vote costs a fee, or what is left of the bond: half to each party, the odd unit to the renter.
    function _slash(uint64 id, address mediator, uint96 fee) private returns (uint128 toRenter, uint128 toProvider) {
        Bond storage b = _bonds[mediator];
        uint96 lost = fee < b.amount ? fee : b.amount;
        b.amount -= lost;
        toProvider = lost / 2;
        toRenter = lost - toProvider;
        emit MediatorSlashed(id, mediator, toRenter, toProvider);
    }

    function _give(address account, uint128 amount) private {
        if (amount != 0) _trunk.give(account, amount);
    }
}
