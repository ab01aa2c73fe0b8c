// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, Offer, Order, Pair, Settlement} from "../src/Types.sol";
import {Fixture} from "./base/Fixture.sol";

/// @notice What a transaction costs, cold storage and calldata included, against SETTLEMENT's bars and the snapshot.
contract GasTest is Fixture {
    uint256 private constant BATCH = 32;

    function setUp() public override {
        super.setUp();
        // A market that has run for a while: counters, nonces and balances are not zero any more.
        Order memory used = orderOf(Kind.Lease);
        Offer memory offer = _offer(Kind.Lease);
        uint64 id = open(offer, used);
        vm.prank(provider);
        sublet.rejectLease(id);
        id = open(_offer(Kind.Job), orderOf(Kind.Job));
        vm.prank(provider);
        sublet.rejectJob(id);
        vm.prank(stranger);
        token.transfer(solver, 0);
    }

    function test_gas_beat() external {
        pass(300);
        uint256 gas = _send(provider, abi.encodeCall(sublet.beat, ()));
        vm.snapshotValue("Sublet", "beat", gas);
        atMost(gas, 35_000, "beat");
    }

    function test_gas_job() external {
        uint256 gas = _send(solver, _openCall(Kind.Job));
        vm.snapshotValue("Sublet", "job open", gas);
        uint64 id = sublet.agreementCount();
        bytes memory sig = acceptance(id, RESULT, PRICE);
        uint256 settle = _send(provider, abi.encodeCall(sublet.settleJob, (id, RESULT, PRICE, sig)));
        vm.snapshotValue("Sublet", "job settle", settle);
        vm.snapshotValue("Sublet", "job open + settle", gas + settle);
        atMost(gas + settle, 300_000, "job");
    }

    function test_gas_job_by_silence() external {
        _send(solver, _openCall(Kind.Job));
        uint64 id = sublet.agreementCount();
        vm.snapshotValue("Sublet", "job submit", _send(provider, abi.encodeCall(sublet.submitJob, (id, RESULT, 9))));
        pass(WINDOW + 1);
        vm.snapshotValue("Sublet", "job finalize", _send(provider, abi.encodeCall(sublet.finalizeJob, (id))));
    }

    function test_gas_job_batch() external {
        Pair[] memory pairs = new Pair[](BATCH);
        Offer memory offer = _offer(Kind.Job);
        for (uint256 i; i < BATCH; ++i) {
            pairs[i] = pair(offer, _order(Kind.Job));
        }
        uint256 gas = _send(solver, abi.encodeCall(sublet.openMany, (pairs)));
        eq(sublet.openCount(sublet.hashOffer(offer)), BATCH, "all opened");
        Settlement[] memory rows = new Settlement[](BATCH);
        for (uint256 i; i < BATCH; ++i) {
            uint64 id = uint64(sublet.agreementCount() - BATCH + 1 + i);
            rows[i] = Settlement(id, RESULT, PRICE, acceptance(id, RESULT, PRICE));
        }
        uint256 settle = _send(provider, abi.encodeCall(sublet.settleJobs, (rows)));
        eq(sublet.openCount(sublet.hashOffer(offer)), 0, "all settled");
        vm.snapshotValue("Sublet", "job open + settle, each of 32", (gas + settle) / BATCH);
        atMost((gas + settle) / BATCH, 150_000, "job in a batch");
    }

    function test_gas_lease() external {
        uint256 gas = _send(solver, _openCall(Kind.Lease));
        vm.snapshotValue("Sublet", "lease open", gas);
        uint64 id = sublet.agreementCount();
        uint256 start = _send(provider, abi.encodeCall(sublet.startLease, (id)));
        vm.snapshotValue("Sublet", "lease start", start);
        pass(300);
        vm.snapshotValue("Sublet", "lease settle", _send(provider, abi.encodeCall(sublet.settleLease, (id))));
        pass(300);
        uint256 close = _send(renter, abi.encodeCall(sublet.closeLease, (id)));
        vm.snapshotValue("Sublet", "lease close", close);
        vm.snapshotValue("Sublet", "lease open + start + close", gas + start + close);
        atMost(gas + start + close, 350_000, "lease");
    }

    function _offer(Kind kind) private view returns (Offer memory offer) {
        offer = offerOf(kind);
        offer.capacity = uint32(BATCH);
    }

    /// Without a fee: the renter opened itself, or the solver lives on something else.
    function _order(Kind kind) private returns (Order memory order) {
        order = orderOf(kind);
        order.solverFee = 0;
    }

    function _openCall(Kind kind) private returns (bytes memory) {
        (Offer memory offer, Order memory order) = (_offer(kind), _order(kind));
        return abi.encodeCall(sublet.open, (offer, sign(offer), order, sign(order)));
    }

    /// Gas of a transaction: base fee, calldata, and execution from cold, less what storage refunds give back.
    function _send(address from, bytes memory data) private returns (uint256 gas) {
        vm.cool(address(sublet));
        vm.prank(from);
        (bool ok,) = address(sublet).call(data);
        yes(ok, "sent");
        gas = vm.lastCallGas().gasTotalUsed - uint256(uint64(vm.lastCallGas().gasRefunded)) + 21_000;
        for (uint256 i; i < data.length; ++i) {
            gas += data[i] == 0 ? 4 : 16;
        }
    }
}
