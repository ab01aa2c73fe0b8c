// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, Order, Settlement, Verdict} from "../../src/Types.sol";
import {IOrders} from "../../src/interfaces/IOrders.sol";
import {ISublet} from "../../src/interfaces/ISublet.sol";
import {ITrunk} from "../../src/interfaces/ITrunk.sol";
import {Forwarder} from "../mocks/Wallets.sol";
import {Attack} from "./Attack.sol";

/// @notice Acting in somebody else's name.
contract RelayAttacksTest is Attack {
    /// A victim is talked into using a contract of the attacker's: the market sees that contract, not the victim.
    function test_relaying_a_call() external {
        (uint64 id, uint64 job) = (activeLease(), submittedJob(10));
        Forwarder relay = new Forwarder();
        bytes memory why = abi.encodeWithSelector(ISublet.AgreementOtherParty.selector, id, address(relay));
        _relayed(relay, renter, abi.encodeCall(sublet.closeLease, (id, ANY)), why);
        _relayed(relay, provider, abi.encodeCall(sublet.giveNotice, (id)), why);
        why = abi.encodeWithSelector(ISublet.AgreementOtherParty.selector, job, address(relay));
        _relayed(relay, renter, abi.encodeCall(sublet.acceptJob, (job)), why);
        why = abi.encodeWithSelector(ISublet.AccountShort.selector, address(relay), 0, 1);
        _relayed(relay, renter, abi.encodeCall(sublet.withdrawTo, (mallory, 1)), why);
        why = abi.encodeWithSelector(ISublet.GuardianOnly.selector, address(relay));
        _relayed(relay, guardian, abi.encodeCall(sublet.pauseOpen, (true)), why);
    }

    /// The same by way of the branches, which take money of their caller.
    function test_relaying_to_a_branch() external {
        uint64 id = exactJob();
        Forwarder relay = new Forwarder();
        bytes memory why = abi.encodeWithSelector(ISublet.AgreementOtherParty.selector, id, address(relay));
        _relayedTo(relay, address(court), renter, abi.encodeCall(court.dispute, (id)), why);
        why = abi.encodeWithSelector(ISublet.AccountShort.selector, address(relay), 0, BOND);
        _relayedTo(relay, address(court), renter, abi.encodeCall(court.registerMediator, (RESULT, BOND)), why);
        Order memory order = orderOf(Kind.Job);
        why = abi.encodeWithSelector(IOrders.OrderNotRenter.selector, address(relay), renter);
        _relayedTo(relay, address(orders), renter, abi.encodeCall(orders.placeOrder, (order, "", false)), why);
    }

    /// The contract calls itself for each row of a batch; nobody can pose as it, nor as a batch's caller.
    function test_borrowing_a_batch() external {
        uint64 id = submittedJob(10);
        Forwarder relay = new Forwarder();
        bytes memory sig = acceptance(id, RESULT, 1);
        bytes memory why = abi.encodeWithSelector(ISublet.JobCostTooLow.selector, id, 1, 10 * PRICE);
        _relayed(relay, provider, abi.encodeCall(sublet.settleJob, (id, RESULT, 1, sig)), why);
        Settlement[] memory rows = new Settlement[](1);
        rows[0] = Settlement(id, RESULT, 1, sig);
        vm.prank(mallory);
        sublet.settleJobs(rows);
        wins(provider, -Q, "a batch settled in another's name");
    }

    /// Only a branch moves others' balances, only the court rules.
    function test_posing_as_a_branch() external {
        uint64 id = disputed();
        bytes memory why = abi.encodeWithSelector(ITrunk.BranchOnly.selector, mallory);
        refused(mallory, abi.encodeCall(sublet.take, (renter, 1)), why, "anybody takes from an account");
        refused(mallory, abi.encodeCall(sublet.give, (mallory, 1)), why, "anybody gives what is not its own");
        refused(mallory, abi.encodeCall(sublet.ruleJob, (id, Verdict.Overturned)), why, "anybody rules");
        refused(mallory, abi.encodeCall(sublet.disputeJob, (id, renter)), why, "anybody disputes");
        why = abi.encodeWithSelector(ITrunk.BranchOnly.selector, address(orders));
        refused(address(orders), abi.encodeCall(sublet.take, (renter, 1)), why, "a branch without money takes some");
        why = abi.encodeWithSelector(ITrunk.BranchOnly.selector, address(gateways));
        refused(address(gateways), abi.encodeCall(sublet.ruleJob, (id, Verdict.Upheld)), why, "a gateway rules");
    }

    function _relayed(Forwarder relay, address victim, bytes memory data, bytes memory why) private {
        _relayedTo(relay, address(sublet), victim, data, why);
    }

    /// The victim sends the transaction, so it is `tx.origin` as well.
    function _relayedTo(Forwarder relay, address to, address victim, bytes memory data, bytes memory why) private {
        vm.prank(victim, victim);
        (bool ok, bytes memory answer) = relay.forward(to, data);
        worked(ok, "a relayed call was taken for its victim's");
        eq(keccak256(answer), keccak256(why), "refused, for the relay is the caller");
    }
}
