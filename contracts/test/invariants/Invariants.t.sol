// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Lens} from "../../src/Lens.sol";
import {Sublet} from "../../src/Sublet.sol";
import {SubletToken} from "../../src/SubletToken.sol";
import {JobState, JobView, LeaseState, LeaseView, Offer} from "../../src/Types.sol";
import {Assertions} from "../base/Assertions.sol";
import {Handler} from "./Handler.sol";
import {Ledger} from "./Ledger.sol";

/// @notice SETTLEMENT's invariants, over random sequences of everything anybody can do.
contract InvariantsTest is Assertions {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Sublet private sublet;
    Lens private lens;
    SubletToken private token;
    Handler private handler;
    Ledger private ledger;

    function setUp() external {
        vm.warp(1_800_000_000);
        token = new SubletToken();
        sublet = new Sublet(token, address(0x6A));
        lens = Lens(sublet.lens());
        handler = new Handler(sublet, token, address(0x6A));
        ledger = handler.ledger();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        bytes4[] memory acts = new bytes4[](15);
        (acts[0], acts[1], acts[2]) = (handler.deposit.selector, handler.withdraw.selector, handler.offer.selector);
        (acts[3], acts[4], acts[5]) = (handler.open.selector, handler.open.selector, handler.open.selector);
        (acts[6], acts[7], acts[8]) = (handler.beat.selector, handler.wait.selector, handler.pauseOpen.selector);
        (acts[9], acts[10], acts[11]) = (handler.lease.selector, handler.lease.selector, handler.lease.selector);
        (acts[12], acts[13], acts[14]) = (handler.job.selector, handler.job.selector, handler.job.selector);
        targets[0] = FuzzSelector(address(handler), acts);
    }

    /// The handler gets past every first check: each call goes through in a long enough run.
    function test_handler_reaches_every_call() external {
        for (uint256 i; i < 2_500; ++i) {
            uint256 r = uint256(keccak256(abi.encode("reach", i)));
            (uint256 a, uint256 b, uint64 c, uint256 d) = (r >> 8, r >> 24, uint64(r >> 40), r >> 104);
            uint256 act = r % 16;
            if (act == 0) handler.deposit(a, uint128(d));
            else if (act == 1) handler.withdraw(a, b, uint128(d));
            else if (act == 2) handler.offer(a, d);
            else if (act < 6) handler.open(a, b, c, d);
            else if (act == 6) handler.beat(a);
            else if (act == 7) handler.wait(d);
            else if (act == 8) handler.pauseOpen(d);
            else if (act < 12) handler.lease(a, c, b, uint32(d));
            else handler.job(a, c, b, uint32(d), uint128(d >> 32));
        }
        bytes4[16] memory calls = [
            sublet.startLease.selector,
            sublet.settleLease.selector,
            sublet.topUpLease.selector,
            sublet.giveNotice.selector,
            sublet.closeLease.selector,
            sublet.rejectLease.selector,
            sublet.cancelLease.selector,
            sublet.expireLease.selector,
            sublet.faultLease.selector,
            sublet.submitJob.selector,
            sublet.settleJob.selector,
            sublet.acceptJob.selector,
            sublet.finalizeJob.selector,
            sublet.refuseJob.selector,
            sublet.rejectJob.selector,
            sublet.expireJob.selector
        ];
        for (uint256 i; i < calls.length; ++i) {
            yes(handler.done(calls[i]) != 0, string.concat("reached call ", vm.toString(i)));
        }
        eq(keccak256(bytes(handler.breach())), keccak256(""), handler.breach());
    }

    /// I1: the token balance is exactly what is free or held, and that is deposits less withdrawals.
    function invariant_I1_solvent() external view {
        uint256 owed;
        address[] memory all = handler.actors();
        for (uint256 i; i < all.length; ++i) {
            owed += sublet.freeOf(all[i]);
        }
        for (uint64 id = 1; id <= sublet.agreementCount(); ++id) {
            owed += _held(id);
        }
        eq(token.balanceOf(address(sublet)), owed, "I1: held");
        eq(owed, ledger.deposited() - ledger.withdrawn(), "I1: deposits less withdrawals");
    }

    /// I2: locked in = paid + refunded + slashed + given back + still held; and paid is for time that passed.
    function invariant_I2_each_agreement_adds_up() external view {
        for (uint64 id = 1; id <= sublet.agreementCount(); ++id) {
            eq(ledger.heldBy(id), _held(id), "I2: held");
            Ledger.Account memory a = ledger.account(id);
            LeaseView memory l = lens.lease(id);
            if (l.state == LeaseState.None) continue;
            eq(a.paid, uint256(l.price) * l.paidSeconds, "I2: paid");
            uint256 elapsed = l.startedAt == 0 ? 0 : clock() - l.startedAt;
            if (l.state == LeaseState.Ended && elapsed < l.minCharge) elapsed = l.minCharge;
            atMost(l.paidSeconds, elapsed, "I2: paid for time that passed");
            atMost(l.paidSeconds, l.duration, "I2: paid for time that was bought");
        }
    }

    /// I5: an agreement ends once, holds nothing then, and no call changes it or goes through.
    function invariant_I5_the_end_is_the_end() external view {
        for (uint64 id = 1; id <= sublet.agreementCount(); ++id) {
            bool ended = lens.lease(id).state == LeaseState.Ended || lens.job(id).state == JobState.Ended;
            eq(ledger.account(id).ends, ended ? 1 : 0, "I5: ends");
            if (ended) eq(_held(id), 0, "I5: held at the end");
        }
        eq(keccak256(bytes(handler.breach())), keccak256(""), handler.breach());
    }

    /// I8: no more than the pledge is slashed, whoever ends it. I11: no offer exceeds its capacity, none loses count.
    function invariant_I8_I11_bounds() external view {
        Offer[] memory offers = handler.offers();
        uint256 open;
        for (uint256 i; i < offers.length; ++i) {
            uint256 count = sublet.openCount(sublet.hashOffer(offers[i]));
            atMost(count, offers[i].capacity, "I11: capacity");
            open += count;
        }
        uint256 running;
        for (uint64 id = 1; id <= sublet.agreementCount(); ++id) {
            if (_held(id) != 0 || !_ended(id)) ++running;
        }
        eq(open, running, "I11: places taken");
    }

    /// Logs alone give every balance.
    function invariant_logs_rebuild_every_balance() external view {
        address[] memory all = handler.actors();
        for (uint256 i; i < all.length; ++i) {
            eq(ledger.free(all[i]), sublet.freeOf(all[i]), "free by the logs");
        }
    }

    function _ended(uint64 id) private view returns (bool) {
        return lens.lease(id).state == LeaseState.Ended || lens.job(id).state == JobState.Ended;
    }

    function _held(uint64 id) private view returns (uint256) {
        LeaseView memory l = lens.lease(id);
        JobView memory j = lens.job(id);
        return uint256(l.escrow) + l.pledge + l.solverFee + j.escrow + j.pledge + j.solverFee;
    }
}
