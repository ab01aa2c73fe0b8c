// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {JobView, Kind, LeaseView, Offer} from "../../src/Types.sol";
import {Campaign} from "./Campaign.sol";
import {Ghost} from "./Ghost.sol";
import {Ledger} from "./Ledger.sol";

/// @notice SETTLEMENT's invariants about what was agreed: states, clocks, documents and prices, over random sequences of
/// everything anybody can do. As in `InvariantsOfMoney`, most is compared where it happens.
contract InvariantsOfTermsTest is Campaign {
    Ledger private ledger;

    function setUp() external {
        _world(false);
        ledger = handler.ledger();
        _everything();
    }

    /// I5: an agreement ends once, holds nothing then, and no call changes it or goes through.
    function invariant_I5_the_end_is_the_end() external view {
        _holds(5);
        for (uint64 id = 1; id <= handler.count(); ++id) {
            bool ended = handler.agreement(id).stage == Ghost.Stage.Ended;
            eq(ledger.account(id).ends, ended ? 1 : 0, "I5: ends");
            if (ended) eq(handler.heldBy(id), 0, "I5: held at the end");
        }
    }

    /// I7: rent is counted while there is some left to pay it with; a top-up starts anew and bills no gap.
    function invariant_I7_overdrawn_pauses() external view {
        _holds(7);
        for (uint64 id = 1; id <= handler.count(); ++id) {
            Ghost.Agreement memory g = handler.agreement(id);
            if (g.kind != Kind.Lease || g.stage != Ghost.Stage.Active) continue;
            LeaseView memory l = handler.lens().lease(id);
            eq(l.paidSeconds, g.paidSeconds, "I7: seconds paid");
            eq(l.owedSeconds, handler.owedSeconds(id), "I7: seconds owed");
        }
    }

    /// I9: every call goes through exactly when its own clock, state and caller say so, at the boundary second as well.
    function invariant_I9_every_stage_has_its_own_clock() external view {
        _holds(9);
    }

    /// I11: no offer above its capacity, none loses count; documents open once, in time, here, and until cancelled.
    function invariant_I11_documents_bind_once() external view {
        _holds(11);
        for (uint64 id = 1; id <= handler.count(); ++id) {
            bytes32 offer = handler.agreement(id).offer;
            eq(handler.sublet().openCount(offer), handler.openOf(offer), "I11: places taken");
        }
        Offer[] memory offers = handler.offers();
        for (uint256 i; i < offers.length; ++i) {
            atMost(
                handler.sublet().openCount(handler.sublet().hashOffer(offers[i])), offers[i].capacity, "I11: capacity"
            );
        }
    }

    /// I12: paid at the price that the provider signed, which is at most what the renter did.
    function invariant_I12_the_signed_price() external view {
        _holds(12);
        for (uint64 id = 1; id <= handler.count(); ++id) {
            Ghost.Agreement memory g = handler.agreement(id);
            atMost(g.price, g.maxPrice, "I12: above the renter's price");
            LeaseView memory l = handler.lens().lease(id);
            JobView memory j = handler.lens().job(id);
            eq(g.kind == Kind.Lease ? l.price : j.price, g.price, "I12: not the provider's price");
        }
    }
}
