// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Class, Kind, Offer, Order, Pair, Settlement} from "../src/Types.sol";
import {GasFixture} from "./base/GasFixture.sol";

/// @notice What leases, jobs and accounts cost, against SETTLEMENT's bars and the snapshot.
contract GasTest is GasFixture {
    uint256 private constant JOB = 300_000;
    uint256 private constant JOB_IN_BATCH = 150_000;
    uint256 private constant LEASE = 350_000;
    uint256 private constant BEAT = 35_000;
    /// Most gas of one transaction (EIP-7825).
    uint256 private constant TRANSACTION = 16_777_216;

    function test_gas_accounts() external {
        token.mint(stranger, 100);
        vm.prank(stranger);
        token.approve(address(sublet), 100);
        _measure("deposit", stranger, abi.encodeCall(sublet.deposit, (99)));
        _measure("withdraw", stranger, abi.encodeCall(sublet.withdraw, (99)));
    }

    function test_gas_providers() external {
        bytes memory register =
            abi.encodeCall(sublet.registerProvider, (keccak256("key"), "{\"relay\":\"http://[::1]\"}"));
        _measure("registerProvider", stranger, register);
        _measure("setOnline", stranger, abi.encodeCall(sublet.setOnline, (true)));
        _measure("cancelOffer", provider, abi.encodeCall(sublet.cancelOffer, (RESULT)));
        _measure("cancelOrder", renter, abi.encodeCall(sublet.cancelOrder, (1_000)));
    }

    /// A beat is one slot, whatever is leased.
    function test_gas_beat_with_one_and_with_ten_thousand_leases() external {
        Offer memory offer = offerOf(Kind.Lease);
        (offer.capacity, offer.validUntil) = (type(uint32).max, type(uint64).max);
        bytes memory a = sign(offer);
        uint256 first;
        for (uint256 i; i < 10_000; ++i) {
            Order memory order = feeless(orderOf(Kind.Lease));
            uint64 id = sublet.open(offer, a, order, sign(order));
            vm.prank(provider);
            sublet.startLease(id);
            if (i == 0) first = _beat("beat");
        }
        uint256 last = _beat("beat, 10,000 leases");
        eq(sublet.openCount(sublet.hashOffer(offer)), 10_000, "leases");
        eq(last, first, "the same");
        atMost(first, BEAT, "beat");
    }

    function test_gas_job() external {
        uint256 gas = _measure("job open", solver, openCall(plentyOf(Kind.Job), feeless(orderOf(Kind.Job))));
        uint64 id = sublet.agreementCount();
        bytes memory sig = acceptance(id, RESULT, PRICE);
        gas += _measure("job settle", provider, abi.encodeCall(sublet.settleJob, (id, RESULT, PRICE, sig)));
        vm.snapshotValue("Sublet", "job open + settle", gas);
        atMost(gas, JOB, "job");
    }

    function test_gas_job_class_exact() external {
        uint256 gas = _measure("job open, exact", solver, openCall(plentyOf(Kind.Job), feeless(exactOrder())));
        uint64 id = sublet.agreementCount();
        bytes memory sig = acceptance(id, RESULT, PRICE);
        gas += send(provider, address(sublet), abi.encodeCall(sublet.settleJob, (id, RESULT, PRICE, sig)));
        atMost(gas, JOB, "job of class exact");
    }

    function test_gas_job_without_a_signature() external {
        uint64 id = _job();
        pass(9);
        _measure("job submit", provider, abi.encodeCall(sublet.submitJob, (id, RESULT, 9)));
        pass(WINDOW + 1);
        _measure("job finalize", provider, abi.encodeCall(sublet.finalizeJob, (id)));
        id = _job();
        pass(9);
        send(provider, address(sublet), abi.encodeCall(sublet.submitJob, (id, RESULT, 9)));
        _measure("job accept", renter, abi.encodeCall(sublet.acceptJob, (id)));
        id = _job();
        pass(9);
        send(provider, address(sublet), abi.encodeCall(sublet.submitJob, (id, RESULT, 9)));
        _measure("job refuse", renter, abi.encodeCall(sublet.refuseJob, (id)));
        id = _job();
        _measure("job reject", provider, abi.encodeCall(sublet.rejectJob, (id)));
        id = _job();
        pass(START_WITHIN + DURATION + 1);
        _measure("job expire", stranger, abi.encodeCall(sublet.expireJob, (id)));
    }

    function test_gas_job_batch() external {
        uint256 gas = _batch(Class.None, 0);
        vm.snapshotValue("Sublet", "job open + settle, each of 32", gas);
        atMost(gas, JOB_IN_BATCH, "job in a batch");
    }

    /// What a solver's fee costs: written at the opening, taken away and paid at the end. No bar: the job that the bars are
    /// from pays nobody for matching it.
    function test_gas_job_with_a_fee() external {
        uint256 gas = _measure("job open, with a fee", solver, openCall(plentyOf(Kind.Job), orderOf(Kind.Job)));
        uint64 id = sublet.agreementCount();
        bytes memory sig = acceptance(id, RESULT, PRICE);
        gas += send(provider, address(sublet), abi.encodeCall(sublet.settleJob, (id, RESULT, PRICE, sig)));
        vm.snapshotValue("Sublet", "job open + settle, with a fee", gas);
        atMost(gas, JOB, "job with a fee");
        vm.snapshotValue("Sublet", "job open + settle, with a fee, each of 32", _batch(Class.None, FEE));
    }

    function test_gas_job_batch_class_exact() external {
        uint256 gas = _batch(Class.Exact, 0);
        vm.snapshotValue("Sublet", "job open + settle, exact, each of 32", gas);
        atMost(gas, JOB_IN_BATCH, "job of class exact in a batch");
    }

    function test_gas_lease() external {
        uint256 gas = _measure("lease open", solver, openCall(plentyOf(Kind.Lease), feeless(orderOf(Kind.Lease))));
        uint64 id = sublet.agreementCount();
        gas += _measure("lease start", provider, abi.encodeCall(sublet.startLease, (id)));
        pass(300);
        _measure("lease settle", provider, abi.encodeCall(sublet.settleLease, (id)));
        _measure("lease top up", renter, abi.encodeCall(sublet.topUpLease, (id, 60)));
        pass(300);
        gas += _measure("lease close", renter, abi.encodeCall(sublet.closeLease, (id, ANY)));
        vm.snapshotValue("Sublet", "lease open + start + close", gas);
        atMost(gas, LEASE, "lease");
    }

    function test_gas_lease_ends() external {
        uint64 id = _lease();
        _measure("lease cancel", renter, abi.encodeCall(sublet.cancelLease, (id)));
        id = _lease();
        _measure("lease reject", provider, abi.encodeCall(sublet.rejectLease, (id)));
        id = _lease();
        send(provider, address(sublet), abi.encodeCall(sublet.startLease, (id)));
        uint64 late = _lease();
        _measure("lease notice", provider, abi.encodeCall(sublet.giveNotice, (id)));
        pass(sublet.FAULT_AFTER() + 1);
        _measure("lease fault", stranger, abi.encodeCall(sublet.faultLease, (id)));
        _measure("lease expire", stranger, abi.encodeCall(sublet.expireLease, (late)));
    }

    /// One transaction deploys everything, branches included, within what a transaction and a creation may be.
    function test_gas_deployment() external {
        bytes memory code = bytes.concat(vm.getCode("Sublet.sol:Sublet"), abi.encode(token, guardian));
        atMost(code.length, 49_152, "creation code (EIP-3860)");
        uint256 gas = gasleft();
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        gas -= gasleft();
        gas += 21_000 + calldataGas(code);
        yes(made.code.length != 0, "deployed");
        vm.snapshotValue("Sublet", "deployment of everything", gas);
        atMost(gas, TRANSACTION, "deployment");
    }

    function _batch(Class class, uint128 fee) private returns (uint256 each) {
        Pair[] memory pairs = new Pair[](BATCH);
        Offer memory offer = plentyOf(Kind.Job);
        for (uint256 i; i < BATCH; ++i) {
            Order memory order = class == Class.Exact ? exactOrder() : orderOf(Kind.Job);
            order.solverFee = fee;
            pairs[i] = pair(offer, order);
        }
        each = send(solver, address(sublet), abi.encodeCall(sublet.openMany, (pairs)));
        eq(sublet.openCount(sublet.hashOffer(offer)), BATCH, "all opened");
        Settlement[] memory rows = new Settlement[](BATCH);
        for (uint256 i; i < BATCH; ++i) {
            uint64 id = uint64(sublet.agreementCount() - BATCH + 1 + i);
            rows[i] = Settlement(id, RESULT, PRICE, acceptance(id, RESULT, PRICE));
        }
        each += send(provider, address(sublet), abi.encodeCall(sublet.settleJobs, (rows)));
        eq(sublet.openCount(sublet.hashOffer(offer)), 0, "all settled");
        each /= BATCH;
    }

    function _measure(string memory call, address from, bytes memory data) private returns (uint256) {
        return measure("Sublet", call, from, address(sublet), data);
    }

    function _beat(string memory call) private returns (uint256) {
        pass(300);
        return _measure(call, provider, abi.encodeCall(sublet.beat, ()));
    }

    function _lease() private returns (uint64) {
        return open(plentyOf(Kind.Lease), feeless(orderOf(Kind.Lease)));
    }

    function _job() private returns (uint64) {
        vm.prank(provider);
        sublet.beat();
        return open(plentyOf(Kind.Job), feeless(orderOf(Kind.Job)));
    }
}
