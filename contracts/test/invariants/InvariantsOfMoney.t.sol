// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobEnd, Kind} from "../../src/Types.sol";
import {Campaign} from "./Campaign.sol";
import {Ghost} from "./Ghost.sol";
import {Ledger} from "./Ledger.sol";

/// @notice SETTLEMENT's invariants about money, over random sequences of everything anybody can do. Each act is compared with
/// the rules where it happens (`Driver`); here are the sums over everything, and what was noted.
contract InvariantsOfMoneyTest is Campaign {
    Ledger private ledger;

    function setUp() external {
        _world(false);
        ledger = handler.ledger();
        _everything();
    }

    /// I1: the contract has exactly what is free or held, bonds and fees included, and that is deposits less withdrawals.
    function invariant_I1_solvent() external view {
        _holds(1);
        uint256 owed;
        for (uint256 i; i < handler.accounts().length; ++i) {
            owed += handler.sublet().freeOf(handler.accounts()[i]);
        }
        for (uint64 id = 1; id <= handler.count(); ++id) {
            owed += handler.heldBy(id);
        }
        eq(handler.coin().balanceOf(address(handler.sublet())), owed, "I1: held");
        eq(owed, handler.deposited() - handler.withdrawn(), "I1: deposits less withdrawals");
        eq(ledger.deposited(), handler.deposited(), "I1: deposits by the logs");
        eq(ledger.withdrawn(), handler.withdrawn(), "I1: withdrawals by the logs");
        (uint256 court, uint256 gateways) = handler.branchesHold();
        eq(handler.sublet().freeOf(address(handler.court())), court, "I1: bonds and fees of the court");
        eq(handler.sublet().freeOf(address(handler.gateways())), gateways, "I1: bonds of gateways");
    }

    /// I2: locked in = paid + refunded + slashed + given back + still held; and paid is for time that passed.
    function invariant_I2_each_agreement_adds_up() external view {
        _holds(2);
        for (uint64 id = 1; id <= handler.count(); ++id) {
            eq(ledger.heldBy(id), handler.heldBy(id), "I2: held");
            Ledger.Account memory a = ledger.account(id);
            Ghost.Agreement memory g = handler.agreement(id);
            if (g.kind != Kind.Lease) {
                atMost(a.paid, g.price * g.duration, "I2: paid for a job");
                if (g.submittedAt != 0) _paidForTime(g, a.paid);
                continue;
            }
            uint256 elapsed = g.startedAt == 0 ? 0 : clock() - g.startedAt;
            bool ended = g.stage == Ghost.Stage.Ended;
            if (ended && elapsed < g.minCharge) elapsed = g.minCharge;
            atMost(a.paid, g.price * min(elapsed, g.duration), "I2: paid for time that passed");
        }
    }

    /// Without the renter's own signature a result is paid for the time that it can have taken, or half of that.
    function _paidForTime(Ghost.Agreement memory g, uint256 paid) private pure {
        JobEnd end = JobEnd(g.reason);
        uint256 most = g.price * (g.submittedAt - g.openedAt);
        if (end == JobEnd.Refused || end == JobEnd.Inconclusive) most /= 2;
        if (end != JobEnd.Settled) atMost(paid, most, "I2: paid for time that a job had");
    }

    /// I8: no more than the pledge is slashed, and it goes where the rule says.
    function invariant_I8_slashes_are_bounded_and_go_where_they_must() external view {
        _holds(8);
        for (uint64 id = 1; id <= handler.count(); ++id) {
            Ghost.Agreement memory g = handler.agreement(id);
            Ledger.Account memory a = ledger.account(id);
            eq(a.slashed, g.slashed, "I8: slashed");
            atMost(a.slashed, g.price * g.duration * g.pledgeBps / 10_000, "I8: more than the pledge");
        }
    }

    /// I13: nobody lowers somebody else's free balance.
    function invariant_I13_balances_are_their_owners() external view {
        _holds(13);
    }

    /// Logs alone give every balance.
    function invariant_logs_rebuild_every_balance() external view {
        for (uint256 i; i < handler.accounts().length; ++i) {
            address who = handler.accounts()[i];
            eq(ledger.free(who), handler.sublet().freeOf(who), "free by the logs");
        }
    }
}
