// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, Offer, Order} from "../../src/Types.sol";
import {CourtFixture} from "./CourtFixture.sol";

/// @notice Measures whole transactions, cold storage and calldata included, into `snapshots`.
abstract contract GasFixture is CourtFixture {
    uint256 internal constant BATCH = 32;

    function setUp() public override {
        super.setUp();
        // A market that has run for a while: counters, nonces and balances are not zero any more.
        Order memory used = orderOf(Kind.Lease);
        Offer memory offer = plentyOf(Kind.Lease);
        uint64 id = open(offer, used);
        vm.prank(provider);
        sublet.rejectLease(id);
        id = open(plentyOf(Kind.Job), orderOf(Kind.Job));
        vm.prank(provider);
        sublet.rejectJob(id);
    }

    /// An offer with room for a batch.
    function plentyOf(Kind kind) internal view returns (Offer memory offer) {
        offer = offerOf(kind);
        offer.capacity = uint32(BATCH);
    }

    /// Without a fee: the renter opened itself, or the solver lives on something else.
    function feeless(Order memory order) internal pure returns (Order memory) {
        order.solverFee = 0;
        return order;
    }

    function openCall(Offer memory offer, Order memory order) internal view returns (bytes memory) {
        return abi.encodeCall(sublet.open, (offer, sign(offer), order, sign(order)));
    }

    /// Gas of a transaction to `to`, and into the snapshot of the contract called `name` as `call`.
    function measure(string memory name, string memory call, address from, address to, bytes memory data)
        internal
        returns (uint256 gas)
    {
        gas = send(from, to, data);
        vm.snapshotValue(name, call, gas);
    }

    /// Base fee, calldata, and execution from cold, less what storage refunds give back (at most a fifth).
    function send(address from, address to, bytes memory data) internal returns (uint256 gas) {
        address[6] memory all =
            [address(sublet), address(court), address(gateways), address(orders), sublet.fit(), address(token)];
        for (uint256 i; i < all.length; ++i) {
            vm.cool(all[i]);
        }
        vm.prank(from);
        (bool ok,) = to.call(data);
        yes(ok, "sent");
        gas = vm.lastCallGas().gasTotalUsed + 21_000 + calldataGas(data);
        uint256 refund = uint64(vm.lastCallGas().gasRefunded);
        gas -= refund < gas / 5 ? refund : gas / 5;
    }

    function calldataGas(bytes memory data) internal pure returns (uint256 gas) {
        for (uint256 i; i < data.length; ++i) {
            gas += data[i] == 0 ? 4 : 16;
        }
    }
}
