// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Kind, Offer, Order} from "../src/Types.sol";
import {GasFixture} from "./base/GasFixture.sol";
import {Receiver} from "./mocks/Receivers.sol";

/// @notice What mediators, disputes, gateways and placed orders cost; the panel has three of five mediators.
contract BranchesGasTest is GasFixture {
    function test_gas_mediators() external {
        bytes memory register = abi.encodeCall(court.registerMediator, (keccak256("key"), BOND));
        _court("registerMediator", stranger, register);
        _court("createMediatorSet, 5 members", stranger, abi.encodeCall(court.createMediatorSet, (mediators, 3, 9)));
        _court("joinSet", mediators[4], abi.encodeCall(court.joinSet, (2)));
        _court("leaveSet", mediators[4], abi.encodeCall(court.leaveSet, (2)));
        _court("retireMediator", stranger, abi.encodeCall(court.retireMediator, ()));
        pass(court.UNBONDING());
        _court("withdrawBond", stranger, abi.encodeCall(court.withdrawBond, ()));
    }

    function test_gas_dispute() external {
        uint64 id = exactJob();
        _court("dispute", renter, abi.encodeCall(court.dispute, (id)));
        mine(3);
        _court("draw", stranger, abi.encodeCall(court.draw, (id)));
        address[] memory panel = panelOf(id);
        for (uint256 i; i < 3; ++i) {
            bytes32 commitment = court.commitmentOf(id, panel[i], OTHER, saltOf(panel[i]));
            string memory call = i < 2 ? "commitVote" : "commitVote, the panel's last";
            _court(call, panel[i], abi.encodeCall(court.commitVote, (id, commitment)));
        }
        for (uint256 i; i < 3; ++i) {
            _court("revealVote", panel[i], abi.encodeCall(court.revealVote, (id, OTHER, saltOf(panel[i]))));
        }
        _court("resolve", stranger, abi.encodeCall(court.resolve, (id)));
    }

    function test_gas_gateways() external {
        bytes memory register = abi.encodeCall(
            gateways.registerGateway, (keccak256("key"), "https://gateway.example:3340", "eu-north", BOND)
        );
        _gateways("registerGateway", stranger, register);
        pass(60);
        uint256 beat = _gateways("beat", stranger, abi.encodeCall(gateways.beat, ()));
        atMost(beat, 35_000, "beat");
        _gateways("retireGateway", stranger, abi.encodeCall(gateways.retireGateway, ()));
        pass(gateways.UNBONDING());
        _gateways("withdrawBond", stranger, abi.encodeCall(gateways.withdrawBond, ()));
    }

    /// A workload of 300 bytes, as a small job's is; and the way of such an order through `Sublet`, callback included.
    function test_gas_orders() external {
        Receiver receiver = new Receiver(sublet);
        token.mint(address(receiver), FUNDS);
        receiver.fund(token, FUNDS);
        bytes memory workload = new bytes(300);
        for (uint256 i; i < 300; ++i) {
            workload[i] = "x";
        }
        Order memory order = feeless(orderOf(Kind.Job));
        (order.renter, order.workload) = (address(receiver), keccak256(workload));
        bytes memory place = abi.encodeCall(orders.placeOrder, (order, workload, true));
        measure("Orders", "placeOrder, 300 bytes", address(receiver), address(orders), place);
        Offer memory offer = plentyOf(Kind.Job);
        bytes memory open_ = abi.encodeCall(sublet.open, (offer, sign(offer), order, ""));
        measure("Orders", "open of a placed order", solver, address(sublet), open_);
        uint64 id = sublet.agreementCount();
        pass(USED);
        vm.prank(provider);
        sublet.submitJob(id, RESULT, USED);
        pass(WINDOW + 1);
        bytes memory finalize = abi.encodeCall(sublet.finalizeJob, (id));
        measure("Orders", "finalizeJob with a callback of five slots", provider, address(sublet), finalize);
    }

    function _court(string memory call, address from, bytes memory data) private returns (uint256) {
        return measure("Court", call, from, address(court), data);
    }

    function _gateways(string memory call, address from, bytes memory data) private returns (uint256) {
        return measure("Gateways", call, from, address(gateways), data);
    }
}
